"""Rendered prompts with the right verdict: R1-Reward-RL, UnifiedReward's GRPO, verl, EasyR1."""

import base64
import json

import pytest

from cot_rm import prompts
from cot_rm.data import bad_examples
from cot_rm.schema import Example
from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded

ASKED = Example("", "", "image_understanding", QUESTION, (), (CHOSEN, REJECTED))
PROMPT = prompts.get("r1_reward").render(ASKED)[0]["content"][0]["text"]
IMAGE = {"bytes": encoded(), "path": None}


def message(image):
  parts = [{"type": "text", "text": PROMPT}, {"type": "image", "image": image}]
  return json.dumps([{"role": "user", "content": parts}])


def r1(image="/mnt/nobody/a.jpg", answer="<answer>1</answer>", **fields):
  return {"question": QUESTION, "message": message(image), "answer": [answer], **fields}


def test_r1_reward_rl_with_base64(folder):
  records = [r1(image=path, answer=f"<answer>{i}</answer>") for i, path in ((1, "/x"), (2, "/y"))]
  for record in records:
    record["image"] = base64.b64encode(encoded()).decode()
  one, two = folder.open(records, "train-0.parquet")
  assert (one.gold, two.gold) == (1, 2) and one.responses == (CHOSEN, REJECTED)
  assert one.question == QUESTION and one.media[0].source == encoded()


def test_r1_reward_rl_with_paths(folder, tmp_path):
  folder.media("images/cake.jpg")
  (one,) = folder.open([r1("images/cake.jpg")], "train.jsonl")
  assert one.gold == 1 and one.media[0].source == str(tmp_path / "images/cake.jpg")


def test_verl(folder):
  records = [
    {
      "data_source": "r1",
      "prompt": [{"role": "user", "content": f"<image>{PROMPT}"}],
      "images": [IMAGE],
      "reward_model": {"style": "rule", "ground_truth": str(1 + i)},
      "extra_info": {"split": "train", "index": i, "question": QUESTION},
    }
    for i in range(2)
  ]
  source = folder.open(records, "train.parquet")
  assert [(e.id, e.gold, e.source) for e in source] == [("train-0", 1, "r1"), ("train-1", 2, "r1")]
  assert source[1].responses == (CHOSEN, REJECTED) and source[1].media[0].source == encoded()


@pytest.mark.parametrize("answer", ["2", "<answer>2</answer>", "Answer 2 is better", '["2"]'])
def test_easyr1(folder, answer):
  record = {"images": [IMAGE], "problem": f"<image>{PROMPT}", "answer": answer}
  (one,) = folder.open([record], "train.parquet")
  assert (one.gold, one.responses) == (2, (CHOSEN, REJECTED))


def test_unified_reward_grpo(folder):
  names = [f"images/{i}.jpg" for i in range(16)]
  folder.media(*names)
  text = lambda task: prompts.get("think").template.text(f"think_{task}")
  records = [
    {"problem": text("image_generation").replace("{prompt}", "a box"), "images": names[:2]},
    {"problem": prompts.get("think").render(ASKED)[0]["content"][0]["text"], "image": names[2]},
    {"problem": text("video_generation").replace("{prompt}", "it moves"), "images": names},
  ]
  for record, solution in zip(records, ("Image 1", "Answer 2", "Video 2"), strict=True):
    record["solution"] = f"{solution} is better"
  first, second, third = folder.open(records)
  assert [(e.task, e.gold) for e in (first, second, third)] == [
    ("image_generation", 1),
    ("image_understanding", 2),
    ("video_generation", 2),
  ]
  assert (first.question, second.question, third.question) == ("a box", QUESTION, "it moves")
  assert [len(m.source) for m in third.media] == [8, 8]


