"""UnifiedReward's direct prompts: the verdict is a sentence, "Image 1 is better.", without tags."""

import functools
import re

from cot_rm.prompts import tags, template, think
from cot_rm.schema import TASKS, TIE, Choice, Example, Message, Task, Verdict

WRITES_SCORES: bool = False
_OVERALL = "Overall Judgment"
_TIE = re.compile(r"Both (?:images|videos|answers) are equally good")


def render(example: Example) -> list[Message]:
  """Messages with the task's prompt. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  if example.places:
    text = think.mixed(template.text("direct_mixed"), example.task)
    return template.mixed_messages(example, text)
  prompt = template.fill(template.text(f"direct_{example.task}"), template.fields(example))
  return template.messages(example, prompt)


def invert(prompt: str, task: Task) -> list[template.Inverted]:
  """Every way in which render() makes this prompt."""
  return template.invert(template.text(f"direct_{task}"), template.names(task), prompt)


def parse(text: str, task: Task) -> Verdict:
  """The verdict of the sentence that states it: "Image 1 is better", "... than Image 2".

  The sentence ends in a dot or with its line. Explanations before and after it may praise either
  candidate ("Image 2 is better lit"), but no other verdict may name the other candidate, and
  nothing after it may take it back (`_retraction`): such a text has no verdict. If the text has an
  "Overall Judgment", only the text after it counts. A tie is no answer.

  Upstream's scripts search the output for the right verdict, and count a text with both as right.
  """
  noun = think.noun(task)
  if any(tag in text for tag in tags.TAGS):
    return Verdict(None, error="tags, which no direct prompt asks for")
  if text.count(_OVERALL) > 1:
    return Verdict(None, error=f"{text.count(_OVERALL)} times {_OVERALL!r}")
  start = text.find(_OVERALL) + len(_OVERALL) if _OVERALL in text else 0
  judgement = text[start:]
  if _TIE.search(judgement):
    return Verdict(None, error=TIE)
  claims = list(_claim(noun).finditer(judgement))
  stated = [claim for claim in claims if claim["opens"] is not None]
  if not stated:
    return Verdict(None, error="no sentence that states a verdict")
  if len({claim["choice"] for claim in claims}) > 1:
    return Verdict(None, error="verdicts for both candidates")
  choice, other = stated[0]["choice"], stated[0]["other"]
  if choice == other:
    return Verdict(None, error=f"{noun} {choice} compared with itself")
  if found := _retraction(noun, choice).search(judgement, stated[0].end()):
    return Verdict(None, error=f"a verdict that is taken back: {found[0].strip()[:40]!r}")
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


unreasoned = solution


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


@functools.cache
def _retraction(noun: str, choice: str) -> re.Pattern[str]:
  """Pattern of what takes back the verdict that `choice` is better.

  A word of reconsideration that opens a sentence ("Wait", "No,", "On second thought"), the verdict
  called wrong, the chosen candidate denied or called worse, or the other one preferred in other
  words than a verdict's.
  """
  other = "2" if choice == "1" else "1"
  degree = r"(?:\w+,? ){0,3}?"
  end = r"(?=\W*(?:\Z|[.!?,;:\n]| than| overall| here| after all| choice| option| one\b))"
  better = rf"(?:better|best|superior|preferable|preferred|stronger|(?:the )?winner){end}"
  opens = (
    r"(?:wait|no|nope|hold on|hang on|hmm+|oops|sorry|correction|scratch that|never ?mind|actually"
    r"|on (?:second|further|closer|re)\W?\w*|in hindsight|just kidding|strike that|my mistake"
    r"|let me (?:re\w+|correct|rethink)|i (?:take|was|made|misread|misspoke|meant|stand corrected)"
    r"|not really|or not|or rather)\b"
  )
  named = rf"(?:{noun} {choice}|it|this one)"
  return re.compile(
    rf"(?:\A|[.!?\n;])[\s*\"'(—-]{{0,8}}(?:but |however,? |and yet,? )?{opens}"
    r"|\b(?:this|that|it|which|(?:verdict|judge?ment|conclusion|statement|claim|answer)(?: above)?)"
    r"(?: is|'s| was| would be) (?:\w+ )?"
    r"(?:wrong|incorrect|false|untrue|mistaken|(?:a|my) mistake"
    r"|not (?:true|right|correct|so|the case))\b"
    rf"|\b{named} (?:is|was)(?:n't| {degree}not) {degree}{better}"
    rf"|\b{noun} {choice} (?:loses\b|(?:is|was) {degree}(?:worse|inferior|the loser){end})"
    rf"|\b(?:not|never|n't|doubt)\b[^.!?\n]{{0,80}}\b{noun} {choice} is better"
    rf"|\b{noun} {other} (?:is|was|seems|would be|should be) {degree}{better}"
    rf"|\b{noun} {other} (?:wins|should win|beats|is to be preferred)\b"
    rf"|\b(?:prefer|choose|pick|go with|favou?r|select)\w* {noun} {other}\b",
    re.IGNORECASE,
  )
