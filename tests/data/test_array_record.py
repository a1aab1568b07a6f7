import io

import numpy as np
import pytest
from PIL import Image

from cot_rm import schema
from cot_rm.data import array_record
from cot_rm.toy_world import world

WORLD = world.World()


def _png(colour):
  out = io.BytesIO()
  Image.new("RGB", (4, 6), colour).save(out, "PNG")
  return out.getvalue()


def _example(example_id, source, kind="image"):
  return schema.Example(
    example_id,
    "test",
    "image_understanding",
    "what?",
    media=(schema.Media(kind, source),),
    responses=("a", "b"),
  )


def test_what_is_written_is_read_back_whole(tmp_path):
  given = {split: list(world.examples(WORLD, split, count=40)) for split in ("train", "heldout")}
  assert array_record.write(tmp_path / "set", given) == {"train": 40, "heldout": 40}
  for split, examples in given.items():
    found = array_record.open(tmp_path / "set", split)
    assert len(found) == 40
    assert sorted((found[at] for at in range(40)), key=lambda one: one.id) == sorted(
      examples, key=lambda one: one.id
    )


def test_examples_are_read_in_any_order_and_again(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=9)})
  found = array_record.open(tmp_path / "set", "train")
  forwards = [found[at] for at in range(9)]
  assert [found[at] for at in reversed(range(9))] == forwards[::-1]
  assert list(found) == forwards


def test_what_an_example_lacks_is_still_lacking_when_read(tmp_path):
  bare = schema.Example(
    "é-1",
    "test",
    "video_generation",
    "",
    attempts=0,
    media=(
      schema.Media("video", (_png("red"),)),
      schema.Media("video", (_png("red"), _png("blue")), 0.5),
    ),
  )
  text = schema.Example(
    "two",
    "test",
    "image_understanding",
    "“why”?\n",
    responses=("", "b"),
    gold=2,
    extra={"scene": None, "n": [1, 2.5, "ü"]},
  )
  array_record.write(tmp_path / "set", {"some": [bare, text]})
  found = array_record.open(tmp_path / "set", "some")
  assert {one.id: one for one in (found[0], found[1])} == {"é-1": bare, "two": text}


def test_every_kind_of_picture_becomes_bytes(tmp_path):
  folder = tmp_path / "frames"
  folder.mkdir()
  for name, colour in (("9.png", "red"), ("10.png", "blue")):
    (folder / name).write_bytes(_png(colour))
  frames = np.stack([np.full((6, 4, 3), level, np.uint8) for level in (0, 255)])
  np.save(tmp_path / "frames.npy", frames)
  url = "data:image/png;base64,iVBORw0KGgo="
  array_record.write(
    tmp_path / "set",
    {
      "some": [
        _example("path", str(folder / "9.png")),
        _example("pil", Image.new("RGB", (4, 6), "red")),
        _example("url", url),
        _example("folder", str(folder), "video"),
        _example("array", frames, "video"),
        _example("npy", str(tmp_path / "frames.npy"), "video"),
      ]
    },
  )
  rows = array_record.open(tmp_path / "set", "some")
  found = {one.id: one.media[0].source for one in (rows[at] for at in range(len(rows)))}
  assert found["path"] == found["pil"] == _png("red")
  assert found["url"] == b"\x89PNG\r\n\x1a\n"
  assert found["folder"] == (_png("red"), _png("blue"))
  assert found["array"] == found["npy"] == (_png("black"), _png("white"))


@pytest.mark.parametrize("source, kind", [("clip.mp4", "video"), (7, "image"), (b"x", "video")])
def test_media_that_cannot_be_stored_name_the_example(tmp_path, source, kind):
  with pytest.raises(ValueError, match="example 'bad-1'"):
    array_record.write(tmp_path / "set", {"some": [_example("bad-1", source, kind)]})
  assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writing_leaves_nothing_that_can_be_read(tmp_path):
  def breaks():
    yield from world.examples(WORLD, "train", count=5)
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    array_record.write(
      tmp_path / "set", {"heldout": world.examples(WORLD, "heldout", count=5), "train": breaks()}
    )
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(FileNotFoundError, match="holds no data set"):
    array_record.open(tmp_path / "set", "heldout")


def test_writing_again_after_an_interruption_works(tmp_path):
  (tmp_path / ".set.unfinished" / "examples").mkdir(parents=True)  # of a run that was killed
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  assert len(array_record.open(tmp_path / "set", "train")) == 3
  assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_data_set_is_never_written_over(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  with pytest.raises(FileExistsError, match="already holds a data set"):
    array_record.write(tmp_path / "set", {"train": []})
  assert len(array_record.open(tmp_path / "set", "train")) == 3


def test_an_id_that_comes_twice_is_named(tmp_path):
  twice = [_example("same", _png("red"))] * 2
  with pytest.raises(ValueError, match="example 'same' comes twice in split 'some'"):
    array_record.write(tmp_path / "set", {"some": twice})


def test_an_unknown_split_names_those_there_are(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  with pytest.raises(ValueError, match="no split 'test'; it has train"):
    array_record.open(tmp_path / "set", "test")
