"""How verdicts are read and credited: strictly by the grammar, or as published scripts do it.

A reading gives each answer its credit: 1 right, 0 wrong, None not counted, and a value between for
what the script leaves to a coin. Published readings keep the defects of their scripts, so that a
published figure can be explained: each docstring names them. They read the whole text again. Each
knows the form of one prompt; a verdict that another grammar reads in a text without this form
counts as it is.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from cot_rm.prompts import think
from cot_rm.schema import CHOICES, Choice, Judged

Credit = float | None  # from 0 to 1; None: the answer is in no figure


class Reading(Protocol):
  """Credits of answers. The order matters where a script draws from one random generator."""

  def __call__(self, judged: Sequence[Judged], /) -> list[Credit]:
    """The credit of the first completion of each judgement, which have gold answers.

    Args:
      judged: in the order of the benchmark's rows.
    """
    ...


def grammar(judged: Sequence[Judged], /) -> list[Credit]:
  """The verdict by the grammar; one outside of it is wrong."""
  return [float(j.verdicts[0].answer == j.example.gold) for j in judged]


def grammar_or_left_out(judged: Sequence[Judged], /) -> list[Credit]:
  """The verdict by the grammar; one outside of it leaves the denominator, as MMRB2's script does.

  A judge that answers only what it is sure of looks better than it is. A tie is an answer, and
  wrong: the script leaves out only what is empty.
  """
  credits = zip(judged, grammar(judged), strict=True)
  return [
    None if j.verdicts[0].answer is None and not j.verdicts[0].tie else credit
    for j, credit in credits
  ]


def r1_reward(judged: Sequence[Judged], /) -> list[Credit]:
  """R1-Reward's reading for VL-RewardBench and Multimodal RewardBench.

  The content of the first <answer>; without one the last 1 or 2 anywhere in the text. What is not
  the number 1 counts as a verdict for candidate 2, a text without any digit too.
  """
  return [_credit(j, j.verdicts[0].answer or _tag_or(_last, _text(j))) for j in judged]


def r1_reward_first_line(judged: Sequence[Judged], /) -> list[Credit]:
  """R1-Reward's reading for MM-RLHF-RewardBench.

  As `r1_reward`, but without <answer> it takes the last 1 or 2 of the first line that has one: the
  script's pattern for "the last digit" does not look over line ends.
  """
  return [_credit(j, j.verdicts[0].answer or _tag_or(_of_first_line, _text(j))) for j in judged]


def substring(judged: Sequence[Judged], /) -> list[Credit]:
  """UnifiedReward's reading: right if the right verdict's words are anywhere in the text.

  "Answer 1 is better" in the reasoning is enough, whatever the verdict says, and a text that names
  both candidates is right for either.
  """
  out: list[Credit] = []
  for j in judged:
    named = {c for c in CHOICES if think.solution(j.example.task, c) in _text(j)}
    if not named and j.verdicts[0].answer:
      named = {j.verdicts[0].answer}
    out.append(float(j.example.gold in named))
  return out


def first_label(judged: Sequence[Judged], /) -> list[Credit]:
  """UnifiedReward's reading for videos: the first label that it looks for, wherever it stands.

  "Video 1 is better" anywhere in the text is a verdict for the first, else "Video 2 is better" one
  for the second, and a text with neither calls them equal, which is right where people do.
  """
  out: list[Credit] = []
  for j in judged:
    text, task = _text(j), j.example.task
    named = (c for c in CHOICES if think.solution(task, c) in text)
    out.append(float(next(named, j.verdicts[0].answer) == j.example.gold))
  return out


def compared_label(judged: Sequence[Judged], /) -> list[Credit]:
  """UnifiedReward's reading for pictures of its first model: the label's words anywhere.

  The labels are "Image 1 is better than Image 2" and, where people call them equal, "Both images
  are equally good". A text that has several is right for each of them.
  """
  out: list[Credit] = []
  for j in judged:
    text, verdict, noun = _text(j), j.verdicts[0], think.noun(j.example.task)
    named: set[Choice | None] = {c for c in CHOICES if _comparison(j, c) in text}
    if f"Both {noun.lower()}s are equally good" in text:
      named.add(None)
    if not named and (verdict.answer or verdict.tie):
      named = {verdict.answer}
    out.append(float(j.example.gold in named))
  return out


def inside_label(judged: Sequence[Judged], /) -> list[Credit]:
  """UnifiedReward's reading for VideoGen-RewardBench of its first model: the text in the label.

  It looks for the whole text inside of "Video 1 is better than Video 2.", then of the other label,
  and not for the label in the text: an empty text is a verdict for the first, and one that says
  more than the label calls them equal.
  """
  out: list[Credit] = []
  for j in judged:
    text, task = _text(j), j.example.task
    said = any(think.solution(task, c) in text for c in CHOICES)
    other = None if said else j.verdicts[0].answer
    named = (c for c in CHOICES if text in f"{_comparison(j, c)}.")
    out.append(float((other or next(named, None)) == j.example.gold))
  return out


def lmms_eval_sentence(judged: Sequence[Judged], /) -> list[Credit]:
  """lmms-eval's reading for VL-RewardBench: a sentence "Overall Judgment: Answer 1 is better".

  Where there is none, lmms-eval asks a small GPT, in whose place is the grammar here, and then
  throws a coin without a seed: such an answer has the coin's mean, a half.
  """
  out: list[Credit] = []
  for j in judged:
    found = _SENTENCE.search(_text(j).strip().replace("\n", "").replace("*", ""))
    choice = int(found[1]) if found else j.verdicts[0].answer
    out.append(0.5 if choice is None else float(choice == j.example.gold))
  return out


def brackets_or_first(judged: Sequence[Judged], /) -> list[Credit]:
  """lmms-eval's reading for Multimodal RewardBench: [[A]] or [[B]], and else always A.

  Its coin is seeded anew for each answer, and the first draw of seed 123 is below a half. An empty
  answer so earns the share of pairs whose first candidate is better. [[A]] wins where both stand.
  """
  return [_credit(j, _brackets(j) or 1) for j in judged]


def brackets_or_coin(judged: Sequence[Judged], /) -> list[Credit]:
  """The reading of Multimodal RewardBench's owners: as `brackets_or_first`, with one seeded coin.

  The coin (seed 123, heads below a half is A) is thrown once for each unreadable answer, in order:
  half of what could not be read counts as right.
  """
  draw = random.Random(123).random
  return [_credit(j, _brackets(j) or (1 if draw() < 0.5 else 2)) for j in judged]


_SENTENCE = re.compile(
  r"(?:Overall Judgment|Therefore)\s*.*\s*-*\s*Answer\s*(\d+)\s*is\s*"
  r"(?:the\s*)?(?:slightly\s*)?better",
  re.IGNORECASE,
)
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def _text(judged: Judged) -> str:
  return judged.completions[0].text


def _comparison(judged: Judged, choice: Choice) -> str:
  """ "Image 1 is better than Image 2", with the task's noun."""
  task = judged.example.task
  return f"{think.solution(task, choice)} than {think.noun(task)} {3 - choice}"


def _credit(judged: Judged, choice: Choice) -> float:
  return float(choice == judged.example.gold)


def _tag_or(otherwise: Callable[[str], str], text: str) -> Choice:
  """1 if the content of the first <answer>, or else `otherwise`, is the number 1; 2 if not."""
  tag = _ANSWER_TAG.search(text)
  try:
    return 1 if float(tag[1] if tag else otherwise(text)) == 1 else 2
  except ValueError:
    return 2


def _last(text: str) -> str:
  digits = re.findall(r"[12]", text)
  return digits[-1] if digits else ""


def _of_first_line(text: str) -> str:
  found = re.search(r"[12](?!.*[12])", text)
  return found[0] if found else ""


def _brackets(judged: Judged) -> Choice | None:
  text = _text(judged)
  if "[[A]]" in text:
    return 1
  if "[[B]]" in text:
    return 2
  return judged.verdicts[0].answer
