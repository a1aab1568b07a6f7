"""Judgements of the built-in world parsed back, and how true they are to the scene."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cot_rm.schema import Example
from cot_rm.toy_world import language
from cot_rm.toy_world.language import CORRECT, WRONG, Description, Thing


class ParsedJudgement(NamedTuple):
  """The description in a judgement, without scores, totals and verdict."""

  described: tuple[Description, ...]  # generation: of candidates 1 and 2; understanding: of one
  truth: str = ""  # understanding: the concluded answer
  answers: tuple[tuple[str, bool], ...] = ()  # understanding: each answer as quoted, and its mark


_KIND = rf" ({'|'.join(language.COLOURS)}) ({'|'.join(language.SHAPES)})"
_THING = re.compile(rf"{_KIND}(?: ({'|'.join(language.HOWS)}))? ({CORRECT}|{WRONG})")
_ABSENT = re.compile(f" no{_KIND}")
_ANSWER = re.compile(rf" ([a-z ]+) ({CORRECT}|{WRONG})")


def parse(text: str, task: str) -> ParsedJudgement | None:
  """The description in a judgement; None if it does not follow the templates of language.py.

  Only the description is parsed, up to the full stop at the end of its line: the grammar parses
  scores, totals and verdict.
  """
  medium = task.split("_")[0]
  verbs, conclusions = "|".join(language.VERBS), "|".join(language.CONCLUSIONS)
  if task.endswith("generation"):
    noun = language.MEDIUM[medium]
    found = re.match(
      rf"<think>\n{noun} 1 (?:{verbs})([^.\n]*)\. {noun} 2 (?:{verbs})([^.\n]*)\.\n", text
    )
    described = [_parse_list(listed) for listed in found.groups()] if found else [None]
    return None if None in described else ParsedJudgement(tuple(described))
  found = re.match(
    rf"<think>\nThe {medium} (?:{verbs})([^.\n]*)\. (?:{conclusions}) ([a-z ]+)\. "
    rf"Answer 1([^.,\n]*), Answer 2([^.,\n]*)\.\n",
    text,
  )
  if not found:
    return None
  description = _parse_list(found[1])
  answers = [_ANSWER.fullmatch(found[group]) for group in (3, 4)]
  if description is None or None in answers:
    return None
  marked = tuple((answer[1], answer[2] == CORRECT) for answer in answers)
  return ParsedJudgement((description,), found[2], marked)


def _parse_list(listed: str) -> Description | None:
  things, marks, absent = [], [], []
  for item in listed.split(","):
    if found := _ABSENT.fullmatch(item):
      absent.append(Thing(*found.groups()))
    elif (found := _THING.fullmatch(item)) and not absent:
      things.append(Thing(found[1], found[2], found[3] or ""))
      marks.append(found[4] == CORRECT)
    else:
      return None
  return Description(tuple(things), tuple(marks), tuple(absent))


def fidelity(text: str, example: Example) -> float | None:
  """Fraction of a judgement that is true to the scene, 0 to 1; None for an example without scene.

  (true statements + real things mentioned) / (statements + real things), over both candidates of a
  generation task. Statements are: a thing said to be there (true if it is, in this colour, shape,
  place and motion; a repeated statement is true once); the mark after it (true if it says
  whether the caption, or the question, is about that thing); a thing said to be absent (true if
  the caption asks for it and it is absent); for understanding tasks the concluded answer (true
  if it is the right one) and the mark of each answer (true if the answer is quoted exactly and
  marked correctly). A real thing is mentioned if a thing of its colour and shape is. A text that
  `parse` refuses scores 0.
  """
  scene = example.extra.get("scene")
  if scene is None:
    return None
  parsed = parse(text, example.task)
  if parsed is None:
    return 0.0
  real = [[language.to_thing(record) for record in p["objects"]] for p in scene["pictures"]]
  if example.generation and example.extra.get("swapped", False):
    real.reverse()  # the scene has the pictures in their first order
  asked = [language.to_thing(record) for record in scene["asked"]]
  true = []
  for things, description in zip(real, parsed.described, strict=True):
    true += _true_statements(things, description, asked)
  if not example.generation:
    truth = scene["truth"]
    true.append(parsed.truth == truth)
    true += [
      quoted == language.without_hedge(answer) and mark == (quoted == truth)
      for (quoted, mark), answer in zip(parsed.answers, example.responses, strict=True)
    ]
  return sum(true) / len(true)


def _true_statements(
  things: Sequence[Thing], description: Description, asked: Sequence[Thing]
) -> list[bool]:
  """Whether each statement about one picture is true, and each real thing mentioned."""
  true, unmatched = [], list(things)
  for thing in description.things:
    true.append(thing in unmatched)
    if thing in unmatched:
      unmatched.remove(thing)
  true += [
    mark == (thing in asked)
    for thing, mark in zip(description.things, description.marks, strict=True)
  ]
  present, wanted = {thing[:2] for thing in things}, {thing[:2] for thing in asked}
  true += [thing[:2] in wanted - present for thing in description.absent]
  mentioned = {thing[:2] for thing in description.things}
  return true + [thing[:2] in mentioned for thing in things]
