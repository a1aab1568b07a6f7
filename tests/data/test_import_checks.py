import dataclasses
import io

import av
import numpy as np
import pytest
from PIL import Image

from cot_rm import prompts, schema
from cot_rm.batch import Size
from cot_rm.data import array_record, import_checks

RULES = import_checks.Rules()
THINK = prompts.get("think")


def _picture(form="PNG", size=(40, 30), **how):
  out = io.BytesIO()
  Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(
    out, form, **how
  )
  return out.getvalue()


def _example(source=None, kind="image", **fields):
  given = dict(id="vl-7", source="test", task=f"{kind}_understanding", question="What?", gold=1)
  source = _picture() if source is None else source
  media = (schema.Media(kind, source),)
  return schema.Example(**{**given, "media": media, "responses": ("a", "b"), **fields})


def _clip(path, frames=12, rate=6, size=64):
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=rate)
    stream.width = stream.height = size
    for i in range(frames):
      array = np.full((size, size, 3), i * 20, np.uint8)
      for packet in stream.encode(av.VideoFrame.from_ndarray(array)):
        container.mux(packet)
    for packet in stream.encode():
      container.mux(packet)
  return path


def _examine(example, rules=RULES, processor=None, grammar=THINK):
  return import_checks.examine(lambda: example, "file, row 3", rules, grammar, processor)


def _stored(example, rules=RULES):
  """The medium of the example as the data set will give it back."""
  taken = _examine(example, rules)
  assert isinstance(taken, import_checks.Taken), taken
  return array_record.deserialize(taken.stored.data).media[0]


class Lengths:
  """A processor with given lengths."""

  def __init__(self, tokens, patches=4):
    self._size = Size(tokens, patches)

  def measure(self, messages, *, id):
    return self._size

  def encode(self, text):
    return list(range(len(text.split())))


def test_an_example_is_stored_as_the_store_itself_would():
  example = _example()
  taken = _examine(example)
  assert taken.stored.mark == array_record.serialize(example).mark
  assert taken.id == "vl-7"


@pytest.mark.parametrize(
  "reason, example, words",
  [
    ("gold", _example(gold=None), "has no gold answer"),
    ("media", _example(b"no picture"), "no readable picture"),
    ("media", _example(_picture()[:-400]), "damaged|truncated"),
    ("media", _example("/none.png"), "does not exist|No such file"),
    ("media", _example(7), "cannot be a int"),
    ("media", _example("/none.mp4", "video"), "does not exist"),
    ("reference", _example(reasoning="I prefer the first."), "outside the grammar"),
    ("record", _example(question="half \ud83d"), "UTF-8"),
    ("record", _example(extra={"a": {1}}), "not JSON"),
    ("record", _example(responses=("a", " ")), "response 2 is empty"),
  ],
)
def test_what_is_wrong_with_an_example_is_named_and_has_a_reason(reason, example, words):
  left = _examine(example)
  assert isinstance(left, import_checks.Left) and left.reason == reason
  with pytest.raises(schema.BadExample, match=f"^example 'vl-7'.*({words})"):
    raise left.error


def test_a_record_that_cannot_be_read_is_named_by_its_place():
  def read():
    raise schema.BadRecord("pairs.jsonl, line 3: not JSON")

  left = import_checks.examine(read, "pairs.jsonl, record 2", RULES, THINK, None)
  assert (left.id, left.reason) == ("pairs.jsonl, record 2", "record")


def test_references_must_be_in_the_grammar_and_for_the_gold_answer():
  grammar = prompts.get("r1_reward")
  right, wrong = (f"<think>So.</think><answer>{n}</answer>" for n in (1, 2))
  for reasoning, taken in ((right, True), (wrong, False), ("no tags", False)):
    found = _examine(_example(reasoning=reasoning), grammar=grammar)
    assert isinstance(found, import_checks.Taken) == taken
  left = _examine(_example(reasoning=wrong), grammar=grammar)
  assert "prefers 2, and the gold answer is 1" in str(left.error)


@pytest.mark.parametrize("references, found", [("keep", "no tags"), ("drop", None)])
def test_references_can_be_kept_unseen_or_left_out_alone(references, found):
  rules = import_checks.Rules(references=references)
  taken = _examine(_example(reasoning="no tags"), rules)
  assert array_record.deserialize(taken.stored.data).reasoning == found


def test_a_header_check_decodes_no_pixels():
  damaged = _example(_picture()[:-400])
  assert _examine(damaged).reason == "media"
  assert isinstance(_examine(damaged, import_checks.Rules(check="header")), import_checks.Taken)


def test_pictures_are_stored_as_they_are():
  for form in ("PNG", "JPEG", "WEBP"):
    assert _stored(_example(_picture(form))).source == _picture(form)


