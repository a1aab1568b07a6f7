"""The interface of an algorithm module, and the enumerations of its settings.

Q prompts, G samples of each prompt, B sequences, T tokens.
"""

import dataclasses
import typing
from typing import Any, Literal, Protocol, TypeVar

import jax
import numpy as np

from cot_rm import registry
from cot_rm.batch import Batch

Array = jax.Array | np.ndarray
Metrics = dict[str, jax.Array]

KlIn = Literal["loss", "reward"]  # place of the KL penalty to the reference policy
Aggregate = Literal["sequence", "token", "constant", "sum"]  # see aggregation.token_weights


class Settings(Protocol):
  """Fields that the Config of every RL algorithm has."""

  @property
  def kl(self) -> float:
    """Weight of the KL penalty to the reference policy; 0: there is no reference."""
    ...

  @property
  def aggregate(self) -> Aggregate: ...

  @property
  def max_tokens(self) -> int:
    """Tokens of an answer, at most."""
    ...


C = TypeVar("C")  # the module's Config, which satisfies Settings


class Algorithm(Protocol[C]):
  """An RL algorithm: a module with these members."""

  KL_IN: KlIn

  @property
  def Config(self) -> type[C]:
    """Settings of the algorithm, a frozen dataclass."""
    ...

  def loss(
    self, logps_BT: jax.Array, batch: Batch, weights_BT: Array, settings: C
  ) -> tuple[jax.Array, Metrics]:
    """(the scalar loss, metrics) of a batch.

    weights_BT are the weights of the tokens in the mean over the whole batch; of a part of the
    batch the loss is that part's term of the sum.
    """
    ...

  def advantages(
    self,
    rewards_QG: np.ndarray,
    lengths_QG: np.ndarray,
    settings: C,
    kl_QGT: np.ndarray | None = None,
  ) -> np.ndarray:
    """f32[Q, G], or f32[Q, G, T] of each token, from the rewards of a rollout.

    lengths_QG: tokens of each answer. kl_QGT: log-ratio of the sampling policy to the reference at
    each token; read only where KL_IN is "reward" and settings.kl is not 0.
    """
    ...


def check_choices(config: Any) -> None:
  """Raises ValueError where a Literal field of a dataclass has a value that is not in it."""
  hints = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    choices = typing.get_args(hints[field.name])
    value = getattr(config, field.name)
    if typing.get_origin(hints[field.name]) is Literal and value not in choices:
      name = field_name(config, field.name)
      raise ValueError(f"{name} is {value!r}; {registry.hint(value, choices)}")


def field_name(config: Any, name: str) -> str:
  """The name of a field in messages: "grpo.Config.ratio"."""
  return f"{type(config).__module__.rpartition('.')[2]}.{type(config).__name__}.{name}"
