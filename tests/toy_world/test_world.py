"""Examples of the built-in world: splits, pictures, texts and settings."""

import collections
import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.schema import BadMedia, Example, Media
from cot_rm.toy_world import draws
from cot_rm.toy_world import world as toy_world
from tests.media.media_files import colours, encoded, write_video

WORLD = toy_world.World()


def _pictures(example):
  for medium in example.media:
    yield from (medium.source,) if medium.kind == "image" else medium.source


def _pixels(source):
  return np.asarray(Image.open(io.BytesIO(source)))


def test_an_example_depends_on_its_split_seed_and_index_alone():
  first = list(toy_world.examples(WORLD, "train", count=20))
  assert first[7] == toy_world.example(WORLD, "train", 7)
  assert list(toy_world.examples(WORLD, "train", start=5, count=3)) == first[5:8]
  assert toy_world.example(WORLD, "heldout", 7).media != first[7].media
  assert toy_world.example(WORLD, "train", 7, seed=1).media != first[7].media


@pytest.mark.slow
def test_no_picture_is_in_two_splits():
  # The pixels, not the file, whose comment lists the things.
  hashes = {
    split: {
      _pixels(picture).tobytes()
      for example in toy_world.examples(WORLD, split, count=1500)
      for picture in _pictures(example)
    }
    for split in draws.SPLITS
  }
  assert min(map(len, hashes.values())) > 3000
  for one, other in itertools.combinations(hashes, 2):
    assert not hashes[one] & hashes[other], (one, other)


def test_gold_and_tasks_have_their_frequencies():
  found = [
    (example.task, example.gold) for example in toy_world.examples(WORLD, "train", count=4000)
  ]
  tasks = collections.Counter(task for task, _ in found)
  for task, weight in (
    ("image_generation", 0.4),
    ("image_understanding", 0.4),
    ("video_generation", 0.1),
    ("video_understanding", 0.1),
  ):
    assert abs(tasks[task] / 4000 - weight) < 0.03
    ones = sum(one == (task, 1) for one in found)
    assert abs(ones / tasks[task] - 0.5) < 4 * 0.5 / tasks[task] ** 0.5


def test_a_task_of_weight_zero_does_not_occur():
  world = toy_world.World(image_understanding=0, video_understanding=0, video_generation=0)
  assert {one.task for one in toy_world.examples(world, "train", count=200)} == {"image_generation"}


def test_the_text_alone_does_not_tell_the_right_answer():
  world = toy_world.World(image_generation=0, video_generation=0)
  wins = collections.Counter()
  for example in toy_world.examples(world, "train", count=6000):
    right, wrong = example.responses[::1] if example.gold == 1 else example.responses[::-1]
    right, wrong = right.removeprefix("maybe "), wrong.removeprefix("maybe ")
    wins[example.question.split()[0], *sorted((right, wrong)), right < wrong] += 1
  for *key, _ in list(wins):
    one, other = wins[*key, True], wins[*key, False]
    if one + other >= 100:
      assert abs(one - other) < 4 * (one + other) ** 0.5, key


@pytest.mark.parametrize("side, frame_side", [(56, 56), (84, 84), (112, 112)])
@pytest.mark.parametrize("split", ["train", "hard"])
def test_pictures_show_the_scene(side, frame_side, split):
  world = toy_world.World(side=side, frame_side=frame_side)
  for example in toy_world.examples(world, split, count=60):
    image = example.task.startswith("image")
    scenes = [
      (picture, at)
      for picture in example.extra["scene"]["pictures"]
      for at in range(len(picture["objects"][0]["track"]))
    ]
    for (scene, at), source in zip(scenes, _pictures(example), strict=True):
      pixels = _pixels(source)
      size = side if image else frame_side
      assert pixels.shape == (size, size, 3)
      expected = {tuple(scene["background"])}
      for record in scene["objects"]:
        if record["track"][at] is not None:
          x, y = record["track"][at]
          assert tuple(pixels[y, x]) == tuple(record["rgb"])  # its middle is on top
          expected.add(tuple(record["rgb"]))
          # Nothing is cut off.
          assert record["radius"] <= min(x, y, size - 1 - x, size - 1 - y)
      assert {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0)} == expected


@pytest.mark.parametrize("split", ["train", "hard"])
def test_sides_and_motions_are_where_the_scene_says(split):
  world = toy_world.World(image_generation=0.1)
  seen = collections.Counter()
  for example in toy_world.examples(world, split, count=1500):
    for picture in example.extra["scene"]["pictures"]:
      tracks = {record["how"]: record["track"] for record in picture["objects"]}
      for near, far, axis in (("left", "right", 0), ("above", "below", 1)):
        if near in tracks:
          assert tracks[near][0][axis] + 20 < tracks[far][0][axis]
          seen[near] += 1
      for way, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        if track := tracks.get(f"moves {way}"):
          steps = np.diff(np.array(track), axis=0)
          assert (sign * steps[:, axis] > 0).all() and (steps[:, 1 - axis] == 0).all()
          seen[f"moves {way}"] += 1
      if "first" in tracks:
        assert None not in tracks["first"]
        assert [at is None for at in tracks["second"]] == [True, True, False, False]
        seen["first"] += 1
  assert len(seen) == 7


