"""Host side of sampling: schedules prefill and decoding (continuous batching), ends samples.

One Scheduler samples the prompts of one bucket of one call, in a loop:

    prefill   waiting prompts, `prefill_batch` at a time, while that many prompt slots are free
    insert    their keys and values into prompt slots
    decode    a chunk of tokens of every decode slot
    retire    samples that have ended; their decode slots take the next waiting samples, of any
              prompt; a prompt slot is free again when all samples of its prompt have ended

With several processes the arrays are global, and each process schedules its own slots. All
processes run the same programs in the same order: between chunks they agree on whether any process
prefills, and whether any process has samples left.
"""

import collections
import time
from collections.abc import Sequence
from typing import Protocol

import jax
import numpy as np
from flax import nnx

from cot_rm import distributed
from cot_rm.batch import Batch, Encoded
from cot_rm.sampler import programs
from cot_rm.sampler.limits import Capacity
from cot_rm.sampler.programs import KVCache, Programs
from cot_rm.sampler.request import NotFinite, Request, Sample
from cot_rm.sampler.slots import DecodeSlot, SlotTable
from cot_rm.sampler.stats import Stats
from cot_rm.schema import Finish


class PackPrompts(Protocol):
  """Pads prompts to a batch, see packing.prompts."""

  def __call__(
    self, prompts: Sequence[Encoded], /, *, rows: int, shape: tuple[int, int, int]
  ) -> Batch:
    """A Batch of `rows` rows of `shape`: (tokens, patches, values per patch)."""


class PromptQueue:
  """Prompts that wait for a prompt slot, sorted by patch bucket, as a prefill has one bucket."""

  def __init__(self, patch_buckets: dict[int, int], batch: int) -> None:
    """
    Args:
      patch_buckets: {index of a prompt: its number of patches, padded to a bucket}.
      batch: number of prompts per prefill.
    """
    self._patch_buckets, self._batch = patch_buckets, batch
    self._waiting = collections.deque(sorted(patch_buckets, key=patch_buckets.get))

  def __bool__(self) -> bool:
    return bool(self._waiting)

  def take(self, free: int) -> list[int]:
    """Removes and returns the prompts of the next prefill; [] if too few slots are free for them.

    A smaller prefill would be mostly padding, and one of another size would round differently.

    Args:
      free: number of free prompt slots.
    """
    most = min(self._batch, len(self._waiting))
    if not self._waiting or free < most:
      return []
    taken = [self._waiting.popleft()]
    bucket = self._patch_buckets[taken[0]]
    while len(taken) < most and self._patch_buckets[self._waiting[0]] == bucket:
      taken.append(self._waiting.popleft())
    return taken


