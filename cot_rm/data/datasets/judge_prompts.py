"""Takes a judge's rendered prompt apart, and reads the verdict of a published answer.

A prompt of one of our grammars is inverted exactly. Prompts of other wordings are taken apart at
the labels that they share ("Question: [", "Answer 1: [", ...), as only the question and the answers
are kept of a prompt.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cot_rm import prompts
from cot_rm.data.datasets.pair import LeftOut
from cot_rm.data.datasets.row import Row
from cot_rm.schema import Choice, Media, Task

_MARK = re.compile(r"<(image|video)>", re.IGNORECASE)
_MARKS = re.compile(r"(?<!\s)\s*+(?:<(?:image|video)>\s*+)+", re.IGNORECASE)
_SHOWN = 80  # characters of a text in errors


def _paragraph(group: str) -> str:
  """The pattern of a text on lines of its own; each run of white space is looked at once."""
  return rf"[ \t]*+\n\s*+(?P<{group}>\S(?:.*?\S)??)\s*\n[ \t]*+"


# (pattern with the groups q, and a and b in understanding tasks) of prompts by other wordings.
_WORDINGS = tuple(
  re.compile(pattern, re.DOTALL)
  for pattern in (
    # R1-Reward's longer prompt (arXiv:2505.02835, the release), and others with its headings
    rf"\[Question\]:{_paragraph('q')}#+ \[Response 1\]:{_paragraph('a')}"
    rf"#+ \[Response 2\]:{_paragraph('b')}#+ \*{{0,2}}Output Format",
    # UnifiedReward-Think for Qwen3-VL
    r"following question: 「(?P<q>.*?)」.*?\n\s*- Answer 1: (?P<a>.*?)\n\s*- Answer 2: (?P<b>.*?)"
    r"\n\s*\n\s*2\. You must",
    r"The question is: 「(?P<q>.*?)」\. .*?\n\s*Answer 1: 「(?P<a>.*?)」"
    r"\n\s*Answer 2: 「(?P<b>.*?)」\n\s*\n\s*2\. You must",
    r"The caption for the generated (?:images|videos) is: 「(?P<q>.*?)」",
    # UnifiedReward, LLaVA-Critic: fields in brackets, to the end of the prompt
    r"Question: \[(?P<q>.*)\]\s*\n(?:The first response|Response 1|Answer 1): \[(?P<a>.*)\]\s*\n"
    r"(?:The second response|Response 2|Answer 2): \[(?P<b>.*)\]\s*(?:ASSISTANT:\s*)?\Z",
    r"Question: (?P<q>.*?)\n(?:Answer 1|Response 1|The first response): (?P<a>.*?)"
    r"\n(?:Answer 2|Response 2|The second response): (?P<b>.*?)"
    r"(?:\nPlease evaluate both answers based on .*)?\Z",
    r"(?:Text )?Caption: \[(?P<q>.*)\]\s*\Z",
  )
)
_PAIRWISE = re.compile(
  r"\b(?:two|both|these) (?:\w+ )?(?:images|videos)\b|\b(?:image|video) [12]\b", re.IGNORECASE
)
_CAPTION = re.compile(r"Caption: \[")
_POINTWISE = re.compile(
  r"Final Score|\bscore (?:it|this)|how much do you rate|\bResponse: \[|Score \(1-5\)|"
  r"rate (?:the|this) (?:response|image|video)|\[?Model'?s? Response\]?:",
  re.IGNORECASE,
)
_TIE = re.compile(
  r"equally (?:good|bad|well)|\b(?:a|is) tie\b|same quality|equal in quality", re.IGNORECASE
)
_CLAIM = re.compile(
  r"\b(?:(?:image|video|answer|response) (?P<digit>[12])|the (?P<word>first|second) "
  r"(?:image|video|answer|response))(?:[*\]\"']*) is (?:\w+ly |much |also )*"
  r"(?:the )?(?:better|best|preferred|preferable|superior)",
  re.IGNORECASE,
)


class Question(NamedTuple):
  """What a judge's prompt asks."""

  task: Task
  question: str
  responses: tuple[str, ...]  # two in understanding tasks
  grammar: str  # name of the grammar that renders the prompt; "": none


def without_marks(text: str) -> str:
  """The text without <image> and <video> marks: media come first, so their places do not count."""

  def joint(match: re.Match[str]) -> str:
    if match.start() == 0 or match.end() == len(text):
      return ""
    return "\n" if "\n" in match[0] else " " if match[0] != match[0].strip() else ""

  return _MARKS.sub(joint, text) if _MARK.search(text) else text


def marks(text: str) -> list[str]:
  """The kinds of the marks of a text in their order: "image", "video"."""
  return [kind.lower() for kind in _MARK.findall(text)]


