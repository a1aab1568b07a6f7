"""Sample cards: question, pictures, candidates, the model's answer, its verdict and rewards."""

import itertools
import json
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from etils import epath

from cot_rm import metrics

Kind = Literal["best", "worst", "sample"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Outcome = Literal["right", "wrong", "unparsable", "unknown"]  # also a CSS class of the page
MARKS: dict[Outcome, str] = {"right": "✓ ", "wrong": "✗ ", "unparsable": "? ", "unknown": ""}
MAX_UNSELECTED = 12  # cards of the kind "sample" that are shown for a stage
# For a `reasoning_ok` that is no text.
REASONING = {True: "description matches the scene", False: "description contradicts the scene"}


class Card(NamedTuple):
  """A judgement, ready to be shown."""

  id: str
  task: str
  question: str
  responses: list[str]  # texts of the candidates, for understanding tasks
  gold: int | None  # the preferred candidate, 1 or 2
  text: str  # the model's answer
  media: list[list[str]]  # data URLs: a list for each picture or video
  generation: bool  # whether the media are the candidates
  outcome: Outcome
  verdict: str  # the verdict in words
  rewards: list[tuple[str, str]]  # (name, value)
  note: str  # about the reasoning
  mixed: list[list[str | list[str]]]  # question and candidates, each a list of texts and of media,
  # of a pair that mixes both; [] of other pairs


class Newest(NamedTuple):
  """The newest samples of a stage."""

  step: str
  by_kind: dict[Kind, list[Card]]


def newest(folder: epath.Path) -> Newest | None:
  """The cards of the newest samples/<step>.jsonl of a stage; None if there is no such file.

  Raises:
    ValueError: a record is of an unknown kind.
  """
  files = sorted(folder.glob("samples/*.jsonl"), key=lambda path: (len(path.stem), path.stem))
  if not files:
    return None
  by_kind: dict[Kind, list[Card]] = {kind: [] for kind in KINDS}
  for line in files[-1].read_text().splitlines():
    record = json.loads(line)
    kind = record.get("kind", "sample")
    if kind not in by_kind:
      raise ValueError(
        f"{files[-1]}: sample {record['id']!r} is of the kind {kind!r}; known: {', '.join(KINDS)}"
      )
    by_kind[kind].append(card(record))
  by_kind["sample"] = by_kind["sample"][:MAX_UNSELECTED]
  return Newest(files[-1].stem.lstrip("0"), by_kind)


def card(record: Mapping[str, object]) -> Card:
  """The card of a sample record.

  Args:
    record: as data.sample_records.to_record makes it: id, task, question, responses, gold, text,
      answer, rewards {name: number}, media (each a data URL, or a list of them for the frames of a
      video), places of the media in the texts if the pair mixes both, and reasoning_ok: a note on
      the reasoning, or true, false or null.

  Raises:
    ValueError: a medium is no data URL of a picture; names the sample.
  """
  media = [item if isinstance(item, list) else [item] for item in record["media"]]
  for url in (url for frames in media for url in frames):
    if not url.startswith("data:image/"):
      raise ValueError(
        f"sample {record['id']!r}: media must be data URLs of pictures, not {url[:40]!r}"
      )
  outcome, reasoning = _outcome(record["answer"], record["gold"]), record["reasoning_ok"]
  return Card(
    **{name: record[name] for name in ("id", "gold", "question", "responses", "text")},
    task=record["task"].replace("_", " "),
    media=media,
    generation=record["task"].endswith("generation"),
    outcome=outcome,
    verdict=MARKS[outcome] + _verdict_text(record["answer"], record["gold"]),
    rewards=[(name, metrics.format_value(value)) for name, value in record["rewards"].items()],
    note=reasoning if isinstance(reasoning, str) else REASONING.get(reasoning, ""),
    mixed=_mixed(record, media),
  )


def _mixed(record: Mapping[str, object], media: list[list[str]]) -> list[list[str | list[str]]]:
  """The texts of a pair with its media in their places; [] of a pair that does not mix both."""
  out, left = [], iter(media)
  texts = [record["question"], *(record["responses"] or ("", ""))]
  for text, places in zip(texts, record.get("places", ()), strict=False):
    bounds = [0, *places, len(text)]
    pieces = [text[: bounds[1]]]
    for start, end in itertools.pairwise(bounds[1:]):
      pieces += [next(left), text[start:end]]
    out.append([piece for piece in pieces if piece])
  return out


def _outcome(answer: int | None, gold: int | None) -> Outcome:
  if answer is None:
    return "unparsable"
  if gold is None:
    return "unknown"
  return "right" if answer == gold else "wrong"


def _verdict_text(answer: int | None, gold: int | None) -> str:
  verdict = "no verdict" if answer is None else f"verdict {answer}"
  return verdict if gold is None else f"{verdict}, preferred {gold}"
