"""Pairs of two benchmarks as data."""

import pytest

from cot_rm.data import bad_examples
from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded, preferred


def test_vl_rewardbench(folder):
  records = [
    {
      "id": f"RLAIF-V-{i}",
      "query": f"<image>\n{QUESTION}",
      "response": [CHOSEN, REJECTED],
      "human_ranking": ranking,
      "image": {"bytes": encoded(), "path": None},
    }
    for i, ranking in enumerate(([0, 1], [1, 0]))
  ]
  one, two = folder.open(records, "data/test-0.parquet")
  assert (one.gold, two.gold, one.question) == (1, 2, QUESTION)
  assert one.responses == two.responses == (CHOSEN, REJECTED) and two.id == "RLAIF-V-1"


def test_multimodal_rewardbench(folder):
  folder.media("images/1.png")
  record = {"ID": "1", "Category": "c", "Text": QUESTION, "Image": "images/1.png"}
  record |= {"Output1": CHOSEN, "Output2": REJECTED, "Better": "Output2"}
  (one,) = folder.open([record], "all_data.json")
  assert (one.id, preferred(one), one.extra) == (
    "1",
    REJECTED,
    {"Category": "c", "Image": "images/1.png"},
  )
  with pytest.raises(bad_examples.TooManyBad, match="'Better' must be Output1 or Output2"):
    folder.open([{**record, "Better": "3"}])


def test_a_ranking_that_is_none_is_named(folder):
  record = {"query": "?", "response": ["a", "b"], "human_ranking": [0, 0], "image": "a.jpg"}
  with pytest.raises(bad_examples.TooManyBad, match="needs two responses and a human_ranking"):
    folder.open([record])


def test_numbers_of_a_ranking_may_be_text(folder):
  folder.media("a.jpg")
  record = {"query": "?", "response": ["a", "b"], "image": "a.jpg"}
  for ranking in (["1", "0"], [1.0, 0.0], "[1, 0]"):
    (one,) = folder.open([{**record, "human_ranking": ranking}])
    assert one.gold == 2


def test_a_pair_without_its_picture_is_a_bad_record(folder):
  first = {"query": "?", "response": ["a", "b"], "human_ranking": [0, 1]}
  second = {"ID": "1", "Text": "?", "Output1": "a", "Output2": "b", "Better": "Output1"}
  for record, name in ((first, "image"), (second, "Image")):
    for missing in ({}, {name: None}, {name: ""}):
      with pytest.raises(ValueError, match=f"record 0, field '{name}': must be a picture's path"):
        folder.open([{**record, **missing}])
