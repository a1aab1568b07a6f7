"""Prompt texts, filled places and the turn they make."""

import dataclasses
import hashlib

import pytest

from cot_rm import prompts, schema
from cot_rm.prompts import template

# sha256 of the published texts, taken when they were copied.
TEXTS = {
  "direct_image_generation": "0fd2f5c43a06516503fde3e64ffc98fff6f3a8815b5eac8dc5f0d81cee686614",
  "direct_image_understanding": "a24f75c806344bc64aec2082d487ec5c5a701de995502209f70c5d81f23f490a",
  "direct_video_generation": "24c9a1143f7fe8a0f0d36216fd9b629c592588280ffa1f937cc6bf6bd3dd82d9",
  "direct_video_understanding": "97f1d4ff315cef1133cf09f144ae357986e5ab43ba7170854cbb19e8cb8e842e",
  "r1_reward": "5593ecd7d4d7ec962076e313f8b061a91e39e1b68f6517afb4278a3bbdc89245",
  "think_image_generation": "342f6a4bd0efdae0ca754259d78404e534aae5f1c5527dd47f6062028305e3ff",
  "think_image_understanding": "3db599f6bd5efb58bc76d4a7bd8be6344ebf46806e270a9393688cc316aa3b86",
  "think_video_generation": "f45197425b810d08e0067579cfd59e105a1f9bf8e5850ba879c638080cadc61e",
  "think_video_understanding": "916801bab0c1b1259bf23bc4836b210d677ed5d3558106699881f81722506c10",
}
PICTURE = schema.Media("image", "a.png")
VIDEO = schema.Media("video", "a.mp4", 2.0)


def example(task="image_understanding", media=(PICTURE,), responses=("red", "blue")):
  return schema.Example("e-1", "test", task, "What colour?", media, responses)


@pytest.mark.parametrize("name", TEXTS)
def test_a_prompt_text_is_the_published_one_byte_for_byte(name):
  assert hashlib.sha256(template.text(name).encode()).hexdigest() == TEXTS[name]


def test_trailing_spaces_of_the_published_text_are_there():
  assert template.text("r1_reward").count("  \n") == 5


def test_only_the_named_places_are_filled():
  assert template.fill("{a} {b} {c} {} {0} {{a}}", {"a": "x", "b": "y"}) == "x y {c} {} {0} {x}"


def test_a_value_is_never_filled_itself():
  values = {"a": "{b} {a} \\1 \\g<0> {", "b": "{a}"}
  assert template.fill("{a}|{b}", values) == "{b} {a} \\1 \\g<0> {|{a}"


def test_media_come_first_and_keep_their_order_and_rate():
  messages = template.messages(example(media=(PICTURE, VIDEO)), "hello")
  assert messages == [
    {
      "role": "user",
      "content": [
        {"type": "image", "image": "a.png"},
        {"type": "video", "video": "a.mp4", "fps": 2.0},
        {"type": "text", "text": "hello"},
      ],
    }
  ]


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    (example(responses=("red", " \n")), "'e-1': response 2 is empty"),
    (example(responses=()), "'e-1': .*two responses; got none"),
    (example("image_generation", (), ()), "'e-1': .*two media of kind 'image'; got none"),
  ],
)
def test_an_example_that_cannot_be_judged_is_named(bad, message):
  with pytest.raises(ValueError, match=message):
    template.check(bad)


def test_a_pair_of_texts_without_a_picture_can_be_judged():
  template.check(example(media=()))


def test_a_filled_template_is_taken_apart_in_every_way_that_fills_it_again():
  form, fields = "Q: {q}\nA: {a}\nB: {b}.", ("q", "a", "b")
  values = {"q": "x\nA: y", "a": "{b}", "b": "z\nB: \n"}
  prompt = template.fill(form, values)
  ways = template.invert(form, fields, prompt)
  assert (values["q"], (values["a"], values["b"])) in ways and len(ways) == 4
  for way in ways:
    texts = dict(zip(fields, (way.question, *way.responses), strict=True))
    assert template.fill(form, texts) == prompt


