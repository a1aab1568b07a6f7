"""Identity by content: what changes an answer changes the hash, and nothing else does."""

import base64
import dataclasses
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from cot_rm import files, media
from cot_rm.data import array_record, datasets, identity, selection
from cot_rm.schema import BadRecord, Example, Media


def png(shade=0, size=8):
  out = io.BytesIO()
  Image.new("RGB", (size, size), (shade, 0, 0)).save(out, "PNG")
  return out.getvalue()


def example(**changes):
  base = Example(
    "a", "s", "image_understanding", "How many?", (Media("image", png()),), ("two", "three"), 1
  )
  return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
  "changes",
  [
    dict(question="How much?"),
    dict(responses=("two", "four")),
    dict(responses=("three", "two")),
    dict(task="video_understanding"),
    dict(media=()),
    dict(media=(Media("image", png(1)),)),
    dict(media=(Media("image", png()),) * 2),
    dict(media=(Media("video", [png()]),)),
    dict(media=(Media("video", [png()], fps=2.0),)),
  ],
)
def test_what_a_judge_sees_changes_both_hashes(changes):
  seen = [hash_of(example(**part)) for part in ({}, changes) for hash_of in HASHES]
  assert len(set(seen)) == 4


HASHES = identity.question_hash, identity.example_hash


@pytest.mark.parametrize("changes", [dict(gold=2), dict(reasoning="<think>"), dict(attempts=2)])
def test_gold_reasoning_and_attempts_change_the_example_and_not_the_question(changes):
  assert identity.question_hash(example(**changes)) == identity.question_hash(example())
  assert identity.example_hash(example(**changes)) != identity.example_hash(example())


@pytest.mark.parametrize("changes", [dict(id="b"), dict(source="t"), dict(extra={"a": 1})])
def test_names_and_notes_change_no_hash(changes):
  for hash_of in HASHES:
    assert hash_of(example(**changes)) == hash_of(example())


def test_a_field_at_its_default_is_in_no_hash():
  """Hashes that are on disk hold when a version adds a field."""
  assert identity.question_hash(Example("a", "s", "image_understanding", "q")) == files.digest(
    b'[{"question": "q", "task": "image_understanding"}, []]'
  )
  given = [Media("video", [png()], fps) for fps in (2, 2.0)]
  assert len({identity.question_hash(example(media=(one,))) for one in given}) == 1


def test_a_lone_surrogate_in_a_text_has_a_hash():
  assert identity.question_hash(example(question="\ud83d")) != identity.question_hash(example())


def test_the_bytes_of_a_picture_have_one_hash_wherever_they_are(tmp_path):
  (tmp_path / "a.png").write_bytes(png())
  url = "data:image/png;base64," + base64.b64encode(png()).decode()
  forms = [
    png(),
    bytearray(png()),
    memoryview(png()),
    tmp_path / "a.png",
    str(tmp_path / "a.png"),
    (tmp_path / "a.png").as_uri(),
    url,
    io.BytesIO(png()),
  ]
  assert len({identity.content_hash(form) for form in forms}) == 1


def test_a_blank_video_is_told_from_its_own_and_has_one_hash_wherever_it_is(tmp_path):
  (tmp_path / "a.mp4").write_bytes(b"a video")
  blank = identity.content_hash(media.Blank(tmp_path / "a.mp4"))
  assert blank == identity.content_hash(media.Blank(b"a video"))
  assert blank != identity.content_hash(b"a video")
  assert blank != identity.content_hash(media.Blank(b"another"))


def test_pixels_in_memory_are_told_apart():
  plain, palette = Image.new("RGB", (4, 4)), Image.new("P", (4, 4))
  other = palette.copy()
  other.putpalette([9] * 768)
  array_HW3 = np.zeros((4, 4, 3), np.uint8)
  sources = [plain, Image.new("RGB", (4, 4), 1), Image.new("RGB", (2, 8)), palette, other]
  sources += [array_HW3, array_HW3 + 1, array_HW3.reshape(2, 8, 3), array_HW3.astype(np.uint16)]
  assert len({identity.content_hash(source) for source in sources}) == len(sources)
  assert identity.content_hash(plain) == identity.content_hash(plain.copy())
  wide = np.zeros((4, 8, 3), np.uint8)
  assert identity.content_hash(wide[:, ::2]) == identity.content_hash(array_HW3)


def test_a_folder_of_frames_is_the_list_of_its_frames_in_natural_order(tmp_path):
  for number in (1, 2, 10):
    (tmp_path / f"{number}.png").write_bytes(png(number))
  (tmp_path / "notes.txt").write_text("x")
  frames = [png(1), png(2), png(10)]
  assert identity.content_hash(tmp_path) == identity.content_hash(frames)
  assert identity.content_hash(frames[::-1]) != identity.content_hash(frames)


