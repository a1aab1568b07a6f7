"""Whether the verdict follows from the reasoning."""

import hashlib

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import brief, direct, r1_reward, template, think
from cot_rm.rewards import consistency

TASK = "image_generation"
# sha256 of the published prompt with its two places named, taken when it was copied.
PROMPT = "3df1d37a8b0d14e807412e7c6714b676091a5b6ee3d744215b7caeef9f5b7924"
WHOLE = """<think>
Image 1 shows a red star. Image 2 shows a blue one.
1. Semantic consistency: Image 1 (9/10) - right; Image 2 (5/10) - wrong colour
2. Authenticity: Image 2 (7/10) - fine; Image 1 (8/10) - fine
Total score:
Image 1: 9+8=17
Image 2: 5+7=12
</think>
<answer>Image 1 is better</answer>"""


def values(texts, grammar=think, ask=None):
  completions = [schema.Completion(text, np.zeros(1), np.zeros(1), "stop") for text in texts]
  examples = [schema.Example(str(i), "test", TASK, "q") for i in range(len(texts))]
  verdicts = [grammar.parse(text, TASK) for text in texts]
  return consistency.reward(completions, verdicts, examples, grammar, ask)


def unasked(chats, attempt):
  raise AssertionError("the scores decide it")


CASES = [  # what is changed, and whether the text contradicts itself, and whether it follows
  ({}, False, 1.0),
  ({"<answer>Image 1": "<answer>Image 2"}, True, 0.0),
  # Sums that are wrong count where they change who is ahead.
  ({"9+8=17": "9+8=18"}, False, 1.0),
  ({"9+8=17": "9+8=11"}, True, 0.0),
  ({"9+8=17": "9+8=12"}, False, 0.0),
  ({"9+8=17": "2+3=17"}, True, 0.0),
  ({"(9/10)": "(1/10)", "9+8=17": "9+8=17"}, True, 0.0),
  # A total without its sum, and a sum without its total.
  ({"9+8=17": "17", "5+7=12": "12"}, False, 1.0),
  ({"9+8=17": "12", "5+7=12": "17"}, True, 0.0),
  ({"9+8=17": "9+8", "5+7=12": "5+7"}, False, 1.0),
  # Scores alone.
  ({"Total score:\nImage 1: 9+8=17\nImage 2: 5+7=12\n": ""}, False, 1.0),
  ({"Total score:\nImage 1: 9+8=17\nImage 2: 5+7=12\n": "", "(9/10)": "(5/10)"}, False, 1.0),
  ({"Total score:\nImage 1: 9+8=17\nImage 2: 5+7=12\n": "", "(9/10)": "(4/10)"}, False, 0.0),
  ({"Total score:\nImage 1: 9+8=17\nImage 2: 5+7=12\n": "", "(9/10)": "(3/10)"}, True, 0.0),
  # A score that cannot be read leaves the totals.
  ({"Image 2 (7/10) - fine; ": ""}, False, 1.0),
  # A tie supports neither, and speaks against neither.
  ({"(5/10)": "(9/10)", "(7/10)": "(8/10)", "5+7=12": "9+8=17"}, False, 0.0),
  # Outside the grammar nothing can be said, and nothing follows.
  ({"better</answer>": "better</answer> or not"}, None, 0.0),
  ({"</think>": ""}, None, 0.0),
]


@pytest.mark.parametrize(("changes", "against", "follows"), CASES)
def test_scores_sums_and_totals_decide_whether_the_verdict_follows(changes, against, follows):
  text = WHOLE
  for before, after in changes.items():
    assert text.count(before) == 1
    text = text.replace(before, after)
  for grammar in (think, brief):
    assert consistency.contradicts(text, TASK, grammar) is against
    assert values([text], grammar, unasked) == [follows]


def test_totals_beyond_what_a_float_holds_tie_and_break_nothing():
  text = WHOLE.replace("=17", f"={'9' * 400}").replace("=12", f"={'8' * 400}")
  assert consistency.contradicts(text, TASK, think) is False


PROSE = "<think>\none\ntwo\n{three}\nfour \n</think><answer>1</answer>"
OPEN = "<think>Image 1 is nicer.</think><answer>Image 1 is better</answer>"