def check_media(row: Row, text: str, media: Sequence[Media]) -> None:
  """Raises BadRecord where a text has marks of media, and the record names no media."""
  if not media and (found := marks(text)):
    row.fail(f"the text has the mark <{found[0]}>, and the record names no picture and no video")


def question(row: Row, prompt: str, kind: str, known: str = "") -> Question | LeftOut:
  """What a judge's prompt asks.

  Args:
    row: for errors.
    prompt: the text of the user's turn, marks of media included.
    kind: "image" or "video": of the record's media, where the prompt does not say it.
    known: the question, if the record has it apart: decides between several ways to take the
      prompt apart.

  Raises BadRecord if the prompt can be taken apart in no way, or in several.
  """
  text = _stripped(prompt.replace("\r\n", "\n"))
  own = _stripped(prompt)  # line ends within the texts are theirs, unless the whole prompt has them
  for name, grammar in prompts.PROMPTS.items():
    for task in _tasks(kind):
      ways = next(filter(None, (grammar.invert(t, task) for t in _forms(own, text))), [])
      if name == "brief" and len(ways) != 1:
        continue  # too short to tell: other wordings begin with the same words
      if ways:
        way = _the_only(row, ways, known, name)
        return Question(task, way.question, way.responses, name)
  for wording in _WORDINGS:
    if match := wording.search(own) or wording.search(text):
      found = match.groupdict()
      if "a" not in found and not _PAIRWISE.search(text):
        break
      responses = (found["a"], found["b"]) if "a" in found else ()
      return Question(_task(text, kind, not responses), found["q"], responses, "")
  if _POINTWISE.search(text) or _CAPTION.search(text):
    return LeftOut("pointwise: one candidate is scored")
  row.fail(f"a prompt that no grammar renders: {text[:_SHOWN]!r}...{text[-_SHOWN:]!r}")


def verdict(text: str, task: Task) -> Choice | LeftOut:
  """The candidate that a published answer prefers, by the parsers of our grammars, strictly.

  An answer without tags may also word it as LLaVA-Critic's do ("The first response is better"); the
  last such sentence counts.
  """
  text = text.strip()
  errors = []
  for name in ("think", "r1_reward", "direct"):
    found = prompts.PROMPTS[name].parse(text, task)
    if found.answer is not None:
      return found.answer
    errors.append(found.error)
  plain = text.removeprefix("<answer>").removesuffix("</answer>").strip()
  if plain in ("1", "2"):
    return 1 if plain == "1" else 2
  if plain != text and "<" not in plain:  # <answer> alone
    return verdict(plain, task)
  if any(_TIE.search(said) for said in re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)[-1:]):
    return LeftOut("tie")
  if "<" in text and ">" in text:
    return LeftOut("no verdict in the answer's tags")
  claims = list(_CLAIM.finditer(text))
  if not claims:
    return LeftOut("tie" if _TIE.search(text) else "no verdict in the answer")
  if _TIE.search(text, claims[-1].end()):
    return LeftOut("tie")
  return 1 if claims[-1]["digit"] == "1" or (claims[-1]["word"] or "").lower() == "first" else 2


def grammar_of(text: str, task: Task) -> str:
  """The name of the grammar that an answer is written in; "" if in none."""
  for name in ("think", "r1_reward", "direct"):
    if prompts.PROMPTS[name].parse(text, task).answer is not None:
      return name
  return ""


def _forms(own: str, text: str) -> Iterator[str]:
  """The forms in which a prompt may be one of a grammar: as it is, with line feeds alone."""
  for one in dict.fromkeys((own, text)):
    yield one
    if one.strip() != one:
      yield one.strip()


def _stripped(text: str) -> str:
  """The prompt without the marks before and after it."""
  found = list(_MARKS.finditer(text)) if _MARK.search(text) else []
  if found and found[-1].end() == len(text):
    text = text[: found[-1].start()]
  return text[found[0].end() :] if found and found[0].start() == 0 else text


def _tasks(kind: str) -> Sequence[Task]:
  """All tasks, those of a kind of media first."""
  first, second = ("video", "image") if kind == "video" else ("image", "video")
  return [f"{k}_{what}" for k in (first, second) for what in ("understanding", "generation")]


def _task(text: str, kind: str, generation: bool) -> Task:
  says = {k: len(re.findall(rf"\b{k}s?\b", text, re.IGNORECASE)) for k in ("image", "video")}
  if says["image"] != says["video"]:
    kind = max(says, key=says.get)
  return f"{kind}_{'generation' if generation else 'understanding'}"


def _the_only(row: Row, ways: Sequence, known: str, name: str):
  if len(ways) > 1 and known:
    asked = without_marks(known).strip()
    ways = [way for way in ways if without_marks(way.question).strip() == asked] or ways
  if len(ways) > 1:
    row.fail(
      f"the prompt (grammar {name!r}) can be taken apart in {len(ways)} ways, because a text in it "
      f"holds what stands between the question and the answers"
    )
  return ways[0]
