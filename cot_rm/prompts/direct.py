"""UnifiedReward's direct prompts: the verdict is a sentence, "Image 1 is better.", without tags."""

import re

from cot_rm.prompts import tags, template, think
from cot_rm.schema import TASKS, Choice, Example, Message, Task, Verdict

WRITES_SCORES: bool = False
_OVERALL = "Overall Judgment"
_TIE = re.compile(r"Both (?:images|videos|answers) are equally good")


def render(example: Example) -> list[Message]:
  """Messages with the task's prompt. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  prompt = template.fill(template.text(f"direct_{example.task}"), template.fields(example))
  return template.messages(example, prompt)


def invert(prompt: str, task: Task) -> list[template.Inverted]:
  """Every way in which render() makes this prompt."""
  return template.invert(template.text(f"direct_{task}"), template.names(task), prompt)


def parse(text: str, task: Task) -> Verdict:
  """The verdict of the sentence that states it: "Image 1 is better", "... than Image 2".

  The sentence ends in a dot or with its line. Explanations before and after it may praise either
  candidate ("Image 2 is better lit"), but no other verdict may name the other candidate. If the
  text has an "Overall Judgment", only the text after it counts. A tie is no answer.
  """
  noun = think.noun(task)
  if any(tag in text for tag in tags.TAGS):
    return Verdict(None, error="tags, which no direct prompt asks for")
  if text.count(_OVERALL) > 1:
    return Verdict(None, error=f"{text.count(_OVERALL)} times {_OVERALL!r}")
  start = text.find(_OVERALL) + len(_OVERALL) if _OVERALL in text else 0
  judgement = text[start:]
  if _TIE.search(judgement):
    return Verdict(None, error="a tie")
  claims = list(_claim(noun).finditer(judgement))
  stated = [claim for claim in claims if claim["opens"] is not None]
  if not stated:
    return Verdict(None, error="no sentence that states a verdict")
  if len({claim["choice"] for claim in claims}) > 1:
    return Verdict(None, error="verdicts for both candidates")
  choice, other = stated[0]["choice"], stated[0]["other"]
  if choice == other:
    return Verdict(None, error=f"{noun} {choice} compared with itself")
  digit = start + stated[0].start("choice")
  around = text[: start + stated[0].start("claim")] + text[start + stated[0].end() :]
  reasoning = around.replace(_OVERALL, "").strip(" \n*:.")
  return Verdict(tags.choice(choice), reasoning, span=(digit, digit + 1))


def solution(task: Task, choice: Choice) -> str:
  """The shortest whole answer that states `choice`, as the prompt's own example words it."""
  stated = think.solution(task, choice)
  if task == "video_understanding":
    return f"{_OVERALL}: {stated} than {think.noun(task)} {3 - choice}."
  return stated


def formatted(text: str) -> bool:
  """Whether the text states one verdict. Upstream has no format reward for these prompts."""
  return any(parse(text, task).answer is not None for task in TASKS)


def answered(text: str, task: Task) -> Choice | None:
  """The choice as parse() reads it: upstream reads the whole text where it has no tags."""
  return parse(text, task).answer


def _claim(noun: str) -> re.Pattern[str]:
  """Pattern of a verdict; the group `opens` matches only where the verdict opens a sentence."""
  return re.compile(
    rf"(?P<opens>\A[\s*\"':]*|(?:\n|[.!?]\s)[ \t*\"':]*)?\b"
    rf"(?P<claim>{noun} (?P<choice>[12]) is better)(?: than {noun} (?P<other>[12]))?"
    r"(?=[*\"']*(?:[.!](?!\d)|[*\"',\s]*\Z|[ \t]*\n))"
  )
