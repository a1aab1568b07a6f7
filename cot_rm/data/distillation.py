"""Judgements of a teacher on labelled pairs: attempts, difficulty, reasonings and statistics."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from cot_rm.schema import BadExample, BadRecord, Example

LeftOut = Callable[[int, str, BadExample], object]  # (index, id, error) of a bad example
OUTCOMES = ("verdict", "unparsable", "refused", "empty", "cut")  # of an answered call


class Reply(Protocol):
  """Result of one call of the teacher, as chat.Reply has it."""

  text: str | None
  prompt_tokens: int
  completion_tokens: int
  cached: bool

  @property
  def kind(self) -> str:
    """The kind of the error; "" if there is none."""

  @property
  def final(self) -> bool:
    """Whether the service answered."""


@dataclasses.dataclass
class Pair:
  """A labelled pair, and the teacher's replies so far."""

  index: int  # in the source
  id: str
  group: str  # source and task: the row of the statistics
  task: str
  gold: int  # 1 or 2, in the order in which the candidates are shown
  swapped: bool = False  # whether the candidates are shown in the other order than in the source
  replies: list[Reply] = dataclasses.field(default_factory=list)  # one per call
  verdicts: list[int | None] = dataclasses.field(default_factory=list)  # 1, 2, None; per attempt

  @property
  def correct(self) -> bool:
    """Whether the last verdict is the gold label."""
    return self.verdicts[-1:] == [self.gold]

  @property
  def bad(self) -> bool:
    """Whether the pair could not be asked: it is left out."""
    return bool(self.replies) and self.replies[-1].kind == "bad"

  @property
  def unanswered(self) -> bool:
    """Whether the last call had no answer, which says nothing about the pair."""
    return bool(self.replies) and not self.replies[-1].final and not self.bad

  @property
  def failed(self) -> bool:
    """Whether the teacher answered, and no verdict was correct."""
    return bool(self.verdicts) and not self.correct and not self.unanswered and not self.bad


def sample_pairs(
  source: Sequence[Example],
  *,
  count: int,
  tasks: Collection[str],
  seed: int,
  left_out: LeftOut | None = None,
) -> list[Pair]:
  """Draws pairs at random; candidates are swapped until golds are half 1 and half 2.

  Args:
    source: labelled examples.
    count: number of pairs; 0: all.
    tasks: tasks to take; empty: all.
    seed: of the random order and of the swaps.
    left_out: called with (index, id, error) of an example that cannot be read, has no gold, or has
      the id of another one; it is left out. None: the error is raised.

  Raises BadExample, see `left_out`, and ValueError if there is no pair.
  """
  rng, pairs, ids = np.random.default_rng(seed), [], set()
  for index in rng.permutation(len(source)).tolist():
    id = f"row {index + 1}"  # where it cannot be read
    try:
      example = source[index]
      if tasks and example.task not in tasks:
        continue
      id = example.id
      _check_labelled(example, ids)
    except BadExample as error:
      if left_out is None:
        raise
      left_out(index, id, error)
      continue
    ids.add(example.id)
    group = f"{example.source} {example.task.replace('_', ' ')}"
    pairs.append(Pair(index, example.id, group, example.task, example.gold))
    if len(pairs) == count:
      break
  if not pairs:
    wanted = f" with a task of {', '.join(tasks)}" if tasks else ""
    raise ValueError(f"none of {len(source):,} examples is a pair{wanted}; change tasks")
  for pair, gold in zip(pairs, rng.permutation(len(pairs)) % 2 + 1, strict=True):
    pair.swapped, pair.gold = bool(pair.gold != gold), int(gold)
  return pairs


def _check_labelled(example: Example, ids: Collection[str]) -> None:
  name = f"example {example.id!r}"
  if example.gold is None:
    raise BadExample(f"{name} has no gold answer to check judgements against")
  if example.id in ids:
    raise BadRecord(f"{name}: another example has the same id")


def shown_example(source: Sequence[Example], pair: Pair) -> Example:
  """The example as it is shown to the judge: in the pair's order, without a reference judgement."""
  example = source[pair.index]
  return dataclasses.replace(example.swapped() if pair.swapped else example, reasoning=None)


def distilled_example(
  source: Sequence[Example], pair: Pair, *, max_attempts: int, model: str
) -> Example:
  """The shown example with the teacher's attempts, and its reasoning if the verdict was correct.

  A pair without a correct verdict in `max_attempts` attempts has attempts max_attempts + 1, and
  extra["teacher"]["attempt"] is None.
  """
  reply, shown = pair.replies[-1], shown_example(source, pair)
  teacher = {
    "model": model,
    "attempt": len(pair.verdicts) if pair.correct else None,  # the correct one
    "limit": max_attempts,
    "verdicts": list(pair.verdicts),
    "swapped": pair.swapped,
    "tokens": [reply.prompt_tokens, reply.completion_tokens],  # of the last attempt
  }
  return dataclasses.replace(
    shown,
    reasoning=reply.text.strip() if pair.correct else None,
    attempts=len(pair.verdicts) if pair.correct else max_attempts + 1,
    extra={**shown.extra, "teacher": teacher},
  )


def count_outcomes(pairs: Sequence[Pair]) -> collections.Counter[str]:
  """Number of calls by outcome: one of OUTCOMES, or the kind of error of a call without answer."""
  kinds = collections.Counter()
  for pair in pairs:
    kinds.update(reply.kind for reply in pair.replies if not reply.final)
    answers = [reply for reply in pair.replies if reply.final]
    for reply, verdict in zip(answers, pair.verdicts, strict=True):
      kinds[reply.kind or ("verdict" if verdict else "unparsable")] += 1
  return kinds


def difficulty(pairs: Sequence[Pair], *, max_attempts: int) -> dict[str, float]:
  """Number of pairs that took 1, 2, ... attempts, and the fraction correct at the first one."""
  took = collections.Counter(len(pair.verdicts) for pair in pairs if pair.correct)
  answered = sum(bool(pair.verdicts) for pair in pairs)
  return {
    "pairs": len(pairs),
    "agreement@1": took[1] / max(answered, 1),
    **{str(attempt): took[attempt] for attempt in range(1, max_attempts + 1)},
    "failed": sum(pair.failed for pair in pairs),
  }


def statistics(pairs: Sequence[Pair], *, max_attempts: int) -> Mapping[str, float | dict]:
  """{name: number} of all pairs, and "by_source": the difficulty by source and task."""
  replies = [reply for pair in pairs for reply in pair.replies]
  kinds, groups = count_outcomes(pairs), {}
  for pair in pairs:
    groups.setdefault(pair.group, []).append(pair)
  if len(groups) > 1:
    groups["all"] = pairs
  by_source = {
    name: difficulty(members, max_attempts=max_attempts) for name, members in groups.items()
  }
  return {
    "pairs": len(pairs),
    "agreement@1": difficulty(pairs, max_attempts=max_attempts)["agreement@1"],
    "kept": sum(pair.correct for pair in pairs),
    "failed": sum(pair.failed for pair in pairs),
    "unanswered": sum(pair.unanswered for pair in pairs),
    **{kind: kinds[kind] for kind in OUTCOMES[1:]},
    "calls": len(replies),
    "calls_cached": sum(reply.cached for reply in replies),
    "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
    "completion_tokens": sum(reply.completion_tokens for reply in replies),
    "by_source": by_source,
  }
