"""UnifiedReward-Think's grammar: scores by dimension, totals as sums, then "Image 1 is better".

Reads both published layouts (arXiv:2505.03318): a dimension is one line in v1, a block in v2.
"""

import dataclasses
import re

from cot_rm import registry
from cot_rm.prompts import tags, template
from cot_rm.schema import Choice, Example, Message, Sheet, Task, Verdict

WRITES_SCORES: bool = True
NOUNS: dict[str, str] = {
  "image_generation": "Image",
  "video_generation": "Video",
  "image_understanding": "Answer",
  "video_understanding": "Answer",
}
_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)

_LABEL = r"(Image|Video|Answer)\s+([12])\b"
# ASCII digits and a decimal point: "8,5" and digits of other scripts, which \d and float() accept,
# are no numbers. Where no number may follow, \d is meant: those of all scripts.
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
# White space or a mark ends a number, and no digit, fraction or operator follows.
_NUMBER_ENDS = r"(?=\s|\Z|[.,;)\]*_|\"'](?!\d))(?![^\S\n]*(?:[+=/\d¼-¾⅐-⅞²³¹]|[*×÷%^−–-]\s*\d))"
# A dimension's name is at the start of a line; in text without lines, after its number.
_HEADER = re.compile(
  r"(?:^[ \t]*(?:[0-9]+[.)][ \t]*)?|(?<=[.;)]\s)[0-9]+[.)]\s+)"
  r"(?!(?:Image|Video|Answer)\s+\d|Totals?\b)(\[[^\]\n]+\]|[^\W\d_][^:;\n\[\]]{0,79}?)\s*:",
  re.MULTILINE,
)
# The dash, colon or score after it tells the label of a score line from a mention in prose.
_ITEM = re.compile(rf"(?:\A\s*|[;.\n][ \t]*){_LABEL}(?=\s*[-–—:(])")
_SCORE = re.compile(rf"\(\s*({_NUMBER})\s*/\s*10\s*\)")
_TOTALS = re.compile(r"(?:^|[.;])[ \t]*Total(?: score)?s?\s*:", re.MULTILINE)
_SUM = re.compile(
  rf"{_LABEL}\s*:\s*({_NUMBER}(?:\s*\+\s*{_NUMBER})*)(?:\s*=\s*({_NUMBER}))?{_NUMBER_ENDS}"
)


def render(example: Example) -> list[Message]:
  """Messages with the task's prompt. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  if example.places:
    return template.mixed_messages(example, mixed(template.text("think_mixed"), example.task))
  prompt = template.fill(template.text(f"think_{example.task}"), template.fields(example))
  return template.messages(example, prompt)


def invert(prompt: str, task: Task) -> list[template.Inverted]:
  """Every way in which render() makes this prompt."""
  return template.invert(template.text(f"think_{task}"), template.names(task), prompt)


def noun(task: Task) -> str:
  """The noun of a task's candidates: "Image". Raises ValueError on an unknown task."""
  return registry.lookup(NOUNS, task, "task")


def mixed(text: str, task: Task) -> str:
  """A template for pairs that mix texts and media, with the task's noun: {Noun} and {noun}."""
  return template.fill(text, {"Noun": noun(task), "noun": noun(task).lower()})


def solution(task: Task, choice: Choice) -> str:
  """ "Image 1 is better", with the task's noun."""
  if choice not in (1, 2):
    raise ValueError(f"choice is 1 or 2, not {choice!r}")
  return f"{noun(task)} {choice} is better"


def unreasoned(task: Task, choice: Choice) -> str:
  """An empty reasoning and the verdict."""
  return f"<think>\n</think>\n<answer>{solution(task, choice)}</answer>"


def parse(text: str, task: Task) -> Verdict:
  """The verdict, strictly, with the sheet of its reasoning; a verdict does not need scores.

  Text after </answer> is outside the grammar, although upstream's format reward accepts it.
  """
  verdict = tags.verdict(text, _wanted(task))
  if verdict.answer is None:
    return verdict
  return dataclasses.replace(verdict, sheet=sheet(verdict.reasoning, task))


def formatted(text: str) -> bool:
  """Upstream's format rule: anchored at the start only, so that text after </answer> passes."""
  return bool(_FORMAT.match(text))


def answered(text: str, task: Task) -> Choice | None:
  """The choice of the first <answer>, if it holds exactly one of the task's two verdicts.

  Upstream takes the whole text if the tag is missing; here that is no answer.
  """
  return tags.first(text, _wanted(task))


def sheet(reasoning: str, task: Task) -> Sheet:
  """Reads the scores and the sums of a reasoning by their labels, in any order."""
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
  first, second = sums[1][1], sums[2][1]
  totals = None if first is None or second is None else (first, second)
  return Sheet(scores, addends, totals, tuple(faults))


def _wanted(task: Task) -> str:
  return rf"{noun(task)} ([12]) is better"


def _scores(text: str, name: str, faults: list[str]) -> tuple[tuple[str, float, float], ...]:
  """(dimension, score of candidate 1, score of candidate 2) of each complete dimension.

  A dimension that does not score both candidates once adds a message to `faults` instead.
  """
  out = []
  for title, body in _pieces(_HEADER, text):
    dimension = title[1].strip(" []")
    found: dict[int, list[float]] = {}
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


def _score(item: str) -> float | None:
  """The score in the text after a candidate's label; None if there is none or it is ambiguous.

  It is the score at the start of the text, or else the only score in it (after a rationale).
  """
  found = list(_SCORE.finditer(item))
  if found and (len(found) == 1 or not item[: found[0].start()].strip(" :")):
    return float(found[0][1])
  return None


def _sums(
  text: str, name: str, faults: list[str]
) -> dict[int, tuple[tuple[float, ...], float | None]]:
  """{candidate: (addends, total as written or None)}, in the text below the heading of totals."""
  out: dict[int, tuple[tuple[float, ...], float | None]] = {}
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


def _pieces(pattern: re.Pattern[str], text: str) -> list[tuple[re.Match[str], str]]:
  """(match, text from its end to the next match) for each match of the pattern."""
  found = list(pattern.finditer(text))
  bounds = [match.start() for match in found] + [len(text)]
  return [(match, text[match.end() : end]) for match, end in zip(found, bounds[1:], strict=True)]
