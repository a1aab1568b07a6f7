"""Majority votes: early stopping, and the verdict of a pair from the votes of both orders."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cot_rm import prompts
from cot_rm.schema import Choice, Example, PairVerdict, Verdict, Votes


class Decided:
  """Early stopping of majority votes: `stop_group` of Policy.sample.

  A prompt is decided when its missing votes cannot change its majority and, where examples are
  asked in both orders, cannot change the majority of both. An unparsable vote counts for neither
  candidate.
  """

  def __init__(
    self, examples: Sequence[Example], *, grammar: str, n: int, swapped: bool = False
  ) -> None:
    """
    Args:
      examples: in the order of the prompts.
      grammar: name of the grammar.
      n: votes per prompt.
      swapped: the second half of the examples are the first half with exchanged candidates.
    """
    self.examples, self.n = examples, n
    self.half = len(examples) // 2 if swapped else None
    self._grammar = prompts.get(grammar)
    self._texts: dict[int, Sequence[str]] = {}  # of each prompt, so far
    self._answers: dict[tuple[str, str], Choice | None] = {}  # by task and text, each parsed once

  def __call__(self, index: int, texts: Sequence[str]) -> bool:
    """Whether prompt `index` needs no more votes than the `texts` it has."""
    self._texts[index] = texts
    lead, missing = self._standing(index)
    if abs(lead) <= missing:
      return False
    if self.half is None:
      return True
    other_lead, other_missing = self._standing((index + self.half) % len(self.examples))
    # With exchanged candidates a vote counts for the other one.
    return abs(lead - other_lead) > missing + other_missing

  def _standing(self, index: int) -> tuple[int, int]:
    """(votes for 1 minus votes for 2, missing votes)."""
    texts = self._texts.get(index, ())
    counts = collections.Counter(self._answer(index, text) for text in texts)
    return counts[1] - counts[2], self.n - len(texts)

  def _answer(self, index: int, text: str) -> Choice | None:
    task = self.examples[index].task
    if (task, text) not in self._answers:
      self._answers[task, text] = self._grammar.parse(text, task).answer
    return self._answers[task, text]


def combine(verdicts: Sequence[Verdict], swapped: Sequence[Verdict] | None = None) -> PairVerdict:
  """The verdict about a pair.

  All parsable votes of both orders weigh alike. The answer is the candidate with more votes, of
  equal votes the one whose mean probability over the votes is higher (candidate 1 at a half). The
  probability is the answer's mean probability, and a half where that is less: a majority of unsure
  votes against fewer sure ones. So the answer is never the less probable candidate.

  Args:
    verdicts: the votes about the pair as given, one or more.
    swapped: the votes about the pair with exchanged candidates; None: that order was not asked.
  """
  orders = [_order(verdicts, swapped=False)]
  if swapped is not None:
    orders.append(_order(swapped, swapped=True))
  votes = Votes(*(sum(counts) for counts in zip(*(order.votes for order in orders), strict=True)))
  p_first = _mean([p for order in orders for p in order.p_first])
  answer = _majority(votes, p_first)
  majorities = [_majority(order.votes, _mean(order.p_first)) for order in orders]
  # The reasoning shown ends in the answer; where none does, in the order as given, the first one.
  shown = next((v for v in verdicts if v.answer == answer), verdicts[0])
  return PairVerdict(
    answer=answer,
    probability=None if p_first is None else max(p_first if answer == 1 else 1 - p_first, 0.5),
    votes=votes,
    consistent=None if swapped is None else None not in majorities and len(set(majorities)) == 1,
    reasoning=shown.reasoning,
    scores=shown.scores,
    totals=shown.totals,
    error=shown.error if answer is None else None,
  )


class _Order(NamedTuple):
  """The votes of one order, counted for the candidates of the pair as given."""

  votes: Votes
  p_first: list[float]  # P(candidate 1) of each parsable vote


def _order(verdicts: Sequence[Verdict], *, swapped: bool) -> _Order:
  answers = [v.answer for v in verdicts]
  first, second = answers.count(1), answers.count(2)
  if swapped:
    first, second = second, first
  votes = Votes(first, second, answers.count(None))
  return _Order(votes, first_probabilities(verdicts, swapped=swapped))


def first_probabilities(verdicts: Sequence[Verdict], *, swapped: bool = False) -> list[float]:
  """P(candidate 1 of the pair as given) by each parsable vote.

  swapped: the votes are about the pair with exchanged candidates.
  """
  p_first = [_p_first(v) for v in verdicts if v.answer is not None]
  return [1 - p for p in p_first] if swapped else p_first


def _mean(probabilities: Sequence[float]) -> float | None:
  return float(np.mean(probabilities)) if probabilities else None


def _p_first(verdict: Verdict) -> float:
  """P(candidate 1) of a parsable verdict."""
  if verdict.probability is None:
    raise ValueError("a parsable verdict has probability None; Judge.judge computes it")
  return verdict.probability if verdict.answer == 1 else 1 - verdict.probability


def _majority(votes: Votes, p_first: float | None) -> Choice | None:
  """The candidate with more votes; of equal votes the likelier one; None without a parsable vote.

  p_first: mean P(candidate 1) of the parsable votes; None: there is no such vote.
  """
  if p_first is None:
    return None
  if votes.first != votes.second:
    return 1 if votes.first > votes.second else 2
  return 1 if p_first >= 0.5 else 2
