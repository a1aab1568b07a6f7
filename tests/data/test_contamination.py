"""Pairs are found again by their pictures and their texts, and by nothing else."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from cot_rm import media, schema
from cot_rm.data import contamination
from cot_rm.toy_world import world


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
  asked = "What do the dogs of the lady with the red umbrella do?"
  answers = ("Both sleep in front of the door.", "One sleeps, the other one barks at a cat.")
  training = [
    pair("t0", scene(0), asked.upper().replace("?", ""), [a.lower() + "!" for a in answers[::-1]]),
    pair("t1", scene(1), asked, (answers[0], "One sleeps, the other one barks at a bird.")),
  ]
  (match,) = found([pair("b", scene(2), asked, answers)], training)
  assert match.answers == ["t0"] and match.picture == match.short == [] and match.contaminated


def test_a_short_question_about_another_picture_is_said_but_is_no_contamination():
  training = [pair("t0", scene(0)), pair("t1", scene(1), answers=("Two.", "Four dogs"))]
  (match,) = found([pair("b", scene(2))], training)
  assert match.short == ["t0"] and match.answers == [] and not match.contaminated
  (match,) = found([pair("b", scene(0))], training)
  assert match.picture == ["t0"] and match.contaminated
  asked = "Is there a dog in the picture? Answer the question using a single word or a phrase."
  (match,) = found(
    [pair("b", scene(2), asked, ("Yes", "No"))], [pair("t", scene(0), asked, ("No", "Yes"))]
  )
  assert match.short == ["t"] and not match.contaminated
  alone = schema.Example.answers("What is 7 times 8?", "56", "54", id="a", gold=1)
  (match,) = found([alone], [dataclasses.replace(alone, id="t", question="what is 7 times 8")])
  assert match.answers == ["t"]  # there is no picture that could be another one


def test_a_drawing_on_plain_ground_is_found_again_when_it_is_encoded_anew():
  rng = np.random.default_rng(0)
  made = []
  for _ in range(10):
    image = Image.new("RGB", (320, 240), (235, 240, 250))
    for ends in rng.integers(0, (300, 220, 300, 220), (14, 4)).tolist():
      ImageDraw.Draw(image).line(ends, fill=(20, 20, 20), width=2)
    made.append(image)
  training = [pair(f"t{i}", image, f"question {i}") for i, image in enumerate(made)]
  items = [
    pair(f"b{i}", jpeg(image.resize((150, 113)), 40), "Else?") for i, image in enumerate(made)
  ]
  assert [match.picture for match in found(items, training)] == [[f"t{i}"] for i in range(10)]


def drawing(at, size=(200, 160)):
  """A small red square on white."""
  image = Image.new("RGB", size, "white")
  image.paste("red", (at, at, at + 30, at + 30))
  return image


def test_a_small_shape_on_white_is_known_by_its_pixels_alone():
  training = [pair(f"t{at}", drawing(at), f"question {at}") for at in (10, 60, 110)]
  (match,) = found([pair("b", drawing(60), "Else?")], training)
  assert match.picture == ["t60"]
  assert not found([pair("b", drawing(90), "Else?")], training)[0].picture


def test_pictures_of_the_built_in_world_are_not_taken_for_each_other():
  size = world.World(video_understanding=0, video_generation=0)
  training = [contamination.prints(e) for e in world.examples(size, "train", count=150)]
  items = [contamination.prints(e) for e in world.examples(size, "heldout", count=50)]
  assert not [match for match in contamination.find(items, training) if match.contaminated]


def test_a_file_that_several_pairs_show_is_read_once(tmp_path, monkeypatch):
  paths = [str(tmp_path / f"{seed}.png") for seed in (0, 1)]
  for seed, path in enumerate(paths):
    scene(seed).save(path)
  read, calls = media.picture, []
  monkeypatch.setattr(media, "picture", lambda *a, **k: calls.append(a[0]) or read(*a, **k))
  known = {}
  draw = lambda name, a, b: schema.Example.images("A dog.", paths[a], paths[b], id=name)
  rows = [
    contamination.prints(draw(*pair), known=known)
    for pair in (("a", 0, 1), ("b", 1, 0), ("c", 0, 0))
  ]
  assert calls == paths and rows[0].pictures == rows[1].pictures[::-1]
  (a, b, c) = contamination.find(rows, [contamination.prints(draw("t", 1, 1))])
  assert (a.picture, b.picture, c.picture) == (["t"], ["t"], [])


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
