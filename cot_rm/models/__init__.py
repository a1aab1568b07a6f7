"""Model families. To add one: write a package that is a `ModelFamily`, add it to MODELS."""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Protocol, cast, runtime_checkable

import jax
import numpy as np
from flax import nnx

from cot_rm import media, registry
from cot_rm.batch import Encoded, Pictures, Size
from cot_rm.models.attention import DecodeContext
from cot_rm.models.checkpoint_keys import CheckpointKeys
from cot_rm.models.kv_cache import KeysValues
from cot_rm.schema import Chat

MODELS = {
  "qwen2_5_vl": "cot_rm.models.qwen2_5_vl",
}


class VisionConfig(Protocol):
  """Sizes of a family's vision tower that code outside the family reads."""

  merge_size: int  # merge_size ** 2 patches become one visual token
  patch_dim: int  # values per patch


class ModelConfig(Protocol):
  """Sizes of a family's model that code outside the family reads."""

  vision: VisionConfig
  vocab_size: int
  tie_word_embeddings: bool  # the head is the table of embeddings
  kv_numbers_per_token: int  # elements of the keys and values of a token, all layers
  image_token_id: int
  video_token_id: int
  vision_start_token_id: int
  vision_end_token_id: int


@runtime_checkable
class Model(Protocol):
  """A policy: an nnx.Module with these methods; see qwen2_5_vl/model.py for the shapes."""

  layers: nnx.Module  # the decoder's layers, stacked

  @property
  def head(self) -> jax.Array:
    """Matrix from hidden states to logits, [V, D]."""
    ...

  def features(self, pictures: Pictures) -> jax.Array:
    """Visual tokens of padded pictures, [R, M, D]."""
    ...

  def embed(
    self,
    tokens_BT: jax.Array,
    visual_BT: jax.Array | None = None,
    features_RMD: jax.Array | None = None,
  ) -> jax.Array:
    """Embeddings of tokens and visual tokens, [B, T, D]."""
    ...

  def prefill(
    self, x_BTD: jax.Array, positions_BT3: jax.Array, segments_BT: jax.Array
  ) -> tuple[jax.Array, KeysValues]:
    """Hidden states [B, T, D] of prompts, and the keys and values of all layers."""
    ...

  def extend(
    self, x_BTD: jax.Array, positions_BT3: jax.Array, prompts: KeysValues, mask_QS: jax.Array
  ) -> tuple[jax.Array, KeysValues]:
    """Hidden states [B, T, D] of tokens that continue Q prompts, and their keys and values.

    prompts: the result of `prefill`. mask_QS: bool, the prompt positions that are not padding.
    """
    ...

  def decode(
    self,
    blocks: nnx.Module | list[nnx.Module],
    x_BD: jax.Array,
    position_B: jax.Array,
    context: DecodeContext,
    chunk: KeysValues | list[KeysValues],
    chunk_position: jax.Array,
  ) -> tuple[jax.Array, KeysValues | list[KeysValues]]:
    """Hidden states [B, D] of one token per sample, and the chunk with the new keys and values."""
    ...


@runtime_checkable
class Processor(Protocol):
  """Tokenizer, chat template and picture preprocessing of a checkpoint."""

  vocab_size: int  # tokens of the tokenizer; the model's table may be longer
  end_of_turn: int  # token that ends a turn
  stop_ids: tuple[int, ...]  # tokens that end an answer
  banned_ids: tuple[int, ...]  # tokens that are never sampled
  answer_prefix: str  # text that the chat template puts at the start of an answer; mostly ""
  generation: Mapping[str, float]  # sampling parameters that the checkpoint recommends

  def __call__(self, messages: Chat, *, id: str) -> Encoded:
    """The prompt of chat messages; `id` names the sample in errors."""
    ...

  def measure(self, messages: Chat, *, id: str) -> Size:
    """The lengths of that prompt, without decoding pixels."""
    ...

  def encode(self, text: str, *, name: str = "text") -> list[int]:
    """Token ids of plain text."""
    ...

  def encode_answer(self, text: str, *, name: str = "text") -> list[int]:
    """Token ids of an answer, without `answer_prefix` where it begins with it."""
    ...

  def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of token ids, without control tokens."""
    ...

  def save(self, folder: str | os.PathLike) -> None:
    """Writes the files from which an equal processor can be loaded."""
    ...


class ProcessorClass(Protocol):
  """A family's Processor class."""

  def load(
    self,
    folder: str | os.PathLike,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    mrope: str | None = None,
    video: Mapping[str, object] | None = None,
    options: media.Options = media.DEFAULT,
    control_tokens: str = "refuse",
  ) -> Processor:
    """The processor of a checkpoint folder; None: the folder's setting."""
    ...


class ModelClass(Protocol):
  """A family's Model class."""

  def __call__(
    self, c: ModelConfig, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = ..., remat: bool = False
  ) -> Model:
    """A model with random parameters; see qwen2_5_vl/model.py."""
    ...


@runtime_checkable
class ModelFamily(Protocol):
  """The package of a model family."""

  Config: type[ModelConfig]
  PRESETS: Mapping[str, ModelConfig]
  Model: ModelClass
  Processor: ProcessorClass
  HF_KEYS: CheckpointKeys  # parameter names in Hugging Face checkpoints

  def from_hf(self, values: Mapping[str, object]) -> ModelConfig:
    """The Config of a parsed config.json. Raises ValueError for another family's."""
    ...

  def to_hf(self, config: ModelConfig, *, dtype: str = "float32") -> dict[str, object]:
    """Inverse of `from_hf`; dtype is that of the saved parameters."""
    ...


def get(name: str) -> ModelFamily:
  """The family's package. Raises ValueError on an unknown name."""
  return cast(ModelFamily, importlib.import_module(registry.lookup(MODELS, name, "model family")))
