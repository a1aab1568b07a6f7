"""A preference pair as an adapter reads it, before it is known which candidate is shown first."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import BadRecord, Choice, Example, Media, Task

# An answer, or in generation tasks an image or video; or what gives it once its pair is asked for:
# a picture that is missing spoils no other pair of its record.
Candidate = str | Media | Callable[[], Media]


@dataclasses.dataclass(frozen=True)
class Pair:
  """One comparison of a record.

  `shuffled` is for pairs whose better candidate is always the first in the data: which one is shown
  first is then drawn from the seed and the id, so that it depends on nothing else.
  """

  task: Task
  question: str
  candidates: tuple[Candidate, Candidate]
  gold: Choice | None  # the preferred candidate; None: unknown, or a tie that is kept
  tie: bool = False  # gold is None because people call the candidates equal, see Example.tie
  media: tuple[Media, ...] = ()  # understanding tasks: what the question is about
  shuffled: bool = False
  reasoning: str | None = None  # of the candidates in this order
  id: str = ""  # "": the name of the record
  source: str = ""  # "": the name of the adapter
  extra: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """A comparison that cannot be used, though nothing is wrong with its record."""

  reason: str  # a few words, the same for all of its kind: "tie"


class Adapter(Protocol):
  """The interface of an adapter module."""

  __name__: str

  def matches(self, record: Record) -> bool:
    """Whether a record has the layout's fields."""
    ...

  def pairs(self, row: Row) -> Iterator[Pair | LeftOut | Example]:
    """The comparisons of a record, always the same number. Raises BadRecord or BadMedia."""
    ...


def to_example(pair: Pair, id: str, source: str, seed: int, where: str) -> Example:
  """The Example of a pair.

  Args:
    pair: the comparison.
    id: of the example.
    source: the name of the adapter.
    seed: of the draw of the order.
    where: names the record in errors.

  Raises BadRecord if the question or an answer is blank, or an answer is no text.
  """
  first, second = (one() if callable(one) else one for one in pair.candidates)
  names = (
    ("the chosen answer", "the rejected answer") if pair.shuffled else ("answer 1", "answer 2")
  )
  texts = {"the question": pair.question}
  if not pair.task.endswith("generation"):
    texts |= dict(zip(names, (first, second), strict=True))
  for name, text in texts.items():
    if not isinstance(text, str) or not text.strip():
      raise BadRecord(f"{where}: {name} must be text that is not blank, not {text!r:.80}")
  gold, reasoning = pair.gold, pair.reasoning
  if pair.shuffled and second_first(id, seed):
    first, second = second, first
    gold = {1: 2, 2: 1, None: None}[gold]
  generation = pair.task.endswith("generation")
  try:
    return Example(
      id=id,
      source=pair.source or source,
      task=pair.task,
      question=pair.question,
      media=(first, second) if generation else pair.media,
      responses=() if generation else (first, second),
      gold=gold,
      reasoning=reasoning,
      extra={**pair.extra, "tie": True} if pair.tie else dict(pair.extra),
    )
  except (TypeError, ValueError) as error:
    raise BadRecord(f"{where}: {error}") from error


def second_first(id: str, seed: int) -> bool:
  """Whether the second candidate is shown first: a fair draw that depends on id and seed alone."""
  digest = hashlib.blake2b(f"{seed}:{id}".encode("utf-8", "surrogatepass"), digest_size=1).digest()
  return bool(digest[0] & 1)
