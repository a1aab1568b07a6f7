"""Which prompt has which prompt slot, and which sample has which decode slot."""

import numpy as np
import pytest

from cot_rm.sampler import sampling
from cot_rm.sampler.limits import Capacity
from cot_rm.sampler.request import Request
from cot_rm.sampler.slots import SlotTable
from tests import chats

PROMPTS = [chats.encoded(i, 5 + i) for i in range(4)]
REQUEST = Request(
  PROMPTS,
  seeds=[10, 11, 12, 13],
  n=3,
  sampling=sampling.Sampling(temperature=1.0, max_tokens=8),
  token_limits=np.full((4, 3), 8),
)


def table(prompt_slots, decode_slots, *, group=2, shards=1):
  capacity = Capacity(
    prompt_slots,
    decode_slots,
    group=group,
    shards=shards,
    prefill_batch=1,
    cache_parts=(),
    kv_bytes=0,
  )
  return SlotTable(capacity, prompt_length=16)


def samples(slots):
  """(prompt, sample) of each decode slot."""
  return [slot and (slot.prompt, slot.sample) for slot in slots.samples]


def test_waiting_samples_start_in_the_order_of_their_prompts():
  slots = table(3, 4)
  for r, index in ((1, 0), (0, 1)):
    slots.insert(r, index, REQUEST)
  slots.start_samples(REQUEST)
  assert samples(slots) == [(0, 0), (0, 1), (1, 0), (1, 1)]
  prompt_slots, decode_slots = slots.snapshot()
  np.testing.assert_array_equal(prompt_slots.slot_RG, [[2, 3], [0, 1], [4, 4]])
  np.testing.assert_array_equal(decode_slots.flat_index_B, [2, 3, 0, 1])
  np.testing.assert_array_equal(decode_slots.seed_B, [10, 10, 11, 11])
  np.testing.assert_array_equal(prompt_slots.mask_RS.sum(1), [5, 4, 0])


def test_a_freed_decode_slot_takes_the_next_sample():
  slots = table(3, 4)
  for r in (0, 1):
    slots.insert(r, r, REQUEST)
  slots.start_samples(REQUEST)
  slots.free(1)
  slots.start_samples(REQUEST)
  assert samples(slots) == [(0, 0), (0, 2), (1, 0), (1, 1)]
  assert slots.of_prompt(0) == [0, 1] and slots.prompts[0].waiting == []
  slots.free(0)  # the samples that wait are of prompt 1, whose group indices are taken
  slots.start_samples(REQUEST)
  assert samples(slots)[0] is None and slots.prompts[1].waiting == [2]


def test_without_extra_prompt_slots_the_assignment_is_fixed():
  slots = table(2, 4)
  slots.insert(1, 0, REQUEST)
  slots.start_samples(REQUEST)
  assert samples(slots) == [None, None, (0, 0), (0, 1)]
  prompt_slots, decode_slots = slots.snapshot()
  assert prompt_slots.slot_RG is None and decode_slots.flat_index_B is None


def test_a_sample_decodes_in_the_shard_of_its_prompt_and_shards_fill_evenly():
  slots = table(4, 4, shards=2)
  assert slots.free_prompt_slots() == [0, 2, 1, 3]
  slots.insert(2, 0, REQUEST)
  assert slots.free_prompt_slots() == [0, 1, 3]
  slots.start_samples(REQUEST)
  assert samples(slots) == [None, None, (0, 0), (0, 1)]
  prompt_slots, decode_slots = slots.snapshot()
  np.testing.assert_array_equal(prompt_slots.slot_RG[2], [0, 1])  # counted in the shard
  np.testing.assert_array_equal(decode_slots.flat_index_B[2:], [0, 1])


@pytest.mark.parametrize("name", ["active_B", "generated_B", "token_B"])
def test_a_snapshot_does_not_change_with_the_table(name):
  slots = table(3, 4)
  slots.insert(0, 0, REQUEST)
  slots.start_samples(REQUEST)
  _, before = slots.snapshot()
  kept = getattr(before, name).copy()
  getattr(slots.arrays, name)[:] = 1 - getattr(slots.arrays, name).astype(int)
  np.testing.assert_array_equal(getattr(before, name), kept)
