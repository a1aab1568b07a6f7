"""The prompts of the next prefill; the whole loop is tested in test_engine.py."""

from cot_rm.sampler.scheduler import PromptQueue


def test_a_prefill_has_prompts_of_one_patch_bucket():
  queue = PromptQueue({0: 16, 1: 0, 2: 16, 3: 0, 4: 16}, batch=2)
  assert [queue.take(free=2) for _ in range(4)] == [[1, 3], [0, 2], [4], []]
  assert not queue


def test_prompts_wait_until_a_whole_prefill_has_slots():
  queue = PromptQueue({0: 0, 1: 0, 2: 0}, batch=2)
  assert queue.take(free=1) == [] and queue.take(free=2) == [0, 1]
  assert queue.take(free=1) == [2]  # the last ones are fewer