def test_only_larger_pictures_are_shrunk():
  rules = import_checks.Rules(max_pixels=600)
  with Image.open(io.BytesIO(_stored(_example(), rules).source)) as small:
    assert small.format == "JPEG" and small.size == (28, 21)  # of 40 x 30, times sqrt(1 / 2)
  png = import_checks.Rules(max_pixels=600, quality=0)
  with Image.open(io.BytesIO(_stored(_example(), png).source)) as small:
    assert small.format == "PNG" and small.size == (28, 21)
  assert _stored(_example(), import_checks.Rules(max_pixels=1200)).source == _picture()


def test_a_video_file_is_stored_as_it_is_or_as_sampled_frames(tmp_path):
  clip = _clip(tmp_path / "clip.mp4")  # 2 s
  example = _example(str(clip), "video")
  assert _stored(example).source == clip.read_bytes()
  medium = _stored(example, import_checks.Rules(videos="frames", fps=3.0))
  assert len(medium.source) == 6 and medium.fps == pytest.approx(3.0)
  levels = [np.asarray(Image.open(io.BytesIO(frame))).mean() for frame in medium.source]
  assert levels == sorted(levels) and levels[0] < 5 and levels[-1] > 210
  few = import_checks.Rules(videos="frames", fps=3.0, max_frames=4, max_pixels=400)
  medium = _stored(example, few)
  assert len(medium.source) == 4
  assert {Image.open(io.BytesIO(frame)).size for frame in medium.source} == {(20, 20)}


def test_given_frames_are_stored_in_natural_order_as_they_are(tmp_path):
  for number in (1, 2, 10):
    (tmp_path / f"{number}.png").write_bytes(_picture(size=(40, 30 + number)))
  (tmp_path / "notes.txt").write_text("not a frame")
  medium = _stored(
    _example(str(tmp_path), "video"), import_checks.Rules(videos="frames", max_frames=2)
  )
  assert medium.source == tuple(_picture(size=(40, 30 + number)) for number in (1, 2, 10))


def test_a_damaged_video_is_left_out(tmp_path):
  clip = _clip(tmp_path / "clip.mp4")
  clip.write_bytes(clip.read_bytes()[:200])
  assert _examine(_example(str(clip), "video")).reason == "media"


def test_prompts_and_references_that_do_not_fit_are_left_out():
  rules = import_checks.Rules(max_tokens=100, max_patches=8, references="keep")
  fits = _examine(_example(reasoning="a b c"), rules, Lengths(96))
  assert isinstance(fits, import_checks.Taken)  # 96, 3 words, and the end of the turn
  long = _examine(_example(reasoning="a b c"), rules, Lengths(97))
  assert long.reason == "length"
  assert "101 tokens of prompt and reference > 100; raise config.buckets.tokens" in str(long.error)
  wide = _examine(_example(), rules, Lengths(9, patches=12))
  assert "12 patches > 8; raise config.buckets.patches" in str(wide.error)


def test_pairs_about_one_picture_or_caption_are_one_group():
  group = import_checks.group_of
  assert group(_example()) == group(_example(question="And why?", responses=("c", "d")))
  assert group(_example()) != group(_example(_picture("JPEG")))
  pair = schema.Example.images("a star", _picture(), _picture("JPEG"))
  other = schema.Example.images("a star", _picture("WEBP"), _picture("JPEG"))
  assert group(pair) == group(other)
  assert group(pair) != group(schema.Example.images("a cat", _picture(), _picture("JPEG")))


@pytest.mark.parametrize(
  "knobs",
  [
    {"check": "pixels"},
    {"videos": "mp4"},
    {"references": "x"},
    {"quality": 101},
    {"max_pixels": -1},
  ],
)
def test_rules_refuse_what_they_do_not_know(knobs):
  with pytest.raises(ValueError, match=f"^{next(iter(knobs))} is "):
    import_checks.Rules(**knobs)


def test_two_equal_pictures_are_no_pair():
  example = dataclasses.replace(
    _example(),
    task="image_generation",
    responses=(),
    reasoning=None,
    media=(_example().media[0],) * 2,
  )
  left = _examine(example)
  assert isinstance(left, import_checks.Left) and left.reason == "media"
  assert "both candidates are the same image" in str(left.error)


def test_pairs_of_edits_are_grouped_and_compared_by_what_they_were_made_from_and_by_the_edits():
  source, one, two = (schema.Media("image", _picture(form)) for form in ("PNG", "JPEG", "WEBP"))
  pair = schema.Example.mixed([source, "Make it black."], one, two, id="e", gold=1)
  group = import_checks.group_of
  assert group(pair) == group(schema.Example.mixed([source, "And red."], two, one))
  assert group(pair) != group(schema.Example.mixed([one, "Make it black."], one, two))
  left = _examine(schema.Example.mixed([source, "Make it black."], one, one, id="e", gold=1))
  assert "both candidates are the same image" in str(left.error)
  assert isinstance(_examine(pair), import_checks.Taken)
