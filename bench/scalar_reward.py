"""A scalar reward model: a model's last hidden state, one linear head, the Bradley-Terry loss.

s(question, media, one candidate) = w . h, where h is the hidden state of the prompt's last token.
Bradley and Terry (Biometrika 39, 1952): P(a is better than b) = sigmoid(s(a) - s(b)). It is trained
by -log sigmoid(s(chosen) - s(rejected)), as usual in RLHF (arXiv:1909.08593, arXiv:2203.02155). It
writes nothing, and each candidate is read alone, so a pair has no order.

B candidates in rows, two rows a pair, the chosen one first; T tokens, D width, N pairs.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cot_rm import distributed, models, optim, policy, schema, sharding, train  # noqa: E402
from cot_rm.batch import Batch, Encoded  # noqa: E402
from cot_rm.data import packing, pipeline  # noqa: E402
from cot_rm.models import layers, logprobs  # noqa: E402
from cot_rm.prompts import template  # noqa: E402

RATES = ("lr", "warmup", "decay", "final")  # knobs of optim.schedule, but for the number of steps
PARTS = 10  # of the training, each with its mean loss
MIN_STEPS = 5  # of a training, however short its time


class RewardModel(nnx.Module):
  """A model with a scalar head, which begins at 0: all rewards are 0, and the loss is log 2."""

  def __init__(self, trunk: models.Model):
    self.trunk = trunk
    self.weight = layers.constant((trunk.head.shape[1],), ("embed",), None, 0.0)


def rewards(model: RewardModel, batch: Batch) -> jax.Array:
  """f32[B]: the reward of the candidate in each row; a row holds one prompt."""
  x_BTD, _ = logprobs.prefill(model.trunk, batch)
  x_BD = layers.last_token(x_BTD, batch.segments).astype(jnp.float32)
  return x_BD @ model.weight.get_value().astype(jnp.float32)


def loss(
  rewards_B: jax.Array, batch: Batch, weights_N: jax.Array
) -> tuple[jax.Array, train.Metrics]:
  """(-log sigmoid(chosen - rejected), summed by `weights_N`, metrics)."""
  del batch
  leads_N = rewards_B[::2] - rewards_B[1::2]
  value = (weights_N * jax.nn.softplus(-leads_N)).sum()
  return value, {"train/loss": value, "train/accuracy": (weights_N * (leads_N > 0)).sum()}


def pair_weights(batch: Batch) -> jax.Array:
  """f32[N]: equal weights of the pairs that are not padding; they add up to 1."""
  real_N = (jnp.asarray(batch.segments)[::2] > 0).any(axis=1)
  return real_N / real_N.sum()


def make_step(
  graphdef: nnx.GraphDef, tx: Any, shardings: Any, frozen: Sequence[str] = ()
) -> train.Step:
  """The compiled train step of a RewardModel; arguments as of train.make_step."""
  return train.make_step(
    graphdef, loss, tx, shardings, token_weights=pair_weights, frozen=frozen, outputs=rewards
  )


def chats(example: schema.Example) -> tuple[schema.Chat, schema.Chat]:
  """The question with candidate 1 alone, and with candidate 2 alone.

  Raises:
    ValueError: the pair mixes texts and media, which the built-in world does not.
  """
  if example.places:
    raise ValueError(f"example {example.id!r} mixes texts and media: it has no prompt here")
  if example.generation:
    shown = [(medium,) for medium in example.media]
    texts = [f"Caption: {example.question}"] * 2
  else:
    shown = [example.media] * 2
    texts = [f"Question: {example.question}\nAnswer: {answer}" for answer in example.responses]
  task: schema.Task = "image_understanding"  # its media stand before the text
  one, other = (
    template.messages(dataclasses.replace(example, task=task, media=media, responses=()), text)
    for media, text in zip(shown, texts, strict=True)
  )
  return one, other


def make_encode(processor: models.Processor) -> Callable[[schema.Example], list[Encoded]]:
  """`encode(example) -> [preferred candidate, other candidate]`. Raises BadExample without gold."""

  def encode(example: schema.Example) -> list[Encoded]:
    if example.gold is None:
      raise schema.BadExample(f"example {example.id!r} has no gold answer")
    ordered = chats(example)[:: 1 if example.gold == 1 else -1]
    return [processor(chat, id=example.id) for chat in ordered]

  return encode


def halved(buckets: packing.Buckets) -> packing.Buckets:
  """Buckets of pairs, with halves of their patches besides: a candidate may be half of a pair."""
  patches = {*buckets.patches, *(count // 2 for count in buckets.patches)}
  return dataclasses.replace(buckets, patches=tuple(sorted(patches)))


class Trained(NamedTuple):
  """A trained reward model, and what its training was."""

  graphdef: nnx.GraphDef
  params: nnx.State
  steps: int
  seconds: float
  losses: list[float]  # means of parts of the training of equal numbers of steps
  accuracies: list[float]  # on the training pairs, likewise


def expected_steps(taken: int, spent: float, seconds: float) -> int:
  """The number of steps that fit into `seconds`, when `taken` took `spent` of them."""
  return max(taken + 1, round(taken * seconds / spent)) if taken else 1


def train_for(
  seconds: float,
  base: policy.Policy,
  source: Sequence[schema.Example],
  optimizer: Mapping[str, Any],
  *,
  pairs: int,
  seed: int,
) -> Trained:
  """Trains a scalar head and the model under it until the time is over; at least MIN_STEPS.

  The time is that of everything: reading, encoding and compiling too, as a stage's is. The
  learning rate follows its schedule over the steps that fit into the time, which are estimated
  anew at each step, so that its decay ends when the time does.

  Args:
    seconds: of the training.
    base: the model to start from.
    source: pairs with gold answers.
    optimizer: knobs of optim.make, but for `steps`.
    pairs: of a step.
    seed: of the shuffling.
  """
  began = time.monotonic()
  tx, _ = optim.make(steps=1, **optimizer)
  rates = {name: optimizer[name] for name in RATES}
  graphdef, params = nnx.split(RewardModel(nnx.merge(base.graphdef, base.params)))
  state, shardings = train.init_state(params, tx, base.mesh, base.rules)
  step = make_step(graphdef, tx, shardings, optimizer["frozen"])
  batches = _batches(base, source, pairs=pairs, seed=seed)
  batch, found = next(batches), []
  while (spent := time.monotonic() - began) < seconds or len(found) < MIN_STEPS:
    taken = len(found)
    schedule = optim.schedule(steps=expected_steps(taken, spent, seconds), **rates)
    with sharding.use(base.mesh, base.rules):
      sharded = distributed.shard_batch(batch, base.mesh, base.rules)
      state, out = step(state, sharded, float(schedule(taken)))
    batch = next(batches)  # made while the devices compute
    train.check_finite(out, taken)
    found.append((float(out["train/loss"]), float(out["train/accuracy"])))
  spent = time.monotonic() - began
  parts = np.array_split(np.array(found), min(PARTS, len(found)))
  losses, accuracies = zip(*(part.mean(axis=0).round(4).tolist() for part in parts), strict=True)
  return Trained(graphdef, state.params, len(found), spent, [*losses], [*accuracies])


def _batches(
  base: policy.Policy, source: Sequence[schema.Example], *, pairs: int, seed: int
) -> Iterator[Batch]:
  """Batches of that many pairs, without an end; each pair is encoded once and kept."""
  encode, kept = make_encode(base.processor), {}

  def cached(example: schema.Example) -> list[Encoded]:
    if example.id not in kept:
      kept[example.id] = encode(example)
    return kept[example.id]

  buckets = halved(base.buckets)
  for lists in pipeline.prompt_batches(source, cached, seed=seed, batch=pairs):
    yield packing.prompts([one for pair in lists for one in pair], buckets, rows=2 * pairs)


def make_leads(
  base: policy.Policy, trained: Trained, *, pairs: int
) -> Callable[[Sequence[schema.Example]], np.ndarray]:
  """`leads(examples) -> f32[N]`: reward of the preferred candidate less that of the other one.

  pairs: in a batch; they are encoded and scored batch by batch.
  """
  encode, buckets = make_encode(base.processor), halved(base.buckets)
  score = jax.jit(lambda params, batch: rewards(nnx.merge(trained.graphdef, params), batch))

  def of_batch(examples: Sequence[schema.Example]) -> np.ndarray:
    encoded = [one for example in examples for one in encode(example)]
    batch = packing.prompts(encoded, buckets, rows=2 * pairs)
    with sharding.use(base.mesh, base.rules):
      rewards_B = score(trained.params, distributed.shard_batch(batch, base.mesh, base.rules))
    return np.asarray(rewards_B)[: len(encoded)]

  def leads(examples: Sequence[schema.Example]) -> np.ndarray:
    parts = [of_batch(examples[at : at + pairs]) for at in range(0, len(examples), pairs)]
    found_B = np.concatenate(parts)
    return found_B[::2] - found_B[1::2]

  return leads
