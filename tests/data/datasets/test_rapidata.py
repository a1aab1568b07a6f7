"""Votes of many people on two pictures or videos."""

import pytest

from tests.published_sets import encoded

IMAGES = {f"image{i}": {"bytes": encoded(), "path": None} for i in (1, 2)}


def test_the_picture_with_more_votes_is_preferred_and_as_many_are_a_tie(folder):
  votes = ((3, 5), (5, 3), (4, 4), (None, 3))
  records = [
    {"prompt": "a box", **IMAGES, "votes_image1": a, "votes_image2": b, "model1": "m"}
    for a, b in votes
  ]
  source = folder.open(records, "train_0001.parquet")
  assert source.name == "rapidata" and [e.gold for e in source] == [2, 1]
  assert source.counts.left_out == {"tie": 1, "no label": 1}
  assert source[0].question == "a box" and source[0].task == "image_generation"
  assert source[0].extra == {"model1": "m", "votes_image1": 3, "votes_image2": 5}


@pytest.mark.parametrize(
  "form", ["weighted_results_{kind}{i}_{aspect}", "weighted_results{i}_{aspect}"]
)
@pytest.mark.parametrize("kind", ["image", "video"])
def test_of_several_questions_that_of_preference_counts(folder, form, kind):
  folder.media("1.mp4", "2.mp4")
  record = {"prompt": "a box", "video1": "1.mp4", "video2": "2.mp4"}
  if kind == "image":
    record = {"prompt": "a box", **IMAGES}
  for aspect, shares in (("Alignment", (0.9, 0.1)), ("Preference", (0.3, 0.7))):
    name = aspect.lower() if "kind" in form else aspect
    for i, share in enumerate(shares, 1):
      record[form.format(kind=kind, i=i, aspect=name)] = share
  (one,) = folder.open([record], "a.parquet")
  assert one.gold == 2 and one.task == f"{kind}_generation"
