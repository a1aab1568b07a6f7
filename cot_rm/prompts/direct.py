"""UnifiedReward's direct prompts: "Image 1 is better.", without tags, in a sentence of its own."""

import re

from cot_rm import schema
from cot_rm.prompts import tags, template, think

_OVERALL = "Overall Judgment"
_TIE = re.compile(r"Both (?:images|videos|answers) are equally good")


def render(example):
  """Messages with the task's prompt. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  prompt = template.fill(template.text(f"direct_{example.task}"), template.fields(example))
  return template.messages(example, prompt)


def parse(text, task):
  """The verdict of the sentence that states it: "Image 1 is better", "... than Image 2".

  The sentence ends in a dot or with its line. Explanations may stand around it and may praise
  either candidate ("Image 2 is better lit"), but no second verdict may name the other one. Where
  the text has an "Overall Judgment", only what follows counts. A tie is no answer.
  """
  noun = think.noun(task)
  if any(tag in text for tag in tags.TAGS):
    return schema.Verdict(None, error="tags, which no direct prompt asks for")
  if text.count(_OVERALL) > 1:
    return schema.Verdict(None, error=f"{text.count(_OVERALL)} times {_OVERALL!r}")
  start = text.find(_OVERALL) + len(_OVERALL) if _OVERALL in text else 0
  judgement = text[start:]
  if _TIE.search(judgement):
    return schema.Verdict(None, error="a tie")
  claims = list(_claim(noun).finditer(judgement))
  stated = [claim for claim in claims if claim["opens"] is not None]
  if not stated:
    return schema.Verdict(None, error="no sentence that states a verdict")
  if len({claim["choice"] for claim in claims}) > 1:
    return schema.Verdict(None, error="verdicts for both candidates")
  choice, other = stated[0]["choice"], stated[0]["other"]
  if choice == other:
    return schema.Verdict(None, error=f"{noun} {choice} compared with itself")
  digit = start + stated[0].start("choice")
  around = text[: start + stated[0].start("claim")] + text[start + stated[0].end() :]
  reasoning = around.replace(_OVERALL, "").strip(" \n*:.")
  return schema.Verdict(int(choice), reasoning, span=(digit, digit + 1))


def solution(task, choice):
  """The shortest whole answer to the task's prompt, in the words of its example."""
  stated = think.solution(task, choice)
  if task == "video_understanding":
    return f"{_OVERALL}: {stated} than {think.noun(task)} {3 - choice}."
  return stated


def formatted(text):
  """Whether the text states one verdict. Upstream has no format reward for these prompts."""
  return any(parse(text, task).answer is not None for task in think.NOUNS)


def answered(text, task):
  """The verdict as parse() reads it: upstream's rule for text without tags is the whole text."""
  return parse(text, task).answer


def _claim(noun):
  """Finds verdicts; the group `opens` took part only where one opens its sentence."""
  return re.compile(
    rf"(?P<opens>\A[\s*\"':]*|(?:\n|[.!?]\s)[ \t*\"':]*)?\b"
    rf"(?P<claim>{noun} (?P<choice>[12]) is better)(?: than {noun} (?P<other>[12]))?"
    r"(?=[*\"']*(?:[.!](?!\d)|[*\"',\s]*\Z|[ \t]*\n))"
  )
