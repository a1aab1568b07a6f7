"""HPD v2 and v3."""

import pytest

from cot_rm.data import bad_examples
from tests.published_sets import preferred


def test_hpdv2_train(folder, tmp_path):
  folder.media("train/0.jpg", "train/1.jpg", "test/0.jpg", "test/1.jpg")
  records = [
    {"prompt": "a box", "human_preference": choice, name: ["0.jpg", "1.jpg"], "user_hash": "h"}
    for choice, name in (([1, 0], "image_path"), ([0, 1], "file_path"), ([1, 1], "image_path"))
  ]
  source = folder.open(records)
  assert [e.gold for e in source] == [1, 2] and source.counts.left_out == {"tie": 1}
  assert preferred(source[1]) == str(tmp_path / "train" / "1.jpg")
  assert source[0].task == "image_generation" and source[0].question == "a box"


def test_hpdv2_test_is_ranked_and_the_smaller_rank_is_better(folder):
  names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
  folder.media(*(f"test/{name}" for name in names))
  record = {"prompt": "a box", "image_path": names, "rank": [0, 2, 1, 2]}
  source = folder.open([record], "test.json")
  assert [e.id for e in source] == [
    "test-0-0-1",
    "test-0-0-2",
    "test-0-0-3",
    "test-0-1-2",
    "test-0-2-3",
  ]
  assert [preferred(e)[-5:] for e in source] == ["0.jpg"] * 3 + ["2.jpg"] * 2
  assert source.counts.left_out == {"tie": 1}
  (one,) = folder.open([record], "test.json", pairs="best_worst")
  assert preferred(one).endswith("0.jpg") and {m.source[-5:] for m in one.media} == {
    "0.jpg",
    "1.jpg",
  }


def test_hpdv3_prefers_the_first_path(folder):
  folder.media("images/a.jpg", "images/b.jpg")
  record = {"path1": "images/a.jpg", "path2": "images/b.jpg", "prompt": "a box", "confidence": 0.9}
  source = folder.open([record] * 20)
  assert {e.gold for e in source} == {1, 2}
  assert all(preferred(e).endswith("a.jpg") and e.extra["confidence"] == 0.9 for e in source)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"human_preference": None}, "'human_preference' and 'rank' are missing"),
    ({"human_preference": [1]}, "a number for each of 2 pictures"),
    ({"rank": [1, None]}, "a number for each of 2 pictures"),
    (
      {"human_preference": [1, 0], "image_path": ["a", "b", "c"]},
      "a number for each of 3 pictures",
    ),
  ],
)
def test_labels_that_do_not_fit_are_named(folder, fields, message):
  with pytest.raises(bad_examples.TooManyBad, match=message):
    folder.open([{"prompt": "a box", "image_path": ["a.jpg", "b.jpg"], **fields}])


def test_lists_may_be_text(folder):
  folder.media("0.jpg", "1.jpg")
  record = {"prompt": "a box", "image_path": "['0.jpg', '1.jpg']", "human_preference": "[0, 1]"}
  (one,) = folder.open([record])
  assert one.gold == 2