def test_a_request_has_no_gold(folder):
  folder.media("0.jpg", "1.jpg")
  text = prompts.get("think").template.text("image_generation_".join(("think_", ""))[:-1])
  record = {"problem": text.replace("{prompt}", "a box"), "images": ["0.jpg", "1.jpg"], "idx": 4}
  (one,) = folder.open([record])
  assert one.gold is None and one.id == "4"


@pytest.mark.parametrize(
  "record, message",
  [
    (r1() | {"message": "[{"}, "field 'message': no JSON"),
    (r1() | {"answer": ["<answer>1</answer>", "<answer>2</answer>"]}, "must have one verdict"),
    ({"problem": "Solve x = 1.", "answer": "1"}, "a prompt that no grammar renders"),
  ],
)
def test_wrong_records_are_named(folder, record, message):
  record = {"image": "a.jpg", **record}
  with pytest.raises(bad_examples.TooManyBad, match=message):
    folder.open([record])


def test_a_separator_in_an_answer_is_told_by_the_question(folder):
  tricky = Example(
    "",
    "",
    "image_understanding",
    QUESTION + "  \n\n###### [Response 1]:\nno",
    (),
    (CHOSEN, REJECTED),
  )
  text = prompts.get("r1_reward").render(tricky)[0]["content"][0]["text"]
  chat = json.dumps([{"role": "user", "content": text}])
  record = {"message": chat, "question": tricky.question, "answer": ["<answer>1</answer>"]}
  (one,) = folder.open([record])
  assert one.question == tricky.question and one.responses == (CHOSEN, REJECTED)
  with pytest.raises(bad_examples.TooManyBad, match="can be taken apart in 2 ways"):
    folder.open([{**record, "question": ""}])


@pytest.mark.parametrize("grammar", ["r1_reward", "think"])
def test_line_ends_within_the_texts_of_a_prompt_are_kept(folder, grammar):
  folder.media("a.jpg")
  asked = Example("", "", "image_understanding", "How\r\nmany?", (), ("one\r\n", "two\r\n\r\n3"))
  prompt = prompts.get(grammar).render(asked)[0]["content"][0]["text"]
  record = {"problem": prompt, "solution": "<answer>1</answer>", "image": "a.jpg"}
  (one,) = folder.open([record])
  assert (one.question, one.responses) == (asked.question, asked.responses)
  assert prompts.get(grammar).render(one)[0]["content"][-1]["text"] == prompt
  windows = prompt.replace("\r\n", "\n").replace("\n", "\r\n")
  (one,) = folder.open([{**record, "problem": windows}])
  assert one.question == "How\nmany?"


def test_an_answer_that_calls_both_equal_is_a_tie(folder):
  folder.media("a.jpg", "b.jpg")
  record = {"problem": "<image><image>Text Caption: [x] Compare the two images.\nText Caption: [x]"}
  record |= {"images": ["a.jpg", "b.jpg"]}
  record |= {"solution": "<think>so</think>\n<answer>Both images are equally good</answer>"}
  (one,) = folder.open([record], ties="keep")
  assert one.gold is None
  with pytest.raises(ValueError, match="1 left out: tie"):
    folder.open([record])


def test_a_prompt_with_two_equal_answers_is_no_pair(folder):
  folder.media("a.jpg")
  asked = Example("", "", "image_understanding", "How many?", (), ("one", "one "))
  prompt = prompts.get("r1_reward").render(asked)[0]["content"][0]["text"]
  with pytest.raises(ValueError, match="1 left out: both candidates are the same"):
    folder.open([{"problem": prompt, "solution": "1", "image": "a.jpg"}])


def test_a_chat_or_a_reward_that_is_null_is_named(folder):
  verl = {"prompt": [{"role": "user", "content": PROMPT}], "reward_model": None, "images": [IMAGE]}
  for record, name in ((r1(message=None), "message"), (verl, "reward_model")):
    with pytest.raises(ValueError, match=f"row 0: field '{name}' must be"):
      folder.open([record], "a.parquet", layout="prompted")
