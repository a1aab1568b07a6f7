import dataclasses

import numpy as np
import pytest
from PIL import Image

from cot_rm import schema
from cot_rm.data import array_record, example_rows, identity
from tests.stored_examples import example, png


def test_what_an_example_lacks_is_still_lacking_when_read(tmp_path):
  bare = schema.Example(
    "é-1",
    "test",
    "video_generation",
    "",
    attempts=0,
    media=(
      schema.Media("video", (png("red"),)),
      schema.Media("video", (png("red"), png("blue")), 0.5, {"nframes": 2, "max_pixels": 784.5}),
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


def test_every_field_of_an_example_and_of_its_media_is_stored():
  columns = {
    "media_kind": "kind",
    "media_fps": "fps",
    "media_settings": "settings",
    "pictures": "source",
  }
  stored = {columns.get(name, name) for name in example_rows.FEATURES}
  stored.add("places")  # in media_settings
  fields = [*dataclasses.fields(schema.Example), *dataclasses.fields(schema.Media)]
  assert {field.name for field in fields} - {"media"} <= stored


def test_every_kind_of_picture_becomes_bytes(tmp_path):
  folder = tmp_path / "frames"
  folder.mkdir()
  for name, colour in (("9.png", "red"), ("10.png", "blue")):
    (folder / name).write_bytes(png(colour))
  frames = np.stack([np.full((6, 4, 3), level, np.uint8) for level in (0, 255)])
  np.save(tmp_path / "frames.npy", frames)
  url = "data:image/png;base64,iVBORw0KGgo="
  array_record.write(
    tmp_path / "set",
    {
      "some": [
        example("path", str(folder / "9.png")),
        example("pil", Image.new("RGB", (4, 6), "red")),
        example("url", url),
        example("folder", str(folder), "video"),
        example("array", frames, "video"),
        example("npy", str(tmp_path / "frames.npy"), "video"),
      ]
    },
  )
  rows = array_record.open(tmp_path / "set", "some")
  found = {one.id: one.media[0].source for one in (rows[at] for at in range(len(rows)))}
  assert found["path"] == found["pil"] == png("red")
  assert found["url"] == b"\x89PNG\r\n\x1a\n"
  assert found["folder"] == (png("red"), png("blue"))
  assert found["array"] == found["npy"] == (png("black"), png("white"))


def test_a_video_file_is_stored_as_it_is(tmp_path):
  clip = tmp_path / "clip.mp4"
  clip.write_bytes(b"\0\0\0\x18ftypmp42...\0\0")
  given = [
    example("file", str(clip), "video"),
    example("url", f"file://{clip}", "video"),
    example("bytes", clip.read_bytes(), "video"),
    example("one frame", (png("red"),), "video"),
  ]
  array_record.write(tmp_path / "set", {"some": given})
  found = [one.media[0].source for one in array_record.open(tmp_path / "set", "some")]
  assert found == [clip.read_bytes()] * 3 + [(png("red"),)]


def test_what_cannot_be_stored_is_known_before_anything_is_stored(tmp_path):
  folder = tmp_path / "empty"
  folder.mkdir()
  (tmp_path / "clip.mp4").write_bytes(b"...")
  frames = np.zeros((2, 4, 4, 3), np.uint8)
  good = [
    example("a", png("red")),
    example("b", Image.new("RGB", (4, 6), "red")),
    example("c", frames, "video"),
    example("d", str(tmp_path / "clip.mp4"), "video"),
    example("e", "data:image/png;base64,iVBORw0KGgo="),
  ]
  bad = [
    example("a", str(tmp_path / "none.png")),
    example("b", "data:image/png;base64,!"),
    example("c", str(folder), "video"),
    example("d", str(tmp_path / "none.mp4"), "video"),
    example("e", 7),
    example("f", [png("red"), str(tmp_path / "none.png")], "video"),
    dataclasses.replace(example("g", png("red")), question="half \ud83d"),
    dataclasses.replace(example("h", png("red")), extra={"a": object()}),
  ]
  for one in good:
    example_rows.check_storable(one)
    array_record.serialize(one)
  for one in bad:
    for refuses in (example_rows.check_storable, array_record.serialize):
      with pytest.raises(schema.BadExample, match=f"^example '{one.id}'"):
        refuses(one)


def test_a_pair_that_mixes_texts_and_media_is_read_as_it_was_written():
  red, blue = (schema.Media("image", png(colour)) for colour in ("red", "blue"))
  large = schema.Media("image", png("green"), settings={"max_pixels": 784})
  clip = schema.Media("video", (png("red"), png("blue")), 2.0)
  for pair in (
    schema.Example.mixed([red, "Make it ", large, "."], blue, large, id="edit", gold=2),
    schema.Example.mixed("Tell.", ["One ", red, clip, " day"], [blue, "and"], id="story", gold=1),
    schema.Example.mixed(["Which?", red, blue], "one", "two", id="asked", gold=1),
  ):
    stored = array_record.serialize(pair)
    assert array_record.deserialize(stored.data) == pair
    assert array_record.serialize(pair.swapped()).mark != stored.mark


def test_the_row_and_the_hashes_of_a_pair_that_mixes_nothing_are_those_of_older_versions():
  drawn = example("p", b"\x89PNG\r\n\x1a\n")
  other = schema.Media("image", b"\x89PNG\r\n\x1a\n2", settings={"max_pixels": 784})
  pair = dataclasses.replace(
    drawn, task="image_generation", media=(*drawn.media, other), responses=(), gold=1
  )
  row = example_rows.to_row(pair)
  assert row["media_settings"] == ["", '{"max_pixels": 784}']
  assert [*row] == sorted([*example_rows.FEATURES], key=[*row].index)
  # Of the version before pairs could mix texts and media.
  assert row["hash"] == "ce0e1df0032d647a"
  assert identity.question_hash(pair) == "c1e3404764568f79"