def test_prose_contradicts_nothing_that_can_be_computed():
  assert consistency.contradicts(PROSE, "image_understanding", r1_reward) is None
  assert consistency.contradicts(OPEN, TASK, think) is None
  assert consistency.contradicts("Image 1 is better.", TASK, direct) is None


def asked(text, task, grammar):
  return consistency.chat(text, grammar.parse(text, task), task, grammar)


def test_a_text_outside_its_grammar_is_not_put_to_the_judge():
  with pytest.raises(ValueError, match="outside its grammar: 0 times <think>"):
    asked("1", TASK, r1_reward)


def test_the_judge_is_asked_the_published_prompt():
  assert hashlib.sha256(template.text("r1_reward_consistency").encode()).hexdigest() == PROMPT
  (message,) = asked(PROSE, "image_understanding", r1_reward)
  (part,) = message["content"]
  assert message["role"] == "user" and part["type"] == "text"
  # Braces of a reasoning are no places to fill; the closing tag is one of the three lines.
  assert "\n######### Model's Response #########\n {three};four ;</think> \n\n\n" in part["text"]
  assert part["text"].endswith("Answer#########\n response 1 is better\n\n\nOutput: \n")


def test_a_verdict_in_words_is_put_to_the_judge_as_it_is():
  text = asked(OPEN, TASK, think)[0]["content"][0]["text"]
  assert "#########\n <think>Image 1 is nicer.</think> \n" in text
  assert "#########\n Image 1 is better\n" in text


@pytest.mark.parametrize(
  ("reply", "expected"),
  [
    ("1", 1.0),
    ("0", 0.0),
    ("output: 1", 1.0),
    ("Output: 0\n", 0.0),
    ("10", 0.0),
    ("1, not 0", 0.0),
    ("it is 1.", 1.0),
    ("yes", consistency.UNREADABLE),
    ("", consistency.UNREADABLE),
  ],
)
def test_the_judge_is_read_as_the_released_code_reads_it(reply, expected):
  assert consistency.read_reply(reply) == expected


def prose(i):
  return f"<think>reason {i}</think><answer>1</answer>"


def test_only_what_is_open_is_asked_and_only_the_unreadable_again():
  replies = {
    1: {"reason 0": "1", "reason 1": "well", "reason 2": None, "reason 3": "so", "reason 4": "0"},
    2: {"reason 1": "10", "reason 3": "hm"},
    3: {"reason 3": "?"},
  }
  asked = []

  def ask(chats, attempt):
    texts = [chat[0]["content"][0]["text"] for chat in chats]
    found = [key for text in texts for key in replies[attempt] if key in text]
    asked.append((attempt, found))
    return [replies[attempt][key] for key in found]

  empty = "<think> \n</think><answer>1</answer>"
  found = values([prose(0), prose(1), empty, prose(2), "1", prose(3), prose(4)], r1_reward, ask)
  silent, unreadable = consistency.NO_ANSWER, consistency.UNREADABLE
  assert found == [1.0, 0.0, 0.0, silent, 0.0, unreadable, 0.0]
  assert asked == [(attempt, list(some)) for attempt, some in replies.items()]


def test_without_a_judge_what_is_open_stays_open():
  assert values([WHOLE, OPEN]) == [1.0, consistency.NO_JUDGE]


def test_a_judge_that_cannot_be_asked_at_all_stops_the_run_at_the_first_call():
  calls = []

  def ask(chats, attempt):
    calls.append(len(chats))
    raise ConnectionError("wrong key")

  with pytest.raises(ConnectionError, match="wrong key"):
    values([OPEN, OPEN], think, ask)
  assert calls == [2]


def test_a_product_is_of_the_verdict_and_its_grounds():
  why, lost = consistency.NO_ANSWER, consistency.UNREADABLE
  table = [  # right, consistent, paper, released
    (1.0, 1.0, 1.0, 1.0),
    (1.0, 0.0, 0.0, -1.0),
    (1.0, lost, lost, 0.0),
    (1.0, why, why, why),
    (0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, why, 0.0, 0.0),
    ("no gold answer", 1.0, "no gold answer", "no gold answer"),
    ("no gold answer", why, "no gold answer", "no gold answer"),
  ]
  for right, consistent, paper, released in table:
    assert consistency.paper(right, consistent) == paper
    assert consistency.released(right, consistent) == released
