"""TRL's conversational preferences."""

import json

import pytest

from cot_rm.data import bad_examples
from cot_rm.data.datasets import trl
from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded, preferred

TEXT = lambda text: [{"type": "text", "text": text}]
ASK = {"role": "user", "content": [{"type": "image"}, *TEXT(QUESTION)]}
SAY = lambda text: {"role": "assistant", "content": TEXT(text)}


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_an_explicit_prompt(folder, name):
  folder.media("a.jpg")
  images = ["a.jpg"] if name.endswith("jsonl") else [{"bytes": encoded(), "path": None}]
  record = {"images": images, "prompt": [ASK], "chosen": [SAY(CHOSEN)], "rejected": [SAY(REJECTED)]}
  (one,) = folder.open([record], name)
  assert (one.question, preferred(one), len(one.media)) == (QUESTION, CHOSEN, 1)
  assert one.task == "image_understanding" and one.source == "trl"


def test_the_answers_may_be_texts(folder):
  record = {"prompt": [{"role": "user", "content": QUESTION}], "chosen": "1", "rejected": "2"}
  (one,) = folder.open([record])
  assert (one.question, preferred(one), one.source) == (QUESTION, "1", "trl")


def test_an_implicit_prompt_is_what_both_begin_with(folder):
  folder.media("a.jpg")
  before = [{"role": "user", "content": "Look."}, SAY("I look.")]
  record = {"images": ["a.jpg"]}
  record |= {"chosen": [*before, ASK, SAY(CHOSEN)], "rejected": [*before, ASK, SAY(REJECTED)]}
  (one,) = folder.open([record])
  assert one.question == f"User: Look.\n\nAssistant: I look.\n\nUser: {QUESTION}"
  assert preferred(one) == CHOSEN and set(one.responses) == {CHOSEN, REJECTED}


def test_contents_may_be_texts_and_the_prompt_a_text(folder):
  turn = lambda text: [{"role": "assistant", "content": text}]
  record = {"prompt": QUESTION, "chosen": turn(CHOSEN), "rejected": turn(REJECTED)}
  (one,) = folder.open([record])
  assert (one.question, preferred(one), one.media) == (QUESTION, CHOSEN, ())


def test_media_may_be_in_the_parts(folder):
  folder.media("a.mp4")
  ask = {"role": "user", "content": [{"type": "video", "video": "a.mp4"}, *TEXT(QUESTION)]}
  (one,) = folder.open([{"prompt": [ask], "chosen": [SAY("1")], "rejected": [SAY("2")]}])
  assert one.task == "video_understanding" and one.media[0].source.endswith("a.mp4")


def test_chats_without_a_common_question_are_bad_records(folder):
  with pytest.raises(bad_examples.TooManyBad, match="record 0: there is no question"):
    folder.open([{"chosen": [SAY("1")], "rejected": [SAY("2")]}])


def test_chats_may_be_text_that_holds_json(folder):
  folder.media("a.jpg")
  image, text = {"type": "image", "image": "a.jpg"}, {"type": "text", "text": QUESTION}
  said = lambda answer: json.dumps([{"role": "assistant", "content": answer}])
  prompt = json.dumps([{"role": "user", "content": [image, text]}])
  record = {"prompt": prompt, "chosen": said(CHOSEN), "rejected": said(REJECTED)}
  for one in (
    *folder.open([record]),
    *folder.open([{**record, "prompt": QUESTION, "images": "['a.jpg']"}]),
  ):
    assert one.question == QUESTION and preferred(one) == CHOSEN and len(one.media) == 1
    assert set(one.responses) == {CHOSEN, REJECTED}


def test_an_answer_that_begins_with_a_bracket_is_an_answer(folder):
  record = {
    "prompt": [{"role": "user", "content": QUESTION}],
    "chosen": "[1] is it",
    "rejected": "2",
  }
  (one,) = folder.open([record])
  assert preferred(one) == "[1] is it"


def test_a_prompt_that_the_chats_repeat_is_not_part_of_the_answers(make_row):
  user = lambda text: {"role": "user", "content": text}
  model = lambda text: {"role": "assistant", "content": text}
  asked = [user("Is it red?"), model("Yes."), user("How many?")]
  record = {"prompt": "Is it red?", "chosen": [*asked, model("one")]}
  (one,) = trl.pairs(make_row(record | {"rejected": [*asked, model("three")]}))
  assert one.question == "User: Is it red?\n\nAssistant: Yes.\n\nUser: How many?"
  assert one.candidates == ("one", "three")


def test_a_chat_that_goes_on_keeps_who_said_what(make_row):
  turns = [("assistant", "one"), ("user", "Sure?"), ("assistant", "Yes.")]
  chosen = [{"role": role, "content": text} for role, text in turns]
  (one,) = trl.pairs(make_row({"prompt": "How many?", "chosen": chosen, "rejected": chosen[:1]}))
  assert one.candidates == ("Assistant: one\n\nUser: Sure?\n\nAssistant: Yes.", "one")