def test_the_scene_is_plain_json():
  for example in toy_world.examples(WORLD, "hard", count=50):
    assert json.loads(json.dumps(example.extra)) == example.extra


def test_a_blank_example_keeps_all_but_its_objects():
  for example in toy_world.examples(WORLD, "train", count=30):
    blank = toy_world.blank(example)
    assert dataclasses.replace(blank, media=example.media) == example
    assert [medium.kind for medium in blank.media] == [medium.kind for medium in example.media]
    for before, after in zip(_pictures(example), _pictures(blank), strict=True):
      assert _pixels(before).shape == _pixels(after).shape
      assert (_pixels(after) == _pixels(before)[0, 0]).all()


def test_media_of_every_form_are_blanked_with_their_sizes_and_frames(tmp_path):
  array = colours(20, 30)
  frames = np.stack([colours(24, 32, seed) for seed in range(3)])
  (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(array)))
  (tmp_path / "clip").mkdir()
  for number, frame in enumerate(frames):
    Image.fromarray(frame).save(tmp_path / "clip" / f"{number}.png")
  np.save(tmp_path / "clip.npy", frames)
  write_video(tmp_path / "clip.mp4", frames, 5)
  url = f"file://{tmp_path}/a.png"
  for source in (tmp_path / "a.png", url, array, Image.fromarray(array), {"path": url}):
    (blank,) = toy_world.blank(_asked(Media("image", source))).media
    np.testing.assert_array_equal(_pixels(blank.source), np.zeros_like(array) + array[0, 0])
  clips = [tmp_path / "clip", str(tmp_path / "clip.npy"), tmp_path / "clip.mp4", frames]
  for source in [*clips, [*map(Image.fromarray, frames)], [tmp_path / "clip" / "0.png"] * 3]:
    video = media.video(source, name="x")
    (blank,) = toy_world.blank(_asked(Media("video", source))).media
    shown = media.video(blank.source, fps=blank.fps, name="x")
    assert (shown.count, shown.fps, shown.is_file) == (3, video.fps, video.is_file)
    for before, after in zip(video.read(range(3)), shown.read(range(3)), strict=True):
      assert (np.asarray(after) == np.asarray(before)[0, 0]).all()
      assert after.size == (32, 24)


def test_a_missing_picture_cannot_be_blanked_and_is_named():
  with pytest.raises(BadMedia, match="example 'e'.*gone.png' does not exist"):
    toy_world.blank(_asked(Media("image", "gone.png")))


def _asked(medium):
  task = f"{medium.kind}_understanding"
  return Example("e", "s", task, "which?", (medium,), ("a", "b"))


def test_a_sheet_shows_every_picture():
  examples = list(toy_world.examples(WORLD, "train", count=12))
  sheet = np.asarray(toy_world.sheet(examples, zoom=1))
  for example in examples:
    for picture in example.extra["scene"]["pictures"]:
      for record in picture["objects"]:
        assert (sheet == record["rgb"]).all(-1).any()


def test_the_corpus_holds_prompts_and_judgements():
  texts = list(toy_world.corpus(WORLD, 40))
  assert len(texts) == 80
  for example, prompt, reasoning in zip(
    toy_world.examples(WORLD, "train", count=40), texts[::2], texts[1::2], strict=True
  ):
    assert example.question in prompt and reasoning == example.reasoning


@pytest.mark.parametrize(
  "knobs, message",
  [
    ({"side": 100}, "World: side is 100; it can be 56, 84 or 112"),
    ({"frame_side": 28}, "World: frame_side is 28"),
    ({"objects": (0, 2)}, r"World: objects \(0, 2\) must ascend, from 1 to 7"),
    ({"side": 56, "objects": (1, 3)}, "from 1 to 2 at most in pictures of 56"),
    ({"frames": 1}, "World: frames is 1"),
    ({"image_generation": -1.0}, "must not be negative"),
  ],
)
def test_a_value_out_of_range_is_named(knobs, message):
  with pytest.raises(ValueError, match=message):
    toy_world.World(**knobs)


def test_a_blank_mixture_keeps_its_texts_and_the_places_of_its_pictures():
  shown = [Media("image", colours(20, 30, seed)) for seed in range(3)]
  pair = Example.mixed(["Draw ", shown[0], "again"], ["one ", shown[1]], [shown[2], "two"])
  blank = toy_world.blank(pair)
  assert (blank.question, blank.responses, blank.places) == ("Draw again", ("one ", "two"), PLACES)
  for before, after in zip(pair.media, blank.media, strict=True):
    assert (_pixels(after.source) == before.source[0, 0]).all()


PLACES = ((5,), (4,), (0,))
