"""Prompt slots and decode slots of a process: which prompt and which sample occupies each.

R prompt slots with G group indices each, B decode slots, S prompt positions. Each shard of the
logical axis "batch" has equally many slots; a sample is decoded in the shard of its prompt.
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from cot_rm.sampler import programs
from cot_rm.sampler.limits import Capacity
from cot_rm.sampler.request import Request


@dataclasses.dataclass
class PromptSlot:
  """Occupied prompt slot."""

  prompt: int  # index in the request
  order: int  # number of prompts inserted before it
  waiting: list[int]  # samples without a decode slot, the next one last
  decoding: int = 0  # samples with a decode slot

  @property
  def unfinished(self) -> int:
    """Samples that have not ended."""
    return len(self.waiting) + self.decoding


@dataclasses.dataclass
class DecodeSlot:
  """Occupied decode slot."""

  prompt: int  # index in the request
  sample: int  # number among the samples of the prompt
  prompt_slot: int
  group_index: int  # in the prompt slot
  chunks: list[tuple[np.ndarray, ...]]  # of each chunk the fields of Sample, without `finish`


class SlotTable:
  """Prompt and decode slots of a process: the prompt or sample in each, and their state arrays."""

  def __init__(self, capacity: Capacity, prompt_length: int, *, vocab_size: int = 0) -> None:
    """
    Args:
      capacity: numbers of slots.
      prompt_length: positions of a prompt, padding included.
      vocab_size: of the model, to record the tokens of each sample, which a repetition penalty
        needs; 0: they are not recorded.
    """
    R, B, G = capacity.prompt_slots, capacity.decode_slots, capacity.group
    self.capacity = capacity
    self.prompts: list[PromptSlot | None] = [None] * R
    self.samples: list[DecodeSlot | None] = [None] * B
    self._inserted = 0
    # Without extra prompt slots group index g of prompt slot r is decode slot r * G + g, and the
    # programs need not gather by an assignment (a tenth of a rollout of configs/tiny.py).
    self._fixed = R * G == B
    self.prompt_arrays = programs.PromptSlots(
      mask_RS=np.zeros((R, prompt_length), bool), slot_RG=np.full((R, G), B, np.int32)
    )
    self.arrays = programs.DecodeSlots(
      active_B=np.zeros(B, bool),
      token_B=np.zeros(B, np.int32),
      position_B=np.zeros(B, np.int32),
      generated_B=np.zeros(B, np.int32),
      remaining_B=np.zeros(B, np.int32),
      seed_B=np.zeros(B, np.uint32),
      sample_B=np.zeros(B, np.int32),
      flat_index_B=np.zeros(B, np.int32),
      seen_BV=np.zeros((B, -(-vocab_size // 8)), np.uint8) if vocab_size else None,
    )

  def occupied(self) -> bool:
    """Whether any prompt has a slot."""
    return any(slot is not None for slot in self.prompts)

  def free_prompt_slots(self) -> list[int]:
    """Free prompt slots, in the order that fills the shards evenly."""
    per_shard = len(self.prompts) // self.capacity.shards
    taken = [
      sum(slot is not None for slot in self.prompts[first : first + per_shard])
      for first in self._shard_starts(len(self.prompts))
    ]
    ranks = {}
    for r in (r for r, slot in enumerate(self.prompts) if slot is None):
      ranks[r] = taken[r // per_shard]
      taken[r // per_shard] += 1
    return sorted(ranks, key=ranks.get)

  def insert(self, r: int, index: int, request: Request) -> None:
    """Puts prompt `index` of the request into prompt slot r; all its samples begin to wait."""
    self.prompts[r] = PromptSlot(index, self._inserted, waiting=list(range(request.n))[::-1])
    self._inserted += 1
    # The prompt's last token is the first input of each of its samples.
    length = len(request.prompts[index].tokens) - 1
    self.prompt_arrays.mask_RS[r] = np.arange(self.prompt_arrays.mask_RS.shape[1]) < length

  def start_samples(self, request: Request) -> None:
    """Gives free decode slots to waiting samples, first to those of the prompts inserted first."""
    if self._fixed:
      for b in np.flatnonzero(~self.arrays.active_B):
        r, g = divmod(b, self.capacity.group)
        if self.prompts[r] and self.prompts[r].waiting:
          self._start(b, r, g, request)
      return
    per_shard = len(self.samples) // self.capacity.shards
    starts = self._shard_starts(len(self.prompts)), self._shard_starts(len(self.samples))
    for first_r, first_b in zip(*starts, strict=True):
      free = np.flatnonzero(~self.arrays.active_B[first_b : first_b + per_shard])
      for b, (r, g) in zip(free, self._waiting_samples(first_r), strict=False):
        self._start(first_b + b, r, g, request)
        self.prompt_arrays.slot_RG[r, g] = b
        self.arrays.flat_index_B[first_b + b] = (r - first_r) * self.capacity.group + g

  def snapshot(self) -> tuple[programs.PromptSlots, programs.DecodeSlots]:
    """Copies of the state arrays, as arguments of decode_chunk.

    Copies, because one device may still read the arguments when the results of another device have
    arrived and the host already changes the arrays.
    """
    prompt_slots, decode_slots = jax.tree.map(np.copy, (self.prompt_arrays, self.arrays))
    if self._fixed:
      return prompt_slots._replace(slot_RG=None), decode_slots._replace(flat_index_B=None)
    return prompt_slots, decode_slots

  def mark_seen(self, b: int, tokens: np.ndarray) -> None:
    """Records tokens of the sample of a decode slot, where the samplers' penalty needs them."""
    if (seen_BV := self.arrays.seen_BV) is not None:
      np.bitwise_or.at(seen_BV[b], tokens // 8, (1 << tokens % 8).astype(np.uint8))

  def free(self, b: int) -> None:
    """Frees a decode slot."""
    sample = self.samples[b]
    self.prompt_arrays.slot_RG[sample.prompt_slot, sample.group_index] = len(self.samples)
    self.arrays.active_B[b] = False
    self.arrays.generated_B[b], self.arrays.flat_index_B[b] = 0, 0
    self.samples[b] = None

  def of_prompt(self, r: int) -> list[int]:
    """Decode slots of the samples of prompt slot r."""
    return [b for b, sample in enumerate(self.samples) if sample and sample.prompt_slot == r]

  def _start(self, b, r, g, request):
    """Puts the next waiting sample of prompt slot r into decode slot b, as group index g."""
    arrays, slot = self.arrays, self.prompts[r]
    sample = slot.waiting.pop()
    slot.decoding += 1
    prompt = request.prompts[slot.prompt]
    arrays.active_B[b] = True
    arrays.token_B[b], arrays.position_B[b] = prompt.tokens[-1], prompt.positions[-1, 0]
    arrays.generated_B[b] = 0
    arrays.remaining_B[b] = request.token_limits[slot.prompt][sample]
    arrays.seed_B[b], arrays.sample_B[b] = request.seeds[slot.prompt], sample
    self.samples[b] = DecodeSlot(slot.prompt, sample, r, g, [])
    if arrays.seen_BV is not None:
      arrays.seen_BV[b] = 0
      self.mark_seen(b, prompt.tokens)

  def _waiting_samples(self, first: int) -> Iterator[tuple[int, int]]:
    """Yields (prompt slot, free group index) for each waiting sample of one shard.

    The caller starts that sample before it advances the iterator.

    Args:
      first: first prompt slot of the shard.
    """
    shard = range(first, first + len(self.prompts) // self.capacity.shards)
    occupied = (r for r in shard if self.prompts[r])
    for r in sorted(occupied, key=lambda r: self.prompts[r].order):
      for g in np.flatnonzero(self.prompt_arrays.slot_RG[r] == len(self.samples)):
        if self.prompts[r].waiting:
          yield r, g

  def _shard_starts(self, count):
    """Index of the first slot of each shard, for `count` slots in all shards."""
    return range(0, count, count // self.capacity.shards)
