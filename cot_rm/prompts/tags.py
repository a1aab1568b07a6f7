"""The way out of the grammars that reason: <think>reasoning</think><answer>verdict</answer>."""

import re

from cot_rm import schema

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_FIRST = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def verdict(text, wanted):
  """The verdict of a whole text, strictly: each tag once, in order, nothing outside them.

  White space around and between the tags is no text. `wanted` is a pattern for all that stands
  inside <answer>, stripped; its group 1 is the digit of the choice.
  """
  for tag in TAGS:
    if text.count(tag) != 1:
      return schema.Verdict(None, error=f"{text.count(tag)} times {tag} where one is due")
  starts = [text.index(tag) for tag in TAGS]
  ends = [start + len(tag) for start, tag in zip(starts, TAGS, strict=True)]
  outside = text[: starts[0]] + text[ends[1] : starts[2]] + text[ends[3] :]
  if starts != sorted(starts) or outside.strip():
    return schema.Verdict(None, error="text outside <think>...</think><answer>...</answer>")
  reasoning, answer = text[ends[0] : starts[1]], text[ends[2] : starts[3]]
  found = re.fullmatch(wanted, answer.strip())
  if not found:
    error = f"no verdict of this grammar: {answer.strip()[:80]!r}"
    return schema.Verdict(None, reasoning, error=error)
  start = ends[2] + len(answer) - len(answer.lstrip()) + found.start(1)
  return schema.Verdict(int(found[1]), reasoning, span=(start, start + 1))


def first(text, wanted):
  """The choice inside the first <answer>, or None; what stands elsewhere is not looked at."""
  inside = _FIRST.search(text)
  found = inside and re.fullmatch(wanted, inside[1].strip())
  return int(found[1]) if found else None