@pytest.mark.parametrize(
  "source", ["nowhere.png", "https://a.b/c.png", "data:image/png;base64,!", b"no picture", 3]
)
def test_media_that_cannot_be_read_have_a_hash(source):
  assert identity.content_hash(source) == identity.content_hash(source)


def test_a_file_that_is_replaced_under_its_name_has_another_hash(tmp_path):
  path = tmp_path / "a.png"
  path.write_bytes(png())
  asked = example(media=(Media("image", path),))
  before = identity.question_hash(asked)
  path.write_bytes(png(1))
  os.utime(path, ns=(1, 1))
  assert identity.question_hash(asked) != before


def test_a_data_set_has_another_hash_in_another_order_or_under_other_ids():
  one, two = example(), example(id="b", gold=2)
  sets = [[one, two], [two, one], [one], [one, dataclasses.replace(two, id="c")], [one, one]]
  assert len({identity.source_hash(source) for source in sets}) == len(sets)


def test_a_source_that_knows_its_identity_is_not_read():
  class Store(list):
    def __getitem__(self, index):
      raise AssertionError("an example is read")

    def identity(self):
      return "known"

  assert identity.source_hash(Store([1, 2])) == "known"


def test_the_ends_of_a_large_file_are_enough_for_a_data_set_and_not_for_an_answer(tmp_path):
  content = bytearray(100_000)
  asked = example(media=(Media("image", bytes(content)),))
  content[50_000] = 1
  other = example(media=(Media("image", bytes(content)),))
  assert identity.source_hash([asked]) == identity.source_hash([other])
  assert identity.question_hash(asked) != identity.question_hash(other)
  assert files.QUICK.limit < 100_000 < files.FULL.limit


def test_a_stored_data_set_is_identified_by_its_files_and_a_selection_by_its_indices(tmp_path):
  examples = [example(id=name, question=name) for name in "abc"]
  for name, splits in (("one", [examples, examples[:2]]), ("two", [examples, examples[1:]])):
    array_record.write(tmp_path / name, dict(zip(("train", "check"), splits, strict=True)))
  split = lambda name, which: datasets.open(tmp_path / name, which)
  train = identity.source_hash(split("one", "train"))
  assert train == identity.source_hash(split("two", "train"))
  assert identity.source_hash(split("one", "check")) != identity.source_hash(split("two", "check"))
  assert identity.source_hash(split("one", "train+check")) != train
  assert isinstance(split("one", "train+check"), identity.Identified)
  subsets = [selection.Subset(split("one", "train"), taken) for taken in ((0, 1), (1, 0), (0,))]
  assert len({identity.source_hash(subset) for subset in subsets}) == 3
  stored = [split("one", "train")[index] for index in range(3)]
  hashes = {identity.question_hash(e) for e in stored}
  assert hashes == {identity.question_hash(e) for e in examples}


def pairs(count, **changed):
  """`count` examples; changed: {"e3": fields of the example e3}."""
  return [example(id=f"e{i}", **changed.get(f"e{i}", {})) for i in range(count)]


def compare(before, now):
  return identity.difference(
    json.loads(json.dumps(identity.describe(before))), identity.describe(now), now
  )


def test_the_same_data_set_has_no_difference():
  assert compare(pairs(3), pairs(3)) is None
  assert compare(pairs(1000), pairs(1000)) is None


@pytest.mark.parametrize(
  "now, words",
  [
    (pairs(5, e3={"gold": 2}), "the first difference: example 'e3' (number 3) has another content"),
    (
      [*pairs(2), *pairs(5)[3:]],
      "5 examples before, 4 now; the first difference: example 'e2' (number 2) is now 'e3'",
    ),
    (pairs(9), "5 examples before, 9 now"),
    ([], "5 examples before, 0 now"),
  ],
)
def test_the_first_difference_of_a_data_set_is_named(now, words):
  assert compare(pairs(5), now) == words


def test_of_a_large_data_set_some_examples_are_remembered_and_any_change_is_found():
  known = identity.describe(pairs(2000))
  assert len(known["examples"]) == identity.SPREAD and known["count"] == 2000
  words = compare(pairs(2000), pairs(2001)[1:])
  assert words == "a difference: example 'e0' (number 0) is now 'e1'"
  some = next(i for i in range(2000) if str(i) not in known["examples"])
  assert compare(pairs(2000), pairs(2000, **{f"e{some}": {"gold": 2}})) == (
    "the same number of examples, with other content"
  )


def test_a_record_that_cannot_be_read_is_a_part_of_its_data_set():
  class Records(list):
    def __getitem__(self, index):
      if index == 1:
        raise BadRecord("line 2: not JSON")
      return super().__getitem__(index)

  assert compare(Records(pairs(3)), Records(pairs(3))) is None
  assert "'row 2' (number 1) is now 'e1'" in compare(Records(pairs(3)), pairs(3))
