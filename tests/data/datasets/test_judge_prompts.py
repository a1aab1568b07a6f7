"""Prompts taken apart: exactly those of our grammars, others by their labels; verdicts."""

import dataclasses
import itertools
import time

import pytest

from cot_rm import prompts
from cot_rm.data.datasets import judge_prompts
from cot_rm.data.datasets.pair import LeftOut
from cot_rm.schema import TASKS, BadRecord, Example, Media

TEXTS = ("How many?", "{Query} {R1}\n[x]", "ü 🙂 \\n 「q」", " spaces \n")


def rendered(grammar, example):
  return prompts.get(grammar).render(example)[0]["content"][-1]["text"]


def example(task, question="?", answers=("one", "three")):
  if task.endswith("generation"):
    kind = task.split("_")[0]
    return Example("", "", task, question, (Media(kind, "a"), Media(kind, "b")))
  return Example("", "", task, question, (), answers)


@pytest.mark.parametrize("grammar, task", [*itertools.product(prompts.PROMPTS, TASKS)])
def test_every_prompt_of_our_grammars_is_taken_apart_again(make_row, grammar, task):
  if grammar == "r1_reward" and task.endswith("generation"):
    return
  for question, first, second in itertools.product(TEXTS, TEXTS, ("no", TEXTS[1])):
    one = example(task, question, (first, second))
    text = rendered(grammar, one)
    found = judge_prompts.question(make_row({}), f"<image>\n{text}", task.split("_")[0])
    assert (found.question, found.responses) == (question, one.responses)
    again = example(found.task, found.question, found.responses)
    assert rendered(grammar, again) == text
    if grammar in ("think", "direct"):
      assert (found.task, found.grammar) == (task, grammar)


def test_a_prompt_without_a_way_is_a_bad_record(make_row):
  with pytest.raises(BadRecord, match="file, record 3: a prompt that no grammar renders: 'Solve"):
    judge_prompts.question(make_row({}), "Solve x.", "image")


def test_several_ways_are_decided_by_the_question_or_refused(make_row):
  separator = "]\nAnswer 1: ["
  tricky = example("image_understanding", f"a{separator}b", ("one", "two"))
  text = rendered("think", tricky)
  with pytest.raises(BadRecord, match=r"\(grammar 'think'\) can be taken apart in 2 ways"):
    judge_prompts.question(make_row({}), text, "image")
  found = judge_prompts.question(make_row({}), text, "image", known=f"<image>\na{separator}b")
  assert found.responses == ("one", "two") and found.question == tricky.question