class Scheduler:
  """Samples the prompts of one bucket of one request."""

  def __init__(
    self,
    request: Request,
    patch_buckets: dict[int, int],
    capacity: Capacity,
    *,
    prompt_length: int,
    decode_chunk: int,
    pack: PackPrompts,
    results: list[list[Sample | None]],
    vocab_size: int = 0,
  ) -> None:
    """
    Args:
      request: the call of the engine.
      patch_buckets: {index in the request: padded number of patches} of the prompts of this bucket.
      capacity: numbers of slots and sizes of the arrays.
      prompt_length: number of positions per prompt, padding included.
      decode_chunk: number of tokens per chunk.
      pack: pads prompts to a batch.
      results: [prompt][sample]; finished samples are written into it.
      vocab_size: of the model; needed with a repetition penalty.
    """
    self.request, self.capacity, self.results, self.stats = request, capacity, results, Stats()
    self.prompt_length, self.decode_chunk, self.pack = prompt_length, decode_chunk, pack
    self._patch_buckets = patch_buckets
    self._queue = PromptQueue(patch_buckets, capacity.prefill_batch)
    penalized = request.sampling.repetition_penalty != 1
    self._slots = SlotTable(capacity, prompt_length, vocab_size=vocab_size if penalized else 0)

  def run(self, compiled: Programs, params: nnx.State) -> None:
    """Samples all prompts; the KV cache is allocated at the first prefill and freed at the end."""
    cache = None
    while distributed.all_gather_host([bool(self._queue) or self._slots.occupied()]).any():
      cache = self._prefill(compiled, params, cache)
      self._slots.start_samples(self.request)
      cache, chunk = self._decode(compiled, params, cache)
      done = self._retire_finished(chunk)
      if self.request.progress and done:
        self.request.progress(done)

  def _prefill(self, compiled, params, cache: KVCache | None) -> KVCache | None:
    """Prefills waiting prompts and inserts them, while enough prompt slots are free."""
    size, processes = self.capacity.prefill_batch, jax.process_count()
    while True:
      free = self._slots.free_prompt_slots()
      taken = self._queue.take(len(free))
      prompts = [self.request.prompts[index] for index in taken]
      # A process without prompts joins in with padding of the others' shape.
      shape = distributed.all_gather_host([self._batch_shape(taken)]).max(0)
      if not shape.any():
        return cache
      batch = self.pack(prompts, rows=size, shape=shape)
      began = time.monotonic()
      prefilled = compiled.prefill(params, distributed.to_global(batch))
      prefilled = jax.block_until_ready(prefilled)
      self._count_prefill(prompts, prefilled, time.monotonic() - began)
      if cache is None:
        cache = programs.empty_cache(
          prefilled,
          prompt_slots=self.capacity.prompt_slots * processes,
          decode_slots=self.capacity.decode_slots * processes,
          parts=self.capacity.cache_parts,
        )
      # Slots of all processes; padding goes to none of them.
      slot_r = np.full(size, self.capacity.prompt_slots * processes, np.int32)
      slot_r[: len(taken)] = np.array(free[: len(taken)], int)
      slot_r[: len(taken)] += self.capacity.prompt_slots * jax.process_index()
      cache = compiled.insert(cache, prefilled, distributed.to_global(slot_r))
      for r, index in zip(free, taken, strict=False):
        self._slots.insert(r, index, self.request)

  def _batch_shape(self, taken: list[int]) -> tuple[int, int, int]:
    """(tokens, patches, values per patch) of a batch of prompts; zeros without prompts."""
    if not taken:
      return 0, 0, 0
    widths = (self.request.prompts[index].patches.shape[1] for index in taken)
    return self.prompt_length, self._patch_buckets[taken[0]], max(widths)

  def _decode(self, compiled, params, cache: KVCache) -> tuple[KVCache, programs.Chunk]:
    """Decodes a chunk of every slot: (new cache, this process's rows of the Chunk, in numpy)."""
    began = time.monotonic()
    prompt_slots, decode_slots = map(distributed.to_global, self._slots.snapshot())
    cache, chunk = compiled.decode_chunk(
      params,
      cache,
      prompt_slots,
      decode_slots,
      sampling=self.request.sampling,
      size=self.decode_chunk,
    )
    chunk = distributed.to_local(chunk)
    self.stats.answer_tokens += int(chunk.count_B[self._slots.arrays.active_B].sum())
    self.stats.decode_steps += int(chunk.count_B.max()) * self.capacity.decode_slots
    self.stats.decode_seconds += time.monotonic() - began
    return cache, chunk

  def _retire_finished(self, chunk: programs.Chunk) -> int:
    """Appends a chunk to the samples, retires those that end; returns the count of done prompts."""
    arrays, done = self._slots.arrays, 0
    active = np.flatnonzero(arrays.active_B)
    arrays.generated_B[active] += chunk.count_B[active]
    arrays.remaining_B[active] -= chunk.count_B[active]
    for b in active:
      if not arrays.active_B[b]:
        continue  # early stopping of its group has just ended it
      sample, count = self._slots.samples[b], chunk.count_B[b]
      self._check_finite(sample, chunk.logps_BC[b, :count])
      self._slots.mark_seen(b, chunk.tokens_BC[b, :count])
      sample.chunks.append(
        (
          chunk.tokens_BC[b, :count],
          chunk.logps_BC[b, :count],
          chunk.sampling_logps_BC[b, :count],
          chunk.label_logps_BCW[b, :count],
          chunk.top_logps_BC[b, :count],
        )
      )
      arrays.token_B[b] = chunk.tokens_BC[b, count - 1]
      finish = "stop" if chunk.stopped_B[b] else "length" if arrays.remaining_B[b] == 0 else None
      keep = arrays.generated_B[b]
      if self.request.on_chunk:
        tokens = np.concatenate([part[0] for part in sample.chunks])
        end = self.request.on_chunk(sample.prompt, sample.sample, tokens, finish)
        finish, keep = end or (finish, keep)
      if finish:
        done += self._retire(b, finish, keep)
    return done

  def _check_finite(self, sample: DecodeSlot, logps_C: np.ndarray) -> None:
    """Raises NotFinite where logits were not finite: their token means nothing."""
    if not np.isfinite(logps_C).all():
      token = sum(len(part[0]) for part in sample.chunks) + int(np.argmin(np.isfinite(logps_C)))
      name = f"example {self.request.prompts[sample.prompt].id!r}, sample {sample.sample}"
      message = f"{name}: the logits of token {token} of the answer are not finite"
      raise NotFinite(message, sample.prompt)

  def _retire(self, b: int, finish: Finish, count: int) -> bool:
    """Ends a slot's sample after `count` tokens; returns whether its prompt is finished."""
    sample = self._slots.samples[b]
    slot, samples = self._slots.prompts[sample.prompt_slot], self.results[sample.prompt]
    fields = (np.concatenate(part)[:count] for part in zip(*sample.chunks, strict=True))
    samples[sample.sample] = Sample(*fields, finish)
    self._slots.free(b)
    slot.decoding -= 1
    self.stats.samples += 1
    self.stats.sample_tokens += int(count)
    if slot.unfinished and self.request.stop_group:
      finished = [sample for sample in samples if sample is not None]
      if self.request.stop_group(sample.prompt, finished):
        self._skip_others(sample.prompt_slot)
    if slot.unfinished:
      return False
    self._slots.prompts[sample.prompt_slot] = None
    return True

  def _skip_others(self, r: int) -> None:
    """Ends the unfinished samples of prompt slot r; their results stay None."""
    slot = self._slots.prompts[r]
    self.stats.skipped += slot.unfinished
    slot.waiting, slot.decoding = [], 0
    for b in self._slots.of_prompt(r):
      self.stats.skipped_tokens += int(self._slots.arrays.generated_B[b])
      self._slots.free(b)

  def _count_prefill(self, prompts, prefilled, seconds: float) -> None:
    tokens = sum(len(prompt.tokens) for prompt in prompts)
    self.stats.prompts += len(prompts)
    self.stats.prompt_tokens += tokens
    self.stats.prefill_positions += self.capacity.prefill_batch * self.prompt_length
    self.stats.prefill_seconds += seconds
    positions = self.capacity.prefill_batch * jax.process_count() * self.prompt_length
    position_bytes = sum(x.nbytes for kv in prefilled for x in kv) // positions
    self.stats.shared_bytes += position_bytes * tokens * (self.capacity.group - 1)
