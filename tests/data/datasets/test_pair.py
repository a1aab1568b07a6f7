"""From a pair to an Example: the order is a fair draw by seed and id."""

import pytest

from cot_rm.data.datasets import pair
from cot_rm.schema import BadRecord, Media

ANSWERS = pair.Pair("image_understanding", "How many?", ("one", "three"), 1, shuffled=True)


def example(found=ANSWERS, id="a", seed=0):
  return pair.to_example(found, id, "set", seed, "file, record 3")


def test_which_candidate_is_shown_first_is_drawn_by_seed_and_id_about_evenly():
  first = [pair.second_first(str(i), 0) for i in range(2000)]
  assert 900 < sum(first) < 1100
  assert first == [pair.second_first(str(i), 0) for i in range(2000)]
  other = [pair.second_first(str(i), 1) for i in range(2000)]
  assert 900 < sum(a != b for a, b in zip(first, other, strict=True)) < 1100


def test_gold_goes_with_the_better_candidate():
  examples = [example(id=str(i)) for i in range(50)]
  assert {e.gold for e in examples} == {1, 2}
  assert all(e.responses[e.gold - 1] == "one" for e in examples)


def test_an_order_that_the_data_give_is_kept():
  found = pair.Pair("image_understanding", "How many?", ("one", "three"), 2, reasoning="r")
  kept = [example(found, id=str(i)) for i in range(20)]
  assert {(e.responses, e.gold, e.reasoning) for e in kept} == {(("one", "three"), 2, "r")}


def test_candidates_of_generation_tasks_are_the_media():
  found = pair.Pair("image_generation", "a box", (Media("image", "a"), Media("image", "b")), None)
  assert [m.source for m in example(found).media] == ["a", "b"] and example(found).responses == ()


@pytest.mark.parametrize(
  "question, candidates, message",
  [
    (" ", ("a", "b"), "the question must be text"),
    ("?", ("a", ""), "answer 2 must be text that is not blank, not ''"),
    ("?", (5, "b"), "answer 1 must be text that is not blank, not 5"),
  ],
)
def test_blank_texts_are_bad_records(question, candidates, message):
  with pytest.raises(BadRecord, match=f"file, record 3: {message}"):
    example(pair.Pair("image_understanding", question, candidates, 1))


def test_candidates_that_do_not_fit_the_task_are_a_bad_record():
  found = pair.Pair("video_generation", "?", (Media("image", "a"), Media("image", "b")), 1)
  with pytest.raises(BadRecord, match="record 3: .*two media of kind 'video'"):
    example(found)
