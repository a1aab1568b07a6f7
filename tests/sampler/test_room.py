"""How many prompts the memory of the sampler has room for."""

import pytest

from cot_rm.sampler.room import Room

SHAPE = dict(name="a", prompt=100, answer=20, group=4, position_bytes=10)
SEAT = 10 * (100 + 4 * (20 + 5))


@pytest.mark.parametrize(
  "memory, seats", [(0, 8), (SEAT, 1), (3 * SEAT + 1, 3), (8 * SEAT, 8), (99 * SEAT, 8)]
)
def test_as_many_sit_as_their_keys_and_values_fit(memory, seats):
  assert Room(chunk=5, memory=memory).seats(8, **SHAPE) == seats


@pytest.mark.parametrize(
  "answer, chunk, parts",
  [
    (52, 13, (13,) * 4),
    (2048, 16, (512,) * 4),
    (10, 16, (16,)),
    (48, 16, (16,) * 3),
    (70, 16, (32,) * 3),
  ],
)
def test_an_answer_is_held_in_few_parts_of_whole_chunks(answer, chunk, parts):
  assert Room(chunk=chunk).parts(answer) == parts


def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers():
  with pytest.raises(ValueError, match=f"'a'.*100 tokens.*{SEAT:,} bytes.*memory is {SEAT - 1:,}"):
    Room(chunk=5, memory=SEAT - 1).seats(8, **SHAPE)


@pytest.mark.parametrize(
  "wrong", [dict(together=-1), dict(chunk=0), dict(piece=-1), dict(memory=-1), dict(weights="int9")]
)
def test_what_is_out_of_range_is_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    Room(**wrong)
