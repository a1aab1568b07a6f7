"""Pairs are found again by their pictures and their texts, and by nothing else."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cot_rm import schema
from cot_rm.data import contamination


def scene(seed, size=(200, 160)):
  """A smooth random picture, as unlike another seed's as two photographs."""
  noise = np.random.default_rng(seed).integers(0, 255, (12, 15, 3), np.uint8)
  return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality=60):
  out = io.BytesIO()
  image.save(out, "JPEG", quality=quality)
  return out.getvalue()


def pair(name, picture, question="How many dogs are there?", answers=("Two.", "Three dogs")):
  return schema.Example.answers(question, *answers, media=picture, id=name, gold=1)


def found(items, training):
  made = [[contamination.prints(e) for e in side] for side in (items, training)]
  return contamination.find(*made)


@pytest.mark.parametrize(
  "change",
  [
    lambda image: image,
    lambda image: jpeg(image, 40),
    lambda image: image.resize((100, 80)),
    lambda image: image.resize((413, 331), Image.Resampling.LANCZOS),
    lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    lambda image: Image.fromarray((np.asarray(image) * 0.9).astype(np.uint8)),
  ],
  ids=["same", "encoded anew", "smaller", "larger", "blurred", "darker"],
)
def test_a_picture_is_found_again_and_no_other(change):
  training = [pair(f"t{seed}", scene(seed), f"question {seed}") for seed in range(60)]
  (match,) = found([pair("b", change(scene(7)), "Something else?")], training)
  assert match.picture == ["t7"] and match.answers == [] and match.contaminated


def test_other_pictures_are_not_near():
  prints = [contamination.picture(scene(seed)).shape for seed in range(300)]
  shapes = np.stack(prints)
  distances = np.bitwise_count(shapes[:, None] ^ shapes[None]).sum(-1)
  distances[np.diag_indices(300)] = 256
  assert distances.min() > 4 * contamination.NEAR


def test_flat_pictures_are_known_by_their_pixels_alone():
  white, black = (Image.new("RGB", (64, 64), color) for color in ("white", "black"))
  assert contamination.picture(white).shape is None
  matches = found([pair("b", white), pair("c", black)], [pair("t", white, "Other?", ("a", "b"))])
  assert [match.picture for match in matches] == [["t"], []]


def test_texts_are_found_without_case_marks_and_order():
  training = [
    pair("t0", scene(0), "how many DOGS are there", ("three dogs!", "two")),
    pair("t1", scene(1), "How many dogs are there?", ("Two.", "Four dogs")),
  ]
  (match,) = found([pair("b", scene(2))], training)
  assert match.answers == ["t0"] and match.picture == [] and match.contaminated


def test_a_caption_alone_is_said_but_is_no_contamination():
  draw = lambda name, a, b: schema.Example.images("A red dog.", scene(a), scene(b), id=name, gold=1)
  (match,) = found([draw("b", 0, 1)], [draw("t", 2, 3)])
  assert match.caption == ["t"] and not match.contaminated
  (match,) = found([draw("b", 0, 1)], [draw("t", 1, 0)])
  assert match.picture == ["t"]


def test_a_video_is_known_by_its_middle_frame():
  frames = [np.asarray(scene(seed)) for seed in range(5)]
  clip = schema.Example.videos("c", np.stack(frames), np.stack(frames[::-1]), id="v", gold=1)
  other = pair("b", scene(2), "x")
  assert found([other], [clip])[0].picture == ["v"]
  assert found([pair("b", scene(0), "x")], [clip])[0].picture == []


def test_a_picture_that_cannot_be_read_is_an_error_that_names_it():
  with pytest.raises(schema.BadExample, match="'b'"):
    contamination.prints(dataclasses.replace(pair("b", b"no picture")))
