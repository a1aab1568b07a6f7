"""Pairs from labels: two candidates with a label, and ranked candidates of which pairs are made."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from cot_rm.data.datasets.pair import Candidate, LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.schema import Choice, Media, Task

Preferred = Callable[[int, int], Choice | LeftOut]

SAME = LeftOut("both candidates are the same")


def same_text(first: object, second: object) -> bool:
  """Whether two answers differ by white space at their ends at most."""
  return isinstance(first, str) and isinstance(second, str) and first.strip() == second.strip()


def labelled(
  row: Row,
  task: Task,
  question: str,
  candidates: tuple[Candidate, Candidate],
  gold: Choice | LeftOut,
  *,
  media: tuple[Media, ...] = (),
  shuffled: bool = False,
  id: str = "",
  source: str = "",
  extra: dict[str, object] | None = None,
) -> Iterator[Pair | LeftOut]:
  """The pair of two candidates; one without a preferred candidate as `ties` says."""
  if same_text(*candidates):
    yield SAME
    return
  if isinstance(gold, LeftOut) and not (gold.reason == "tie" and row.options.ties == "keep"):
    yield gold
    return
  yield Pair(
    task=task,
    question=question,
    candidates=candidates,
    gold=None if isinstance(gold, LeftOut) else gold,
    tie=isinstance(gold, LeftOut),
    media=media,
    shuffled=shuffled,
    id=id or row.id(),
    source=source,
    extra=extra or {},
  )


def by_score(first: float | None, second: float | None) -> Choice | LeftOut:
  """The candidate with the higher score."""
  if first is None or second is None or first != first or second != second:  # None or NaN
    return LeftOut("no label")
  return LeftOut("tie") if first == second else 1 if first > second else 2


def ranked(
  row: Row,
  task: Task,
  question: str,
  candidates: Sequence[Candidate],
  preferred: Preferred,
  *,
  media: tuple[Media, ...] = (),
  id: str = "",
  source: str = "",
  extra: dict[str, object] | None = None,
) -> Iterator[Pair | LeftOut]:
  """Pairs of ranked candidates: all of unequal rank, or the best with the worst.

  The best is the candidate that is preferred to most others, the first of several; the worst
  likewise. As lists are often sorted, the order of a pair is drawn.

  Args:
    row: the record; its options say which pairs are made, and what becomes of ties.
    candidates: answers or media.
    preferred: (i, j) -> which of candidates i and j is preferred, or why none is.
  """
  numbers = list(itertools.combinations(range(len(candidates)), 2))
  if row.options.pairs == "best_worst" and numbers:
    wins = [0] * len(candidates)
    for i, j in numbers:
      found = preferred(i, j)
      if not isinstance(found, LeftOut):
        wins[i if found == 1 else j] += 1
        wins[j if found == 1 else i] -= 1
    best, worst = wins.index(max(wins)), wins.index(min(wins))
    numbers = [(min(best, worst), max(best, worst))] if best != worst else numbers[:1]
  for i, j in numbers:
    yield from labelled(
      row,
      task,
      question,
      (candidates[i], candidates[j]),
      preferred(i, j),
      media=media,
      shuffled=True,
      id=f"{id or row.id() or row.name}-{i}-{j}",
      source=source,
      extra=extra,
    )
