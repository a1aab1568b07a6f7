"""Examples in JSON Lines files."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cot_rm import media, schema
from cot_rm.data import jsonl

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png(pixels=PIXELS):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, format="PNG")
  return buffer.getvalue()


def encoded(pixels=PIXELS):
  return base64.b64encode(png(pixels)).decode()


def decoded(source):
  return np.asarray(Image.open(io.BytesIO(source)).convert("RGB"))


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "a.png").write_bytes(png())
  (tmp_path / "b.png").write_bytes(png(PIXELS[::-1].copy()))
  (tmp_path / "clip").mkdir()
  return tmp_path


def good(**changed):
  record = {
    "id": "u-1",
    "task": "image_understanding",
    "question": "How many?",
    "media": [{"kind": "image", "path": "a.png"}],
    "responses": ["two", "three"],
    "gold": 1,
  }
  return {key: value for key, value in {**record, **changed}.items() if value is not ...}


def read(folder, *records):
  path = folder / "data.jsonl"
  path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
  return list(jsonl.read(path))


def test_a_record_becomes_an_example_with_paths_beside_the_file(folder):
  (example,) = read(folder, good(source="mine", attempts=2, reasoning="r", extra={"k": [1]}))
  assert example == schema.Example(
    "u-1",
    "mine",
    "image_understanding",
    "How many?",
    (schema.Media("image", str(folder / "a.png")),),
    ("two", "three"),
    1,
    "r",
    2,
    {"k": [1]},
  )


def test_an_optional_field_may_be_null(folder):
  (left, null) = read(folder, good(gold=...), good(gold=None, reasoning=None, extra=None))
  assert left == null and left.gold is None and left.source == ""


def test_strings_stand_for_paths_and_data_urls(folder):
  url = f"data:image/png;base64,{encoded()}"
  pair = good(task="image_generation", media=["a.png", url], responses=...)
  (example,) = read(folder, pair)
  assert [media.kind for media in example.media] == ["image", "image"]
  assert [media.source for media in example.media] == [str(folder / "a.png"), url]


def test_images_stand_for_media_that_are_all_pictures(folder):
  record = good(media=..., images=["a.png", {"base64": encoded()}], task="video_understanding")
  (example,) = read(folder, record)
  assert example.media == (
    schema.Media("image", str(folder / "a.png")),
    schema.Media("image", png()),
  )


def test_a_string_for_a_video_task_is_a_video(folder):
  record = good(task="video_generation", media=["clip", {"path": "clip", "fps": 4}], responses=[])
  (example,) = read(folder, record)
  assert example.media == (
    schema.Media("video", str(folder / "clip")),
    schema.Media("video", str(folder / "clip"), 4),
  )


def test_frames_are_paths_base64_or_data_urls(folder):
  url = f"data:image/png;base64,{encoded()}"
  frames = ["a.png", encoded(), url, {"path": "b.png"}, {"base64": encoded()}]
  (example,) = read(folder, good(media=[{"kind": "video", "frames": frames, "fps": 2}]))
  (video,) = example.media
  assert video.source == (str(folder / "a.png"), png(), url, str(folder / "b.png"), png())
  assert video.fps == 2


def test_a_string_of_base64_is_a_video(folder):
  data = b"\x1aE\xdf\xa3" + bytes(range(90))
  text = base64.b64encode(data).decode()
  record = good(task="video_understanding", media=[text, {"kind": "video", "video_url": text}])
  (example,) = read(folder, record)
  assert example.media == (schema.Media("video", data), schema.Media("video", data))


def test_blank_lines_and_a_byte_order_mark_are_skipped(folder):
  path = folder / "data.jsonl"
  path.write_bytes(b"\xef\xbb\xbf" + json.dumps(good()).encode() + b"\n\n  \n")
  assert len(list(jsonl.read(path))) == 1


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"id": ...}, "field 'id' is missing"),
    ({"id": 7}, "field 'id': must be a string, not int"),
    ({"id": " "}, "field 'id': is empty"),
    ({"task": ...}, "field 'task' is missing"),
    ({"task": "image_generaton"}, "field 'task': unknown task .*did you mean 'image_generation'"),
    ({"question": None}, "field 'question': must be a string, not null"),
    ({"question": ["q"]}, "field 'question': must be a string, not list"),
    ({"responses": ...}, "field 'responses': must be two responses; got 0"),
    ({"responses": ["one"]}, "field 'responses': must be two responses; got 1"),
    ({"responses": ["1", "2", "3"]}, "field 'responses': must be two responses; got 3"),
    ({"responses": "ab"}, "field 'responses': must be a list, not str"),
    ({"responses": ["two", ""]}, r"field 'responses\[1\]': is empty"),
    ({"responses": [3, "two"]}, r"field 'responses\[0\]': must be a string, not int"),
    ({"gold": 0}, "example 'u-1': gold is 0; it must be 1, 2 or None"),
    ({"gold": "1"}, "field 'gold': must be a whole number, not str"),
    ({"gold": True}, "field 'gold': must be a whole number, not bool"),
    ({"attempts": -1}, "field 'attempts': must be 0 or more, not -1"),
    ({"reasoning": 1}, "field 'reasoning': must be a string"),
    ({"extra": []}, "field 'extra': must be an object, not list"),
    ({"respones": []}, "unknown key 'respones'; did you mean 'responses'"),
    ({"media": ...}, "must have either 'media' or 'images'"),
    ({"images": []}, "must have either 'media' or 'images'"),
    ({"media": "a.png"}, "field 'media': must be a list, not str"),
    ({"media": [7]}, r"field 'media\[0\]': must be an object or a string, not int"),
    ({"media": ["s3://b/a.png"]}, r"field 'media\[0\].path': .*scheme 's3' are not read"),
    ({"media": ["no.png"]}, r"field 'media\[0\].path': no such file: .*no.png"),
    ({"media": [{"kind": "audio", "path": "a.png"}]}, r"field 'media\[0\].kind': .*not 'audio'"),
    (
      {"media": [{"kind": "image"}]},
      r"field 'media\[0\]': must have either 'path' or 'base64' or ",
    ),
    (
      {"media": [{"path": "a.png", "base64": "QQ=="}]},
      r"field 'media\[0\]': must have either 'path'",
    ),
    ({"media": [{"path": 7}]}, r"field 'media\[0\].path': must be a string, not int"),
    ({"media": [{"base64": "?"}]}, r"field 'media\[0\].base64': not base64"),
    ({"media": [{"base64": ""}]}, r"field 'media\[0\].base64': is empty"),
    ({"media": ["data:image/png,abcd"]}, r"field 'media\[0\].path': the data URL"),
    ({"media": [{"pth": "a.png"}]}, r"field 'media\[0\]': unknown key 'pth'; did you mean 'path'"),
    ({"media": [{"kind": "image", "path": "a.png", "fps": 2}]}, "unknown key 'fps'"),
    (
      {"media": [{"kind": "video", "path": "clip", "fps": 0}]},
      r"'media\[0\].fps': must be a number above",
    ),
    (
      {"media": [{"kind": "video", "path": "clip", "frames": []}]},
      "must have either 'path' or .* or 'frames'",
    ),
    (
      {"media": [{"kind": "video", "frames": []}]},
      r"'media\[0\].frames': must have at least one frame",
    ),
    (
      {"media": [{"kind": "video", "frames": ["a.png", "x.png"]}]},
      r"'media\[0\].frames\[1\].path': no such file: .*x.png",
    ),
    ({"task": "image_generation", "responses": []}, "field 'media': .*two media; got 1"),
    (
      {"task": "image_generation", "media": ["a.png", "b.png"]},
      "example 'u-1': .*takes no responses; got 2",
    ),
  ],
)
def test_a_bad_record_is_named_by_file_line_and_field(folder, changed, message):
  with pytest.raises(ValueError, match=rf"data\.jsonl, line 2.*{message}"):
    read(folder, good(), good(**changed))


@pytest.mark.parametrize(
  ("line", "message"),
  [
    (b'{"id": ', "line 1: not JSON: .* at column"),
    (b"[1]", "line 1: must be an object, not list"),
    (b'"\xff"', "line 1: not UTF-8"),
  ],
)
def test_a_line_that_is_no_record_is_named(folder, line, message):
  path = folder / "bad.jsonl"
  path.write_bytes(line + b"\n")
  with pytest.raises(ValueError, match=message):
    list(jsonl.read(path))


def test_a_missing_file_is_an_error_before_the_first_record(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such JSONL file: .*gone.jsonl"):
    jsonl.read(tmp_path / "gone.jsonl")


def test_records_before_a_bad_one_are_read(folder):
  path = folder / "data.jsonl"
  path.write_text(json.dumps(good()) + "\nnot json\n", encoding="utf-8")
  examples = jsonl.read(path)
  assert next(examples).id == "u-1"
  with pytest.raises(ValueError, match="line 2"):
    next(examples)


def test_written_examples_are_read_back_equal(folder):
  examples = [
    schema.Example(
      "ü-1",
      "s",
      "image_understanding",
      "q {x}\n",
      (schema.Media("image", str(folder / "a.png")), schema.Media("image", png())),
      ("<answer>2</answer>", "b"),
      2,
      "<think>r</think>",
      0,
      {"swapped": True, "é": [1.5]},
    ),
    schema.Example(
      "g-1",
      "",
      "video_generation",
      "c",
      (
        schema.Media("video", str(folder / "clip"), 2.5),
        schema.Media("video", (png(), str(folder / "b.png")), 4.0),
      ),
    ),
    schema.Example("t-1", "s", "image_understanding", "no picture", (), ("a", "b")),
  ]
  path = folder / "out.jsonl"
  assert jsonl.write(path, examples) == 3
  assert list(jsonl.read(path)) == examples
  assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["media"][0] == {
    "kind": "image",
    "path": "a.png",
  }
  assert not list(folder.glob("*.part"))


def test_a_path_elsewhere_is_written_whole(folder):
  (folder / "lists").mkdir()
  path = folder / "lists" / "out.jsonl"
  jsonl.write(
    path,
    [
      schema.Example(
        "t", "s", "image_understanding", "q", (schema.Media("image", folder / "a.png"),), ("a", "b")
      )
    ],
  )
  (example,) = jsonl.read(path)
  assert example.media[0].source == str(folder / "a.png")


@pytest.mark.parametrize(
  "source",
  [PIXELS, Image.fromarray(PIXELS), f"data:image/png;base64,{encoded()}", png()],
  ids=["array", "pil", "data_url", "bytes"],
)
def test_a_picture_in_memory_keeps_its_pixels(folder, source):
  path = folder / "out.jsonl"
  jsonl.write(
    path,
    [
      schema.Example(
        "t", "s", "image_understanding", "q", (schema.Media("image", source),), ("a", "b")
      )
    ],
  )
  (example,) = jsonl.read(path)
  np.testing.assert_array_equal(decoded(example.media[0].source), PIXELS)


def test_a_video_in_memory_keeps_its_frames_and_rate(folder):
  video = np.stack([PIXELS, PIXELS[::-1]])
  path = folder / "out.jsonl"
  jsonl.write(
    path,
    [
      schema.Example(
        "t", "s", "video_understanding", "q", (schema.Media("video", video, 3.0),), ("a", "b")
      )
    ],
  )
  (example,) = jsonl.read(path)
  np.testing.assert_array_equal([decoded(frame) for frame in example.media[0].source], video)
  assert example.media[0].fps == 3.0


def test_a_cmyk_picture_can_be_written():
  picture = Image.fromarray(PIXELS).convert("CMYK")
  record = jsonl.to_record(
    schema.Example(
      "t", "s", "image_understanding", "q", (schema.Media("image", picture),), ("a", "b")
    )
  )
  assert decoded(base64.b64decode(record["media"][0]["base64"])).shape == PIXELS.shape


@pytest.mark.parametrize(
  ("media", "message"),
  [
    (schema.Media("image", PIXELS[:, :, :2]), "'t': a picture as an array is u8.*uint8"),
    (schema.Media("image", 7), "'t': a picture cannot be a int"),
    (schema.Media("video", 7), "'t': a video cannot be a int"),
  ],
)
def test_media_that_cannot_be_written_name_the_example(media, message):
  with pytest.raises(ValueError, match=message):
    jsonl.to_record(schema.Example("t", "s", "image_understanding", "q", (media,), ("a", "b")))


def test_an_interrupted_write_leaves_the_file_as_it_was(folder):
  path = folder / "out.jsonl"
  fine = schema.Example("t", "s", "image_understanding", "q", (), ("a", "b"))
  jsonl.write(path, [fine])
  bad = schema.Example("x", "s", "image_understanding", "q", (), ("a", "b"), extra={"k": {1, 2}})
  with pytest.raises(ValueError, match="'x': a field is not JSON"):
    jsonl.write(path, [fine, bad])
  assert [example.id for example in jsonl.read(path)] == ["t"]


def test_every_form_of_a_picture_that_json_can_hold_opens(folder):
  text, wrapped = encoded(), "\n".join(re.findall(".{1,40}", encoded()))
  forms = [
    "a.png",
    f"file://{folder}/a.png",
    f"file://localhost{folder}/a.png",
    "file://a.png",
    f"data:image/png;base64,{text}",
    f"DATA:image/PNG;charset=utf-8;BASE64,{wrapped}",
    text,
    wrapped,
    text.rstrip("="),
    text.replace("+", "-").replace("/", "_"),
    {"path": "a.png", "bytes": None},
    {"bytes": text, "path": "gone.png"},
    {"base64": wrapped},
    {"url": f"data:image/png;base64,{text}"},
    {"type": "image", "image": "a.png"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}},
    {"type": "image_url", "image_url": "a.png"},
  ]
  for form in forms:
    (example,) = read(folder, good(media=[form]))
    np.testing.assert_array_equal(media.picture(example.media[0].source, name="x"), PIXELS)
    (example,) = read(folder, good(media=[{"kind": "video", "frames": [form]}]))
    np.testing.assert_array_equal(media.picture(example.media[0].source[0], name="x"), PIXELS)


def test_a_percent_encoded_file_url_is_a_path(folder):
  (folder / "a b%.png").write_bytes(png())
  for url in (f"file://{folder}/a%20b%25.png", f"file://{folder}/a b%.png", "file://a%20b%25.png"):
    (example,) = read(folder, good(media=[url]))
    assert example.media[0].source == str(folder / "a b%.png")


def test_a_url_on_the_network_is_kept_and_written_back(folder):
  (example,) = read(folder, good(media=["https://a.invalid/b.png"]))
  assert example.media[0].source == "https://a.invalid/b.png"
  assert jsonl.to_record(example)["media"] == [{"kind": "image", "path": "https://a.invalid/b.png"}]


def test_the_bytes_of_a_video_file_are_written_and_read_back(folder):
  video = schema.Media("video", png(), 2.0)
  example = schema.Example("v", "s", "video_understanding", "q", (video,), ("a", "b"))
  jsonl.write(folder / "out.jsonl", [example])
  assert list(jsonl.read(folder / "out.jsonl")) == [example]


@pytest.mark.parametrize(
  "line",
  [
    b"null",
    b'{"id": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    json.dumps(good()).encode("utf-16"),
    b"\x00" * 20,
    b'{"id": "\xed\xa0\xbd"}',
  ],
)
def test_a_line_that_no_reader_takes_is_a_bad_record(folder, line):
  path = folder / "bad.jsonl"
  path.write_bytes(line + b"\n")
  with pytest.raises(schema.BadRecord, match="bad.jsonl, line 1"):
    list(jsonl.read(path))


STRANGE = (
  *(None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 10**400, -(10**30), "", " ", "\0"),
  *("\ud83d", "a" * 5000, "data:", "data:;base64,", "file://", "file://\0", "http://", "/", "."),
  *([], {}, [[]], [None], {"": None}, [[[[[]]]]], {"path": {}}, {"url": 3}, {"image_url": {}}),
)


def mutated(rng, record):
  """A copy of a record with one to three values or keys replaced, removed, or of another type."""
  record = json.loads(json.dumps(record))
  for _ in range(rng.integers(1, 4)):
    places, stack = [], [record]
    while stack:
      inner = stack.pop()
      keys = inner.keys() if isinstance(inner, dict) else range(len(inner))
      places += [(inner, key) for key in keys]
      stack += [inner[key] for key in keys if isinstance(inner[key], dict | list)]
    if not places:
      break
    inner, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
      del inner[key]
    elif isinstance(inner, dict) and rng.random() < 0.1:
      inner[f"{key}x"] = inner.pop(key)
    else:
      inner[key] = STRANGE[rng.integers(len(STRANGE))]
  return record


def test_a_mutated_record_is_an_example_or_a_bad_one(folder):
  rng = np.random.default_rng(0)
  whole = good(
    gold=1,
    reasoning="r",
    attempts=1,
    extra={"a": [1]},
    source="s",
    media=[
      {"kind": "image", "path": "a.png"},
      {"kind": "video", "frames": ["a.png", {"base64": encoded()}], "fps": 2},
      {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded()}"}},
    ],
  )
  path, bad = folder / "data.jsonl", 0
  for number in range(600):
    line = json.dumps(mutated(rng, whole)).encode()
    if number % 4 == 0:  # damaged text
      line = bytearray(line)
      for at in rng.integers(len(line), size=3):
        line[at] = rng.integers(256)
      line = bytes(line[: rng.integers(1, len(line) + 1)] if number % 8 == 0 else line)
    path.write_bytes(line.replace(b"\n", b" ") + b"\n")
    try:
      for example in jsonl.read(path):
        for medium in example.media:
          if medium.kind == "image":
            media.encoded_picture(medium.source, name="x")
          else:
            media.video(medium.source, fps=medium.fps, name="x")
    except schema.BadExample as error:
      assert "line 1" in str(error) or str(error).startswith("x"), error
      bad += 1
  assert 300 < bad < 600


def test_settings_of_a_medium_are_read_and_written(folder):
  media = [
    {"kind": "video", "path": "clip", "fps": 4, "nframes": 8, "video_start": 0, "max_pixels": 784},
    {"kind": "image", "path": "a.png", "resized_height": 56, "resized_width": 84},
    {"kind": "image", "path": "a.png", "min_pixels": None},
  ]
  (example,) = read(folder, good(media=media))
  assert [medium.settings for medium in example.media] == [
    {"nframes": 8, "video_start": 0, "max_pixels": 784},
    {"resized_height": 56, "resized_width": 84},
    None,
  ]
  record = jsonl.to_record(example, folder)
  assert record["media"] == [*media[:2], {"kind": "image", "path": "a.png"}]


@pytest.mark.parametrize(
  "medium, words",
  [
    ({"kind": "image", "path": "a.png", "nframes": 4}, "unknown key 'nframes'"),
    ({"kind": "image", "path": "a.png", "max_pixels": "9"}, "max_pixels is '9'"),
    ({"kind": "video", "path": "clip", "nframes": -1}, "nframes is -1"),
  ],
)
def test_a_wrong_setting_names_the_line_and_the_field(folder, medium, words):
  with pytest.raises(schema.BadRecord, match=f"line 1, field 'media.0..*{words}"):
    read(folder, good(media=[medium]))


EDIT = good(
  task="image_generation",
  question=[{"kind": "image", "path": "a.png"}, "Make it black."],
  media=...,
  responses=[[{"kind": "image", "path": "b.png"}], {"path": "a.png"}],
)
STORY = good(
  question="Tell a story.",
  media=...,
  responses=[["One ", {"path": "a.png", "max_pixels": 784}, " day"], "no"],
)


def test_a_question_or_response_may_be_a_list_of_texts_and_media(folder):
  edit, story = read(folder, EDIT, STORY)
  a, b = (schema.Media("image", str(folder / name)) for name in ("a.png", "b.png"))
  assert edit == dataclasses.replace(
    schema.Example.mixed([a, "Make it black."], b, a, id="u-1", gold=1), source=""
  )
  small = dataclasses.replace(a, settings={"max_pixels": 784})
  assert story.pieces == (("Tell a story.",), ("One ", small, " day"), ("no",))
  for example in (edit, story):
    record = jsonl.to_record(example, folder)
    assert "media" not in record and "places" not in record
    assert jsonl.to_example(record, folder) == example


def test_a_list_without_media_between_its_texts_is_a_plain_pair(folder):
  record = good(
    media=..., question=[{"path": "a.png"}, "How", " many?"], responses=["two", "three"]
  )
  assert read(folder, record) == read(folder, good())


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"responses": [["a"]]}, "field 'responses': must be two responses; got 1"),
    ({"responses": [["a"], []]}, r"field 'responses\[1\]': is empty"),
    ({"responses": [["a"], 3]}, r"field 'responses\[1\]': must be an object or a string, not int"),
    ({"question": [" "]}, "field 'question': is empty"),
    ({"question": [{"path": "gone.png"}]}, r"field 'question\[0\].path': no such file"),
    ({"task": "image_understanding"}, "field 'task': is 'image_understanding', and .* make a pair"),
    ({"media": [{"path": "a.png"}]}, "field 'question': must be a string, not list"),
  ],
)
def test_a_bad_mixture_is_named_by_its_field(folder, changed, message):
  with pytest.raises(schema.BadRecord, match=rf"data\.jsonl, line 2.*{message}"):
    read(folder, good(), EDIT | changed)
