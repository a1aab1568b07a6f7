"""VLFeedback's ratings to pairs."""

import pytest

from tests.published_sets import preferred

ASPECTS = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")


def completion(response, *ratings):
  annotations = {
    aspect: {"Rating": rating, "Rationale": "r"}
    for aspect, rating in zip(ASPECTS, ratings, strict=True)
  }
  return {"annotations": annotations, "model": "m", "response": response}


COMPLETIONS = [
  completion("one", "5", "5", "5"),
  completion("three", "2", "2", "5"),
  completion("two", "2", "2", "5"),
  completion("none", "1", "1", "5"),
]


def record(completions):
  return {"id": "L-1", "prompt": "How many?", "completions": completions, "img_path": "a.jpg"}


def test_all_pairs_of_unequal_rating(folder):
  folder.media("merged_images/a.jpg")
  source = folder.open([record(COMPLETIONS)], "set.jsonl")
  assert [e.id for e in source] == ["L-1-0-1", "L-1-0-2", "L-1-0-3", "L-1-1-3", "L-1-2-3"]
  assert [preferred(e) for e in source] == ["one", "one", "one", "three", "two"]
  assert source.counts.left_out == {"tie": 1}
  assert source[0].media[0].source.endswith("merged_images/a.jpg")
  kept = folder.open([record(COMPLETIONS)], "set.jsonl", ties="keep")
  assert [e.gold for e in kept].count(None) == 1 and len(kept) == 6


def test_the_best_and_the_worst(folder):
  folder.media("a.jpg")
  (one,) = folder.open([record(COMPLETIONS)], "set.jsonl", pairs="best_worst")
  assert preferred(one) == "one" and set(one.responses) == {"one", "none"}


def test_ratings_are_compared_where_both_answers_have_them(folder):
  folder.media("a.jpg")
  completions = [
    completion("one", "4", "N/A", "N/A"),
    completion("two", "3", "5", "5"),
    completion("three", "N/A", "N/A", "N/A"),
    completion(" ", "5", "5", "5"),
  ]
  source = folder.open([record(completions)], "set.jsonl")
  assert [preferred(e) for e in source] == ["one"]
  assert source.counts.left_out == {"no label": 2, "an answer is empty": 1}


def test_an_object_of_lists_as_older_datasets_store_it(folder):
  folder.media("a.jpg")
  lists = {key: [one[key] for one in COMPLETIONS] for key in COMPLETIONS[0]}
  assert len(folder.open([record(lists)], "set.jsonl")) == 5


def test_answers_without_their_picture_are_a_bad_record(folder):
  for missing in (None, ""):
    with pytest.raises(ValueError, match="line 1: field 'img_path' is missing"):
      folder.open([{**record(COMPLETIONS), "img_path": missing}], "set.jsonl")
