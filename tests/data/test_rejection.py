"""Accepted and hard pairs of rejection sampling: a partition of the pool."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cot_rm import schema
from cot_rm.data import rejection


def example(i, gold=1, task="image_understanding"):
  return schema.Example(f"e{i}", "s", task, "q", (), ("a", "b"), gold, extra={"k": i})


def pool(count=6):
  tasks = ("image_understanding", "video_understanding")
  return rejection.PairPool([example(i, 1 + i % 2, tasks[i % 2]) for i in range(count)])


def sample(row, number, *, right, readable=True, of=None):
  return {
    "row": row,
    "sample": number,
    "id": (of or POOL)[row].id,
    "text": f"reasoning {row}.{number}",
    "answer": (1 if right else 2) if readable else None,
    "right": right,
    "why_unparsable": None if readable else "no tags",
    "tokens": 7,
  }


POOL = pool()
SAMPLES = [
  sample(row, number, right=(row, number) in {(0, 0), (0, 1), (2, 1)}, readable=row != 5)
  for row in range(6)
  for number in range(2)
]


def make_splits(samples, *, max_per_pair, of=POOL):
  accepted = rejection.accept(samples, max_per_pair=max_per_pair)
  return {
    name: list(examples)
    for name, examples in rejection.splits(of, accepted, samples, {"seed": 3}).items()
  }


@given(st.lists(st.booleans(), min_size=6, max_size=6), st.integers(1, 2))
def test_kept_and_hard_partition_the_pool(right, most):
  samples = [sample(row, 0, right=value) for row, value in enumerate(right)]
  splits = make_splits(samples, max_per_pair=most)
  names = [one.id for examples in splits.values() for one in examples]
  assert sorted(names) == sorted(POOL[row].id for row in range(6))
  assert [one.id for one in splits.get("kept", [])] == [
    POOL[row].id for row in range(6) if right[row]
  ]


def test_a_right_sample_is_the_reasoning_and_the_hard_ones_have_none():
  splits = make_splits(SAMPLES, max_per_pair=1)
  assert [one.reasoning for one in splits["kept"]] == ["reasoning 0.0", "reasoning 2.1"]
  assert len(splits["hard"]) == 4 and not any(one.reasoning for one in splits["hard"])


def test_more_right_samples_of_a_pair_have_ids_of_their_own():
  names = [one.id for one in make_splits(SAMPLES, max_per_pair=2)["kept"]]
  assert names == [POOL[0].id, f"{POOL[0].id}#1", POOL[2].id]


def test_each_example_records_its_provenance():
  one = make_splits(SAMPLES, max_per_pair=1)["kept"][0]
  assert one.extra["sampled"] == {
    "seed": 3,
    "swapped": POOL.swapped(0),
    "right": 2,
    "of": 2,
    "tokens": 7,
  }
  hard = make_splits(SAMPLES, max_per_pair=1)["hard"][0]
  assert hard.extra["sampled"]["right"] == 0 and hard.extra["sampled"]["tokens"] is None
  assert hard.extra["k"] in range(6)  # what the source said is still there


def test_an_unparsable_sample_is_wrong_and_counted_separately():
  accepted = rejection.accept(SAMPLES, max_per_pair=1)
  found = rejection.statistics(POOL, accepted, SAMPLES)
  families = found.pop("families")
  assert found == {
    "pairs": 6,
    "kept": 2,
    "hard": 4,
    "reasonings": 2,
    "samples": 12,
    "right": 3 / 12,
    "unparsable": 2 / 12,
  }
  assert sum(row["pairs"] for row in families.values()) == 6
  assert sum(row["hard"] for row in families.values()) == 4


@pytest.mark.parametrize("right, split", [(True, "kept"), (False, "hard")])
def test_an_empty_split_is_left_out(right, split):
  assert make_splits([sample(row, 0, right=right) for row in range(6)], max_per_pair=1).keys() == {
    split
  }


def test_the_pool_has_as_many_golds_of_1_as_of_2():
  golds = [one.gold for one in (pool(40)[row] for row in range(40))]
  assert golds.count(1) == golds.count(2) == 20


def test_the_attempts_of_the_teacher_are_kept():
  of = rejection.PairPool([dataclasses.replace(example(i), attempts=1 + i % 4) for i in range(6)])
  samples = [sample(row, 0, right=row < 3, of=of) for row in range(6)]
  for examples in make_splits(samples, max_per_pair=1, of=of).values():
    assert {one.id: one.attempts for one in examples} == {
      one.id: 1 + one.extra["k"] % 4 for one in examples
    }


def test_statistics_read_no_example_again(monkeypatch):
  accepted = rejection.accept(SAMPLES, max_per_pair=1)
  known = rejection.statistics(POOL, accepted, SAMPLES)
  monkeypatch.setattr(rejection.PairPool, "__getitem__", None)
  assert rejection.statistics(POOL, accepted, SAMPLES) == known
