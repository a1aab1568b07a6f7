"""Parser of tagged answers: <think>reasoning</think><answer>verdict</answer>."""

import re

from cot_rm.schema import Choice, Verdict

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_TWICE = re.compile(r"\A\s*<think>(?=\s*<think>)")
_FIRST = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def verdict(text: str, wanted: str) -> Verdict:
  """The verdict of a whole text, strictly: each tag once, in order, nothing outside them.

  White space around and between the tags is no text. `wanted` is a pattern for the whole, stripped
  content of <answer>; its group 1 is the digit of the choice.

  An opening tag that is doubled at the very start counts once: the chat template wrote the first
  one, and the model its own.
  """
  text = _TWICE.sub(lambda found: " " * len(found[0]), text)  # spans stay
  for tag in TAGS:
    if text.count(tag) != 1:
      return Verdict(None, error=f"{text.count(tag)} times {tag}; one is expected")
  starts = [text.index(tag) for tag in TAGS]
  ends = [start + len(tag) for start, tag in zip(starts, TAGS, strict=True)]
  outside = text[: starts[0]] + text[ends[1] : starts[2]] + text[ends[3] :]
  if starts != sorted(starts) or outside.strip():
    return Verdict(None, error="text outside <think>...</think><answer>...</answer>")
  reasoning, answer = text[ends[0] : starts[1]], text[ends[2] : starts[3]]
  found = re.fullmatch(wanted, answer.strip())
  if not found:
    error = f"no verdict of this grammar: {answer.strip()[:80]!r}"
    return Verdict(None, reasoning, error=error)
  start = ends[2] + len(answer) - len(answer.lstrip()) + found.start(1)
  return Verdict(choice(found[1]), reasoning, span=(start, start + 1))


def first(text: str, wanted: str) -> Choice | None:
  """The choice inside the first <answer>, or None; the rest of the text is ignored."""
  inside = _FIRST.search(text)
  found = inside and re.fullmatch(wanted, inside[1].strip())
  return choice(found[1]) if found else None


def choice(digit: str) -> Choice:
  """The candidate of a digit, "1" or "2"."""
  return 1 if digit == "1" else 2
