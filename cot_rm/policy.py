"""A policy: a model with its processor and its sampler, which completes chats and scores texts.

T tokens of a completion.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import jax
import numpy as np
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from cot_rm import models, sharding
from cot_rm.batch import Batch, Encoded
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.models import logprobs, nonfinite
from cot_rm.sampler import engine, request, text_stops, weight_sync
from cot_rm.sampler.limits import Limits
from cot_rm.sampler.sampling import Sampling, TokenIds
from cot_rm.schema import Chat, Completion

LABELS = ("1", "2")  # the verdict's digits; their log-probabilities are recorded at every step
BUCKETS = packing.Buckets(
  tokens=(512, 1024, 2048, 4096, 8192), patches=(1024, 2048, 4096, 8192, 16384), answers=()
)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """A model without its weights: the graph, its compute dtype, and the placement of its arrays."""

  graphdef: nnx.GraphDef
  compute_dtype: str  # of matrix products, and of keys and values
  mesh: Mesh
  rules: sharding.Rules

  @property
  def is_cast_on_cpu(self) -> bool:
    """See sharding.is_cast_on_cpu."""
    return sharding.is_cast_on_cpu(self.compute_dtype, self.mesh.devices.flat[0])


class Policy:
  """A model that samples completions and computes log-probabilities.

  Attributes:
    params: the parameters; see `using`.
    processor: messages to Encoded, and tokens to text.
    opened: the model folder that the parameters come from.
    graphdef, mesh, rules: of the model that computes `logps` and that a stage trains.
    buckets: the shapes to which prompts are padded.
    label_ids: the tokens of LABELS.
  """

  def __init__(
    self,
    opened: model_folder.OpenedModel,
    processor: models.Processor,
    *,
    train: ModelSpec,
    sample: ModelSpec,
    buckets: packing.Buckets = BUCKETS,
    max_prompts: int = 8,
    limits: Limits | None = None,
  ) -> None:
    """See `cot_rm.load`, which makes the arguments.

    Args:
      opened: the model folder; its parameters are used.
      processor: of the same folder.
      train: the model for `logps`, and for stages that train.
      sample: the same model for the sampler.
      buckets: the shapes to which prompts are padded.
      max_prompts: prompts that are answered at the same time, at most.
      limits: of the sampler; None: its defaults.
    """
    if max_prompts < 1:
      raise ValueError(f"max_prompts is {max_prompts}; it must be 1 or more")
    limits = limits or Limits()
    self.opened, self.processor, self.params = opened, processor, opened.params
    self.graphdef, self.mesh, self.rules = train.graphdef, train.mesh, train.rules
    self.buckets, self._sample_spec = buckets, sample
    self._sample_params: nnx.State | None = None  # the sampler's copy of params, made when needed
    self._to_sampler = weight_sync.WeightSync(limits.weights, sample.mesh, sample.rules)
    logging.info(
      "prompts are padded to %s tokens and %s patches: at most %d programs read them",
      ", ".join(map(str, buckets.tokens)),
      ", ".join(map(str, (0, *buckets.patches))),
      buckets.num_shapes,
    )
    self.label_ids = tuple(processor.encode(label)[-1] for label in LABELS)
    kv_numbers = opened.config.kv_numbers_per_token
    self.engine = engine.Engine(
      sample.graphdef,
      TokenIds(tuple(processor.stop_ids), tuple(processor.banned_ids), self.label_ids),
      buckets=buckets,
      pack=functools.partial(packing.prompts, buckets=buckets),
      max_prompts=max_prompts,
      position_bytes=kv_numbers * jax.numpy.dtype(sample.compute_dtype).itemsize,
      vocab_size=opened.config.vocab_size,
      keep_casts=sample.is_cast_on_cpu,
      limits=limits,
    )
    self._logps = logprobs.make_batch_logps(train.graphdef, keep_casts=train.is_cast_on_cpu)
    self._logged: set[Sampling] = set()  # of `_filled`
    if processor.answer_prefix:
      logging.info("the chat template begins each answer with %r", processor.answer_prefix)

  def complete(
    self,
    chats: Sequence[Chat],
    *,
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 64,
    repetition_penalty: float | None = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    stream: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[int, int], bool] | None = None,
  ) -> list[list[Completion]]:
    """Samples n answers to each chat.

    Args:
      chats: a list of chats. A chat is a list of messages as transformers and OpenAI clients write
        them, with parts of type text, image, image_url and video.
      n: answers per chat; the chat and its media are computed once.
      temperature: of sampling; 0: greedy.
      top_p: sample among the likeliest tokens whose probabilities add up to it; 1: all.
      top_k: sample among this many of the likeliest tokens; 0: all.
      max_tokens: an answer is cut after this many tokens.
      repetition_penalty: lowers tokens that are in the chat or the answer; 1: none; None: as the
        checkpoint's generation_config.json says.
      seed: of the sampling. An answer depends on the weights, its chat, the seed and its index
        among the n, and on nothing else.
      stop: stop strings; an answer ends before the first occurrence of any of them.
      stream: `(chat, answer, text)`, called with the new text of an answer while it is sampled.
      cancelled: `(chat, answer) -> bool`: true ends an answer, which keeps its text so far; its
        `finish` is "cancelled".

    Returns:
      A list of n Completions for each chat. A text includes what the chat template puts at the
      start of an answer ("<think>"), which is no token of the completion.

    Raises:
      ValueError: a value out of range, or a chat whose media or length are not allowed, by its
        index.
      TypeError: one chat in place of a list of chats.
    """
    if len(chats) and isinstance(chats[0], Mapping):
      raise TypeError("chats must be a list of chats; found one chat: give [messages]")
    encoded = [self.processor(chat, id=str(i)) for i, chat in enumerate(chats)]
    sampling = Sampling(
      temperature=temperature,
      top_p=top_p,
      top_k=top_k,
      max_tokens=max_tokens,
      repetition_penalty=repetition_penalty,
    )
    stops = None
    if stop or stream or cancelled:
      stops = text_stops.TextStops(self.text, stop=stop, stream=stream, cancelled=cancelled)
    groups = self.sample(encoded, n=n, sampling=sampling, seed=seed, on_chunk=stops)
    if stops is None or not stop:
      return groups
    return [[dataclasses.replace(c, text=stops.cut(c.text)) for c in group] for group in groups]

  def logps(self, messages: Chat, text: str) -> np.ndarray:
    """f32[T]: the log-probability of each token of `text` as the answer to a chat.

    Raises:
      ValueError: the text is empty, or the chat is not allowed.
      FloatingPointError: a log-probability is not finite.
    """
    prompt = self.processor(messages, id="messages")
    answer = np.asarray(self.processor.encode_answer(text), np.int32)
    if not len(answer):
      raise ValueError("text is empty: it has no tokens to score")
    batch = packing.pack([[packing.Item(prompt, answer)]], self.buckets, rows=1)
    first = len(prompt.tokens)
    with sharding.use(self.mesh, self.rules):
      logps_T = np.asarray(self._logps(self.params, batch))[0, first : first + len(answer)]
    if not np.isfinite(logps_T).all():
      where = self._where_not_finite(batch)
      raise FloatingPointError(f"the log-probabilities of the text are not finite: {where}")
    return logps_T

  def text(self, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of an answer's tokens, after the chat template's own beginning of an answer."""
    return self.processor.answer_prefix + self.processor.decode(tokens)

  def using(self, params: nnx.State) -> Self:
    """The same object with other weights; compiled programs and the engine are shared."""
    other = object.__new__(type(self))
    other.__dict__.update(self.__dict__, params=params, _sample_params=None)
    return other

  def sample(
    self,
    encoded: Sequence[Encoded],
    *,
    n: int,
    sampling: Sampling,
    seed: int,
    progress: Callable[[int], None] | None = None,
    on_chunk: engine.OnChunk | None = None,
    stop_group: Callable[[int, list[str]], bool] | None = None,
  ) -> list[list[Completion]]:
    """Samples n answers to each encoded prompt; see `complete`.

    Args:
      encoded: prompts.
      n: answers per prompt.
      sampling: temperature, top-p, top-k and length of the sampling.
      seed: of the sampling.
      progress: called with the number of prompts whose answers have all just ended.
      on_chunk: called after each chunk of an answer, which it may end; see engine.Engine.
      stop_group: `(index of the prompt, its finished texts) -> bool`, called when an answer has
        ended: true ends the prompt's other answers, and its group is shorter than n.
    """
    if n < 1:
      raise ValueError(f"n is {n}; it must be 1 or more")
    sampling = self._filled(sampling)
    seeds = [_prompt_seed(one, seed) for one in encoded]

    def stop_samples(prompt: int, samples: list[engine.Sample]) -> bool:
      assert stop_group is not None
      return stop_group(prompt, [self.text(sample.tokens) for sample in samples])

    if self._sample_params is None:
      self._sample_params = self._to_sampler(self.params)
    try:
      with sharding.use(self._sample_spec.mesh, self._sample_spec.rules):
        groups = self.engine(
          self._sample_params,
          encoded,
          seeds,
          n=n,
          sampling=sampling,
          progress=progress,
          on_chunk=on_chunk,
          stop_group=stop_samples if stop_group else None,
        )
    except request.NotFinite as error:
      batch = packing.prompts([encoded[error.prompt]], self.buckets, rows=1)
      raise FloatingPointError(f"{error}; {self._where_not_finite(batch)}") from error
    return [[self._completion(one) for one in group if one is not None] for group in groups]

  def _where_not_finite(self, batch: Batch) -> str:
    """In words, see nonfinite.describe."""
    with sharding.use(self.mesh, self.rules):
      return nonfinite.describe(self.graphdef, self.params, batch)

  def _filled(self, sampling: Sampling) -> Sampling:
    """The parameters with the checkpoint's repetition penalty where it is None; logged once."""
    said = self.processor.generation
    if sampling.repetition_penalty is None:
      penalty = said.get("repetition_penalty", 1.0)
      sampling = dataclasses.replace(sampling, repetition_penalty=penalty)
    if said and sampling not in self._logged:
      self._logged.add(sampling)
      logging.info(
        "generation_config.json says %s; this run uses %s",
        ", ".join(f"{name} {value}" for name, value in said.items()),
        ", ".join(f"{name} {getattr(sampling, name)}" for name in said),
      )
    return sampling

  def report(self) -> dict[str, float]:
    """Sampler metrics since the last report: {"sampler/...": number}."""
    return self.engine.report().metrics()

  def _completion(self, sample: engine.Sample) -> Completion:
    return Completion(
      text=self.text(sample.tokens),
      tokens=sample.tokens,
      logps=sample.logps,
      finish=sample.finish,
      sampling_logps=sample.sampling_logps,
      label_logps=sample.label_logps,
      top_logps=sample.top_logps,
    )


def _prompt_seed(encoded: Encoded, seed: int) -> int:
  """u32 of a prompt's content and a seed, on which the randomness of its samples depends."""
  code = zlib.crc32(encoded.tokens.tobytes(), seed & 0xFFFFFFFF)
  return zlib.crc32(encoded.patches.tobytes(), code)
