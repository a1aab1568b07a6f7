"""Engine: prompts to sampled answers. A prompt and its pictures are prefilled once per group.

Prompts are sampled one length bucket after the other, each bucket by a Scheduler: prefill, insert,
decode a chunk, retire, with arrays of fixed shapes. After the first calls nothing is compiled, and
a sample does not depend on the other samples of its batch.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from absl import logging
from flax import nnx

from cot_rm import distributed
from cot_rm.batch import Encoded
from cot_rm.sampler import programs
from cot_rm.sampler.limits import Capacity, Limits, Shape
from cot_rm.sampler.request import OnChunk, Request, Sample, StopGroup
from cot_rm.sampler.sampling import Sampling, TokenIds
from cot_rm.sampler.scheduler import PackPrompts, Scheduler
from cot_rm.sampler.stats import Stats


class Buckets(Protocol):
  """Allowed shapes of prompts, see packing.Buckets."""

  @property
  def tokens(self) -> Sequence[int]: ...

  def token_bucket(self, example_id: str, count: int) -> int: ...

  def patch_bucket(self, example_id: str, count: int) -> int: ...


class Engine:
  """Samples groups of answers. Keeps compiled programs, never weights. For one thread at a time."""

  def __init__(
    self,
    graphdef: nnx.GraphDef,
    ids: TokenIds,
    *,
    buckets: Buckets,
    pack: PackPrompts,
    max_prompts: int,
    position_bytes: int = 0,
    vocab_size: int = 0,
    keep_casts: bool = False,
    limits: Limits | None = None,
  ) -> None:
    """
    Args:
      graphdef: of the model.
      ids: stop, banned and label tokens.
      buckets: allowed shapes of prompts, e.g. packing.Buckets.
      pack: pads prompts to a batch, e.g. packing.prompts.
      max_prompts: prompts that a process answers at a time; it has decode slots for their samples.
      position_bytes: bytes of the keys and values of one position; needed with limits.kv_memory.
      vocab_size: of the model; needed with a repetition penalty.
      keep_casts: less memory, see sharding.is_cast_on_cpu.
      limits: None: the defaults.
    """
    self.vocab_size = vocab_size
    self.buckets, self.pack, self.max_prompts = buckets, pack, max_prompts
    self.position_bytes, self.limits = position_bytes, limits or Limits()
    self.programs = programs.make(
      graphdef, ids, prefill_chunk=self.limits.prefill_chunk, keep_casts=keep_casts
    )
    self._stats, self._compiled = Stats(), 0
    self._logged: set[tuple[Shape, Capacity]] = set()
    self._running = threading.Lock()

  def report(self) -> Stats:
    """Counts of the calls that have ended since the last report."""
    done, self._stats = self._stats, Stats()
    compiled = self.programs.num_compiled()
    done.programs, self._compiled = compiled - self._compiled, compiled
    return done

  def __call__(
    self,
    params: nnx.State,
    prompts: Sequence[Encoded],
    seeds: Sequence[int],
    *,
    n: int,
    sampling: Sampling,
    token_limits: np.ndarray | None = None,
    on_chunk: OnChunk | None = None,
    stop_group: StopGroup | None = None,
    progress: Callable[[int], None] | None = None,
  ) -> list[list[Sample | None]]:
    """Samples `n` answers to each prompt.

    Args:
      params: of the model.
      prompts: encoded prompts.
      seeds: u32 per prompt. Sample g of a prompt depends on the weights, the prompt, its seed and
        g, on nothing else.
      n: samples per prompt.
      sampling: temperature, top-p, top-k and max_tokens.
      token_limits: int[prompts, n], tokens of each sample at most, none above sampling.max_tokens;
        None: sampling.max_tokens.
      on_chunk: called after each chunk of a sample, which it may end.
      stop_group: called when a sample has ended; true skips the unfinished ones of its prompt.
      progress: called with the number of prompts that have just been answered in full.

    Returns:
      [prompt][sample], in the order of the prompts; None for samples skipped by stop_group.

    Raises:
      ValueError: a prompt fits no bucket, or a bucket's KV cache does not fit; nothing is sampled.
      request.NotFinite: the logits of a token are not finite.
      RuntimeError: another call of this engine has not returned.
    """
    if token_limits is None:
      token_limits = np.full((len(prompts), n), sampling.max_tokens)
    if sampling.repetition_penalty != 1 and not (sampling.repetition_penalty and self.vocab_size):
      raise ValueError(
        f"sampling: repetition_penalty {sampling.repetition_penalty}: the engine needs a number, "
        f"and the vocab_size of the model, which is {self.vocab_size}"
      )
    request = Request(prompts, seeds, n, sampling, token_limits, on_chunk, stop_group, progress)
    if not self._running.acquire(blocking=False):
      raise RuntimeError(
        "this sampler.Engine is already sampling for another thread or from within a callback: "
        "two calls at once would hold two KV caches and mix their statistics; wait for the first"
      )
    try:
      return self._sample(params, request)
    finally:
      self._running.release()

  def _sample(self, params: nnx.State, request: Request) -> list[list[Sample | None]]:
    results = [[None] * request.n for _ in request.prompts]
    # All schedulers are made before the first one runs: each has found that its KV cache fits.
    schedulers = [self._scheduler(request, *b, results) for b in self._by_bucket(request)]
    for scheduler in schedulers:
      try:
        scheduler.run(self.programs, params)
      finally:
        self._stats += scheduler.stats
    return results

  def _by_bucket(self, request: Request) -> list[tuple[int, list[int]]]:
    """(prompt length, indices of its prompts) of each bucket that any process has prompts of."""
    lengths = [self.buckets.token_bucket(p.id, len(p.tokens)) for p in request.prompts]
    sizes = sorted(self.buckets.tokens)
    used = distributed.all_gather_host([[size in lengths for size in sizes]]).any(0)
    return [
      (size, [index for index, length in enumerate(lengths) if length == size])
      for size, is_used in zip(sizes, used, strict=True)
      if is_used
    ]

  def _scheduler(
    self,
    request: Request,
    prompt_length: int,
    indices: list[int],
    results: list[list[Sample | None]],
  ) -> Scheduler:
    """The Scheduler of the prompts of one bucket; raises ValueError if its cache does not fit."""
    prompts = request.prompts
    patch_buckets = {
      i: self.buckets.patch_bucket(prompts[i].id, len(prompts[i].patches)) for i in indices
    }
    shape = Shape(
      prompt=prompt_length,
      answer=request.sampling.max_tokens,
      group=min(request.n, self.limits.max_group or request.n),
      position_bytes=self.position_bytes,
      divisor=distributed.batch_divisor(),
      shards=distributed.num_local_batch_shards(),
    )
    example_id = prompts[min(indices, key=patch_buckets.get)].id if indices else ""
    capacity = self.limits.capacity(self.max_prompts, shape, example_id=example_id)
    self._log_capacity(shape, capacity)
    return Scheduler(
      request,
      patch_buckets,
      capacity,
      prompt_length=prompt_length,
      decode_chunk=self.limits.decode_chunk,
      pack=self.pack,
      results=results,
      vocab_size=self.vocab_size,
    )

  def _log_capacity(self, shape: Shape, capacity: Capacity) -> None:
    """Logs slots and KV-cache size of each shape once."""
    if (shape, capacity) in self._logged:
      return
    self._logged.add((shape, capacity))
    limit, longest = "", ""
    if self.limits.kv_memory:
      limit = f" of {self.limits.kv_memory / 1e6:,.1f}"
      longest = f", longest prompt that fits: {self.limits.longest_prompt(shape):,} tokens"
    logging.info(
      f"sampler: {capacity.prompt_slots} prompt slots of {shape.prompt:,} tokens, "
      f"{capacity.decode_slots} decode slots of {shape.answer:,} tokens, contexts of "
      f"{shape.prompt + shape.answer:,}; KV cache {capacity.kv_bytes / 1e6:,.1f}{limit} MB{longest}"
    )
