"""How many prompts the memory of the sampler has room for."""

import pytest

from cot_rm.sampler.limits import Room

SHAPE = dict(prompt=100, answer=20, group=4, position_bytes=10)


def size(rows, seats, read=1):
  """Of an answer three chunks of 5 are held, and the one that is being made."""
  return 10 * (100 * (seats + read) + rows * 4 * (15 + 5))


@pytest.mark.parametrize(
  "memory, rows",
  [(0, 8), (size(1, 1), 1), (size(2, 3) - 1, 1), (size(3, 4) + 1, 3), (size(8, 12, 2), 8)],
)
def test_as_many_are_answered_as_their_keys_and_values_fit(memory, rows):
  room = Room(chunk=5, memory=memory)
  assert room.rows(8, name="a", **SHAPE) == rows
  assert not memory or room.bytes(rows, **SHAPE) <= memory


@pytest.mark.parametrize(
  ("rows", "spare", "group", "shares", "seats"),
  [
    (8, 0.5, 4, 1, 12),
    (3, 0.5, 4, 1, 4),
    (1, 0.5, 4, 1, 1),
    (8, 0.0, 4, 1, 8),
    (8, 0.5, 1, 8, 16),  # as many on each share
    (3, 0.5, 4, 8, 4),  # slots that cannot be shared equally are not
  ],
)
def test_some_prompts_wait_for_slots(rows, spare, group, shares, seats):
  assert Room(spare=spare).seats(rows, group, shares) == seats


@pytest.mark.parametrize(
  "answer, chunk, parts",
  [
    (52, 13, (13,) * 3),
    (2048, 16, (512,) * 4),
    (10, 16, ()),
    (48, 16, (16,) * 2),
    (70, 16, (16,) * 4),
  ],
)
def test_all_but_the_last_chunk_is_held_in_few_parts_of_whole_chunks(answer, chunk, parts):
  assert Room(chunk=chunk).parts(answer) == parts


def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers():
  need = size(1, 1)
  with pytest.raises(ValueError, match=f"'a'.*100 tokens.*{need:,} bytes.*memory is {need - 1:,}"):
    Room(chunk=5, memory=need - 1).rows(8, name="a", **SHAPE)


def test_the_longest_prompt_that_fits_is_known():
  shape = {name: value for name, value in SHAPE.items() if name != "prompt"}
  for memory, longest in ((size(1, 1), 100), (size(1, 1) - 1, 99), (10, 0)):
    assert Room(chunk=5, memory=memory).longest(**shape) == longest


def test_processes_of_several_devices_need_room_on_each():
  need = size(4, 8, 4)
  assert Room(chunk=5, memory=need).rows(9, name="a", unit=4, shares=4, **SHAPE) == 4
  with pytest.raises(ValueError, match=f"4 of prompts.*{need:,} bytes"):
    Room(chunk=5, memory=need - 1).rows(9, name="a", unit=4, shares=4, **SHAPE)


@pytest.mark.parametrize(
  "wrong",
  [
    dict(together=-1),
    dict(chunk=0),
    dict(piece=-1),
    dict(memory=-1),
    dict(spare=-1),
    dict(weights="int9"),
  ],
)
def test_what_is_out_of_range_is_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    Room(**wrong)