OTHERS = {
  "R1-Reward's longer prompt": (
    "You are a judge of two responses. 1. **Factual Accuracy:** ...\n#### **Input:**  \n"
    "#### [Question]:\nHow many?  \n\n#### [Response 1]:\none  \n\n#### [Response 2]:\ntwo  \n\n"
    "#### **Output Format (strictly follow):**  \n<think>...</think><answer>1</answer>"
  ),
  "UnifiedReward-Think for Qwen3-VL": (
    "The task is to evaluate two answers given an image and the following question: 「How many?」. "
    "The provided answers are:\n        - Answer 1: one\n        - Answer 2: two\n\n"
    "        2. You must evaluate the two answers across these core dimensions:"
  ),
  "UnifiedReward-Think for Qwen3-VL, about pictures": (
    "Evaluation procedure:\n        1. The question is: 「How many?」. The reference image is "
    "provided. The two candidate answers are:\n        Answer 1: 「one」\nAnswer 2: 「two」\n\n"
    "2. You must evaluate the two answers across these core dimensions:"
  ),
  "LLaVA-Critic": (
    "Determine which is better. Your task is provided as follows:\nQuestion: [How many?]\n"
    "The first response: [one]\nThe second response: [two]\nASSISTANT:\n"
  ),
  "with another note": (
    "Judge.\n\nYour task is provided as follows:\nQuestion: [How many?]\nAnswer 1: [one]\n"
    "Answer 2: [two]\n"
  ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_prompts_of_other_wordings_are_taken_apart_at_their_labels(make_row, name):
  found = judge_prompts.question(make_row({}), OTHERS[name], "image")
  assert found == ("image_understanding", "How many?", ("one", "two"), "")


@pytest.mark.parametrize(
  "text, task",
  [
    ("two images ...\nText Caption: [a [red] box]\n", "image_generation"),
    ("of two videos ...\nText Caption: [a [red] box]", "video_generation"),
    ("two videos. The caption for the generated videos is: 「a [red] box」. x", "video_generation"),
  ],
)
def test_captions_of_other_wordings(make_row, text, task):
  assert judge_prompts.question(make_row({}), text, "image") == (task, "a [red] box", (), "")


@pytest.mark.parametrize(
  "text",
  [
    "Rate it.\nQuestion: [How many?]\nResponse: [one]\nGive a 'Final Score:'",
    "a generated image ... two key criteria ... after 'Final Score:'.\nText Caption: [a box]",
    "Score each word of the caption.\nText Caption: [a box]",
  ],
)
def test_prompts_about_one_candidate_are_left_out(make_row, text):
  found = judge_prompts.question(make_row({}), text, "image")
  assert found == LeftOut("pointwise: one candidate is scored")


@pytest.mark.parametrize(
  "text, task, expected",
  [
    ("<think>x</think><answer>2</answer>", "image_understanding", 2),
    ("<think>x</think>\n<answer>Video 1 is better</answer>", "video_generation", 1),
    ("Image 2 is better than Image 1.", "image_generation", 2),
    ("<answer>1</answer>", "image_understanding", 1),
    (" 2 ", "image_understanding", 2),
    ("<answer>Answer 1 is better</answer>", "image_understanding", 1),
    ("... Therefore, the second response is clearly better.", "image_understanding", 2),
    ("The first response is better here. Still, Response 2 is better.", "image_understanding", 2),
    ("Both videos are equally good.", "video_generation", LeftOut("tie")),
    ("It is a tie.", "image_understanding", LeftOut("tie")),
    ("<answer>3</answer>", "image_understanding", LeftOut("no verdict in the answer")),
    ("", "image_understanding", LeftOut("no verdict in the answer")),
  ],
)
def test_verdicts(text, task, expected):
  assert judge_prompts.verdict(text, task) == expected


def test_marks_of_media_are_removed():
  remove = judge_prompts.without_marks
  for text in ("<image>\nWhat?", "What?\n<image>", "<image><image> What?"):
    assert remove(text) == "What?"
  assert remove("Look at <image> and <video>, please") == "Look at and , please"
  assert remove("a\n<image>\nb") == "a\nb" and remove("a < b <img>") == "a < b <img>"
  assert judge_prompts.marks("<video> <Image>") == ["video", "image"]
  assert remove("<IMAGE>\nHow <Video> many?") == "How many?"


def test_the_grammar_of_an_answer():
  of = judge_prompts.grammar_of
  assert of("<think>x</think><answer>2</answer>", "image_understanding") == "r1_reward"
  assert of("Image 1 is better.", "image_generation") == "direct"
  assert of("I do not know.", "image_generation") == ""
  assert dataclasses.is_dataclass(LeftOut("x"))


@pytest.mark.parametrize("run", ["\n" * 3000, " " * 3000, "\n \n" * 1500])
def test_long_runs_of_white_space_cost_no_time(make_row, run):
  first, second = f"one{run}box", f"three{run}boxes"
  prompt = f"[Question]:\n\n?\n#### [Response 1]:\n{first}\n#### [Response 2]:\n{second}"
  start = time.monotonic()
  found = judge_prompts.question(make_row({}), f"{prompt}\n### Output Format", "image")
  assert (found.question, *found.responses) == ("?", first, second)
  with pytest.raises(BadRecord, match="a prompt that no grammar renders"):
    judge_prompts.question(make_row({}), prompt, "image")
  judge_prompts.verdict(f"<answer>one{run}</answer>", "image_understanding")
  many = run * 10
  assert judge_prompts.without_marks(f"<image>one{many}two <video>") == f"one{many}two"
  assert time.monotonic() - start < 5
