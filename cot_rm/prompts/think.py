"""UnifiedReward-Think's grammar: scores by dimension, totals as sums, then "Image 1 is better".

Reads both published layouts (arXiv:2505.03318): v1 has a dimension on one line, v2 in a block.
"""

import dataclasses
import functools
import re

from cot_rm.prompts import tags, template

NOUNS = {
  "image_generation": "Image",
  "video_generation": "Video",
  "image_understanding": "Answer",
  "video_understanding": "Answer",
}
_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)

_LABEL = r"(Image|Video|Answer)\s+([12])\b"
_NUMBER = r"\d+(?:\.\d+)?"
# A dimension's name stands at the start of a line; in text without lines, behind its number.
_HEADER = re.compile(
  r"(?:^[ \t]*(?:\d+[.)][ \t]*)?|(?<=[.;)]\s)\d+[.)]\s+)"
  r"(?!(?:Image|Video|Answer)\s+\d|Totals?\b)(\[[^\]\n]+\]|[^\W\d_][^:;\n\[\]]{0,79}?)\s*:",
  re.MULTILINE,
)
# The dash, colon or score behind it tells a score line's label from a mention in its prose.
_ITEM = re.compile(rf"(?:\A\s*|[;.\n][ \t]*){_LABEL}(?=\s*[-–—:(])")
_SCORE = re.compile(rf"\(\s*({_NUMBER})\s*/\s*10\s*\)")
_TOTALS = re.compile(r"(?:^|[.;])[ \t]*Total(?: score)?s?\s*:", re.MULTILINE)
_SUM = re.compile(
  rf"{_LABEL}\s*:\s*({_NUMBER}(?:\s*\+\s*{_NUMBER})*)(?:\s*=\s*({_NUMBER}))?"
  r"(?!\s*[+=/\d]|\.\d)"
)


@dataclasses.dataclass(frozen=True)
class Sheet:
  """The arithmetic that a reasoning writes down."""

  scores: tuple[tuple[str, float, float], ...]  # (dimension, score of 1, score of 2), as written
  addends: tuple[tuple[float, ...], tuple[float, ...]] | None  # what each total adds up
  totals: tuple[float, float] | None  # the totals as written
  faults: tuple[str, ...]  # what keeps the sheet from being whole: wrong nouns, gaps, repeats


def render(example):
  """Messages with the task's prompt. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  prompt = template.fill(template.text(f"think_{example.task}"), template.fields(example))
  return template.messages(example, prompt)


def noun(task):
  """What the candidates of a task are called. Raises ValueError on an unknown task."""
  if task not in NOUNS:
    raise ValueError(f"unknown task {task!r}; known: {', '.join(NOUNS)}")
  return NOUNS[task]


def solution(task, choice):
  """ "Image 1 is better", with the task's noun."""
  if choice not in (1, 2):
    raise ValueError(f"choice is 1 or 2, not {choice!r}")
  return f"{noun(task)} {choice} is better"


@functools.lru_cache(4096)  # several rewards read the same answers
def parse(text, task):
  """The verdict, strictly; scores and totals where they can be read, which no verdict needs.

  Text behind </answer> is outside the grammar, though upstream's format reward lets it pass.
  """
  verdict = tags.verdict(text, _wanted(task))
  if verdict.answer is None:
    return verdict
  read = sheet(verdict.reasoning, task)
  return dataclasses.replace(verdict, scores=read.scores, totals=read.totals)


def formatted(text):
  """Upstream's format rule: anchored at the start only, so that text behind </answer> passes."""
  return bool(_FORMAT.match(text))


def answered(text, task):
  """What the first <answer> holds, if that is exactly one of the task's two verdicts.

  Upstream takes the whole text where the tag is missing; here that is no answer.
  """
  return tags.first(text, _wanted(task))


@functools.lru_cache(4096)
def sheet(reasoning, task):
  """Reads the scores and the sums of a reasoning by their labels, in whatever order they stand."""
  name, faults = noun(task), []
  headers = list(_TOTALS.finditer(reasoning))
  if len(headers) > 1:
    faults.append(f"{len(headers)} headings of totals")
  end = headers[-1].start() if headers else len(reasoning)
  scores = _scores(reasoning[:end], name, faults)
  sums = _sums(reasoning[headers[-1].end() :], name, faults) if headers else {}
  if sorted(sums) != [1, 2]:
    faults.append("totals missing")
    return Sheet(scores, None, None, tuple(faults))
  addends = (sums[1][0], sums[2][0])
  totals = (sums[1][1], sums[2][1])
  return Sheet(scores, addends, None if None in totals else totals, tuple(faults))


def _wanted(task):
  return rf"{noun(task)} ([12]) is better"


def _scores(text, name, faults):
  """One entry per dimension that gives each candidate one score."""
  out = []
  for title, body in _pieces(_HEADER, text):
    dimension = title[1].strip(" []")
    found = {}
    for label, item in _pieces(_ITEM, body):
      score = _score(item)
      if label[1] != name:
        faults.append(f"{dimension}: {label[1]} {label[2]} where {name} is due")
      elif score is not None:
        found.setdefault(int(label[2]), []).append(score)
    if not found:
      continue  # a colon in prose
    if sorted(found) != [1, 2] or any(len(scores) != 1 for scores in found.values()):
      faults.append(f"{dimension}: not one score for each candidate")
      continue
    out.append((dimension, found[1][0], found[2][0]))
  return tuple(out)


def _score(item):
  """The score right behind the label, or the only one behind the rationale."""
  found = list(_SCORE.finditer(item))
  if found and (len(found) == 1 or not item[: found[0].start()].strip(" :")):
    return float(found[0][1])
  return None


def _sums(text, name, faults):
  """{candidate: (addends, total as written or None)}."""
  out = {}
  for label, number, expression, total in _SUM.findall(text):
    if label != name:
      faults.append(f"totals: {label} {number} where {name} is due")
      continue
    if int(number) in out:
      faults.append(f"totals: {name} {number} twice")
    addends = tuple(float(part) for part in expression.split("+"))
    if not total and len(addends) == 1:
      total = addends[0]  # "Image 1: 31" is a total, "Image 1: 9+8" is none
    out.setdefault(int(number), (addends, float(total) if total else None))
  return out


def _pieces(pattern, text):
  """(match, what follows it up to the next match)."""
  found = list(pattern.finditer(text))
  bounds = [match.start() for match in found] + [len(text)]
  return [(match, text[match.end() : end]) for match, end in zip(found, bounds[1:], strict=True)]