@pytest.mark.parametrize("prompt", ["", "Q: ", "Q: x\nA: y", "x\nA: y\nB: z.", "Q: x\nB: y\nA: z."])
def test_a_prompt_of_another_template_is_taken_apart_in_no_way(prompt):
  assert template.invert("Q: {q}\nA: {a}\nB: {b}.", ("q", "a", "b"), prompt) == []


def test_ways_are_limited():
  assert len(template.invert("{q}a{a}a{b}", ("q", "a", "b"), "a" * 1000)) == 100


def test_settings_of_media_are_settings_of_their_parts():
  shown = (
    schema.Media("video", "a.mp4", 4.0, {"nframes": 8}),
    schema.Media("image", "b.png", settings={"max_pixels": 784}),
  )
  pair = schema.Example("a", "s", "video_understanding", "q", shown, ("one", "two"))
  [turn] = template.messages(pair, "text")
  assert turn["content"][:2] == [
    {"type": "video", "video": "a.mp4", "fps": 4.0, "nframes": 8},
    {"type": "image", "image": "b.png", "max_pixels": 784},
  ]


def _asked(question, *responses):
  return schema.Example("m", "s", "image_understanding", question, (), responses or ("a", "b"))


@pytest.mark.parametrize("grammar", prompts.PROMPTS)
@pytest.mark.parametrize(
  "question", ["<image>\nHow many?", "How many?\n<image>", "a <video> b", "`code` and <image>"]
)
def test_a_mark_that_stands_for_a_picture_is_refused_by_name(grammar, question):
  with pytest.raises(schema.BadExample, match="'m': the question has the mark '<(image|video)>'"):
    prompts.get(grammar).render(_asked(question))


@pytest.mark.parametrize(
  "question",
  [
    "What does `<image>` mean?",
    "Mend this:\n```xml\n<svg>\n<image>\n</svg>\n```",
    'What is <image href="a.png"/>?',
    "Is <images> a tag? <IMAGE>?",
  ],
)
def test_code_and_other_tags_are_no_marks(question):
  template.check(_asked(question))


def test_a_candidate_may_hold_a_mark():
  template.check(_asked("Which?", "<image>", "<video> is it"))


@pytest.mark.parametrize(
  "example, message",
  [
    (_asked("How \ud83d?"), "the question: the text has the lone surrogate .* at character 4"),
    (_asked("Which?", "a", "b\udc00"), "response 2: the text has the lone surrogate"),
  ],
)
def test_half_an_emoji_is_refused_by_name(example, message):
  with pytest.raises(schema.BadExample, match=f"example 'm': {message}"):
    template.check(example)


EDITED = schema.Media("image", "b.png")
FORM = "Q: {Query}\n1: {R1}\n2: {R2}."


def test_media_of_a_mixture_stand_where_the_mixture_has_them():
  pair = schema.Example.mixed(
    ["Draw ", PICTURE, " again {R1}."], [EDITED, "like {Query} this"], ["or", VIDEO]
  )
  [turn] = template.mixed_messages(pair, FORM)
  assert turn["content"] == [
    {"type": "text", "text": "Q: Draw "},
    {"type": "image", "image": "a.png"},
    {"type": "text", "text": " again {R1}.\n1: "},
    {"type": "image", "image": "b.png"},
    {"type": "text", "text": "like {Query} this\n2: or"},
    {"type": "video", "video": "a.mp4", "fps": 2.0},
    {"type": "text", "text": "."},
  ]


def test_media_side_by_side_have_no_empty_text_between_them():
  pair = schema.Example.mixed([PICTURE, EDITED], PICTURE, EDITED)
  [turn] = template.mixed_messages(pair, "{Query}{R1}{R2}")
  assert [part["type"] for part in turn["content"]] == ["image"] * 4


def test_a_candidate_with_a_picture_needs_no_text_and_one_without_both_is_empty():
  template.check(schema.Example.mixed("Which?", [PICTURE, PICTURE], "the first"))
  with pytest.raises(ValueError, match="'Which\\?': response 2 is empty"):
    template.check(schema.Example.mixed("Which?", [PICTURE, PICTURE], [" "]))
  unkept = dataclasses.replace(schema.Example.mixed([PICTURE, "?"], EDITED, EDITED), media=())
  with pytest.raises(schema.BadExample, match="its media are missing"):
    template.check(unkept)
