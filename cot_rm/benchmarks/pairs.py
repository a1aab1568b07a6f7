"""Accuracy on preference pairs, each asked in both orders."""

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple, NotRequired, Protocol, TypedDict, TypeVar

import numpy as np

from cot_rm import registry
from cot_rm.benchmarks import definitions, intervals, rules
from cot_rm.schema import Example, Judged, Task

Judgements = Sequence[Judged | None]  # one per pair; None: the pair was not asked in this order
# `(text, example)`: share of the described scene that is true, from 0 to 1; None: unknown.
Fidelity = Callable[[str, Example], float | None]
# `(text, task)`: whether the reasoning is against the verdict; None: unknown.
Contradicts = Callable[[str, Task], bool | None]
Sampling = TypeVar("Sampling", contravariant=True)  # type of the judge's sampling settings

MODES: dict[str, rules.Rule] = {
  "both": rules.Rule(),
  "first": rules.Rule(orders=rules.first),  # as given in the data
}


class Figures(TypedDict):
  """The figures of a set of pairs; shares and means are rounded to 6 places. See `tally`."""

  accuracy: float
  first_slot_accuracy: float
  parse_rate: float
  mean_length: float
  cut: float
  order_consistency: NotRequired[float]
  accuracy_parsed: NotRequired[float]
  verdict_slots: NotRequired[float]
  accuracy_plus: NotRequired[float]
  fidelity: NotRequired[float]
  contradictions: NotRequired[float]
  contradictions_decided: NotRequired[float]
  families: dict[str, float]
  accuracy_pictures: NotRequired[float]
  n: int
  intervals: dict[str, list[float]]
  definitions: dict[str, definitions.Definition]
  accuracy_macro: NotRequired[float]  # of VL-RewardBench
  families_plus: NotRequired[dict[str, float]]  # of MM-RLHF-RewardBench


class BothOrders(Protocol[Sampling]):
  """The method of a judge that `evaluate` calls."""

  def judge_both_orders(
    self,
    examples: Sequence[Example],
    *,
    grammar: str,
    n: int,
    sampling: Sampling,
    seed: int,
    progress: Callable[[int], None] | None,
  ) -> tuple[Sequence[Judged], Sequence[Judged]]: ...


def score(
  judgements: Judgements,
  swapped: Judgements,
  *,
  mode: str = "both",
  fidelity: Fidelity | None = None,
  contradicts: Contradicts | None = None,
) -> Figures:
  """`tally` by task; `mode` is a name in MODES."""
  rule = registry.lookup(MODES, mode, "mode")
  return tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)


def tally(
  judgements: Judgements,
  swapped: Judgements,
  rule: rules.Rule,
  *,
  fidelity: Fidelity | None = None,
  contradicts: Contradicts | None = None,
) -> Figures:
  """The figures of a set of pairs.

  Args:
    judgements: one per pair in the order as given, None where that order was not asked. Only the
      first completion of each is scored.
    swapped: the same with the candidates exchanged.
    rule: the benchmark's orders, families and clusters.
    fidelity: computes the figure of that name from a text; None: the figure is left out.
    contradicts: computes the figures "contradictions..." from a text; None: they are left out.

  Returns:
    accuracy: share of right verdicts over the orders asked; an unparsable verdict is wrong.
    first_slot_accuracy: accuracy on the examples whose gold answer is candidate 1.
    order_consistency: share of pairs whose two orders name the same candidate, of the pairs that
      were asked in both orders, if there are any.
    parse_rate: share of completions inside the grammar.
    accuracy_parsed: share of right verdicts among the parsable completions, if there are any.
    verdict_slots: share of verdicts for candidate 1 among these.
    mean_length: mean number of tokens of a completion.
    cut: share of completions that reached the limit of tokens.
    fidelity: mean of `fidelity` over the completions for which it is not None.
    contradictions: share of the parsable completions whose reasoning is against the verdict.
    contradictions_decided: share of the parsable completions for which `contradicts` is not None.
    families: {family: accuracy}.
    accuracy_plus: only if the rule has questions: share of questions whose pairs are all right in
      one order, averaged over the orders asked.
    accuracy_pictures: mean accuracy of the families without video; left out if there is no such.
    n: number of pairs.
    intervals: {figure: [low, high]}, 95 %, of accuracy, first_slot_accuracy, order_consistency,
      accuracy_plus and, as "families/<family>", of each family; see `intervals.share`. The
      clusters are the rule's, else the pairs.
    definitions: {figure: its definition}, see `definitions.describe`.

  Raises:
    ValueError: no pairs, or a pair without a gold answer.
  """
  asked = rules.flatten(judgements, swapped)
  table = _tabulate(asked, rule)
  numbers = _numbers(asked, table)
  bounds = {"accuracy": intervals.share(table.right, table.clusters)}
  if (first := table.first).any():
    bounds["first_slot_accuracy"] = intervals.share(table.right[first], table.clusters[first])
  if agree := _agreement(judgements, swapped):
    values = [*agree.values()]
    numbers["order_consistency"] = _Number(np.mean(values), len(values))
    bounds["order_consistency"] = intervals.share(values, [table.labels[row] for row in agree])
  if parsed := int(table.parsed.sum()):
    numbers["accuracy_parsed"] = _Number(table.right[table.parsed].mean(), parsed)
    numbers["verdict_slots"] = _Number(table.answers.count(1) / parsed, parsed)
  if rule.question:
    joint = rules.joint_accuracy(table.right, asked.cells, [*map(rule.question, asked.examples)])
    numbers["accuracy_plus"] = _Number(np.mean([*joint.values()]), len(joint))
    bounds["accuracy_plus"] = intervals.share([*joint.values()], [*joint])
  numbers |= _text_numbers(asked.judged, table.parsed, fidelity, contradicts)
  counts = {name: number.n for name, number in numbers.items()}

  bounds |= _family_bounds(table)
  means = family_means(asked, rule)
  pictures: dict[str, float] = {}
  if still := [value for family, value in means.items() if family.startswith("image")]:
    pictures["accuracy_pictures"] = _round(np.mean(still))
    counts["accuracy_pictures"] = len(still)
  sizes = collections.Counter(map(rule.family, asked.examples))
  counts |= {f"families/{name}": sizes[name] for name in means}
  return {
    **{name: _round(number.value) for name, number in numbers.items()},  # type: ignore
    "families": {name: _round(value) for name, value in means.items()},
    **pictures,  # type: ignore[typeddict-item]
    "n": len(asked.examples),
    "intervals": bounds,
    "definitions": definitions.describe(counts, rule.description),
  }


class _Number(NamedTuple):
  """A figure and the number of items that it is a mean of."""

  value: float | np.floating
  n: int


class _Table(NamedTuple):
  """The answers of rules.Asked, and the labels of the pairs."""

  answers: list[int | None]
  right: np.ndarray  # bool[answers]
  parsed: np.ndarray  # bool[answers]
  first: np.ndarray  # bool[answers]: the gold answer is candidate 1
  clusters: np.ndarray  # [answers]
  families: np.ndarray  # [answers]
  labels: list  # cluster of each pair


def _tabulate(asked: rules.Asked, rule: rules.Rule) -> _Table:
  answers = [j.verdicts[0].answer for j in asked.judged]
  golds = [j.example.gold for j in asked.judged]
  labels = rule.clusters(asked.examples)
  return _Table(
    answers=[*answers],
    right=np.array([answer == gold for answer, gold in zip(answers, golds, strict=True)]),
    parsed=np.array([answer is not None for answer in answers]),
    first=np.array([gold == 1 for gold in golds]),
    clusters=np.array([labels[row] for row, _ in asked.cells]),
    families=np.array([rule.family(asked.examples[row]) for row, _ in asked.cells]),
    labels=labels,
  )


def family_means(asked: rules.Asked, rule: rules.Rule) -> dict[str, float]:
  """{family: its accuracy, not rounded}: for figures that are computed from accuracies."""
  table = _tabulate(asked, rule)
  return {name: float(table.right[rows].mean()) for name, rows in _by_family(table).items()}


def _family_bounds(table: _Table) -> dict[str, list[float]]:
  """{"families/<family>": the interval of its accuracy}."""
  return {
    f"families/{name}": intervals.share(table.right[rows], table.clusters[rows])
    for name, rows in _by_family(table).items()
  }


def _by_family(table: _Table) -> dict[str, np.ndarray]:
  """{family: bool[answers], whether an answer is in it}, sorted by name."""
  return {str(name): table.families == name for name in np.unique(table.families)}


def _numbers(asked: rules.Asked, table: _Table) -> dict[str, _Number]:
  """The figures that are means over answers, each answer by itself."""
  right, first, parsed, n = table.right, table.first, table.parsed, len(asked.judged)
  completions = [j.completions[0] for j in asked.judged]
  return {
    "accuracy": _Number(right.mean(), len(asked.examples)),
    "first_slot_accuracy": _Number(
      right[first].mean() if first.any() else float("nan"), int(first.sum())
    ),
    "parse_rate": _Number(parsed.mean(), n),
    "mean_length": _Number(np.mean([len(c.tokens) for c in completions]), n),
    "cut": _Number(np.mean([c.finish == "length" for c in completions]), n),
  }


def _agreement(judgements: Judgements, swapped: Judgements) -> dict[int, bool]:
  """{row: whether both orders name the same candidate} of the pairs asked in both orders.

  False where either text is outside the grammar.
  """
  out = {}
  for row, (one, two) in enumerate(zip(judgements, swapped, strict=True)):
    if one is not None and two is not None:
      answers = one.verdicts[0].answer, two.verdicts[0].answer
      out[row] = answers in ((1, 2), (2, 1))  # candidate 1 of one order is 2 of the other
  return out


def _text_numbers(
  judged: Sequence[Judged],
  parsed: np.ndarray,
  fidelity: Fidelity | None,
  contradicts: Contradicts | None,
) -> dict[str, _Number]:
  """{figure: number} of the figures of `tally` that are computed from the texts of completions.

  parsed: bool[answers], whether each text is inside the grammar.
  """
  out: dict[str, _Number] = {}
  if fidelity is not None:
    values = [fidelity(j.completions[0].text, j.example) for j in judged]
    if known := [value for value in values if value is not None]:
      out["fidelity"] = _Number(np.mean(known), len(known))
  if contradicts is not None and parsed.any():
    texts = [j for j, inside in zip(judged, parsed, strict=True) if inside]
    found = [contradicts(j.completions[0].text, j.example.task) for j in texts]
    decided = [one for one in found if one is not None]
    out["contradictions"] = _Number(sum(decided) / len(found), len(found))
    out["contradictions_decided"] = _Number(len(decided) / len(found), len(found))
  return out


def _round(value: float | np.floating) -> float:
  return round(float(value), 6)


def evaluate(
  judge: BothOrders[Sampling],
  examples: Sequence[Example],
  *,
  grammar: str,
  sampling: Sampling,
  fidelity: Fidelity | None = None,
  contradicts: Contradicts | None = None,
  progress: Callable[[int], None] | None = None,
) -> Figures:
  """Asks a judge for one completion per pair and order, and returns their `score`.

  Args:
    judge: gives the judgements.
    examples: pairs with gold answers.
    grammar: a name in prompts.PROMPTS.
    sampling: temperature and length of the sampling.
    fidelity, contradicts: see `tally`.
    progress: called with the number of prompts that have just been answered.
  """
  given, swapped = judge.judge_both_orders(
    examples, grammar=grammar, n=1, sampling=sampling, seed=0, progress=progress
  )
  return score(given, swapped, fidelity=fidelity, contradicts=contradicts)


def to_metrics(prefix: str, figures: Figures) -> dict[str, float]:
  """Figures as metrics: {"eval/accuracy": ..., "eval/accuracy/video_generation": ...}."""
  out: dict[str, float] = {
    f"{prefix}/{name}": x for name, x in figures.items() if isinstance(x, int | float)
  }
  return out | {f"{prefix}/accuracy/{task}": x for task, x in figures["families"].items()}


def summary_line(figures: Figures) -> str:
  """The main figures on one line."""
  names = {
    "accuracy": "accuracy",
    "accuracy_plus": "questions",
    "accuracy_pictures": "pictures",
    "order_consistency": "consistent",
    "parse_rate": "parsed",
    "fidelity": "faithful",
    "contradictions": "contradict themselves",
  }
  shares = {name: x for name, x in figures.items() if isinstance(x, float)}
  parts = [f"{text} {100 * shares[name]:.1f} %" for name, text in names.items() if name in shares]
  return ", ".join([*parts, f"{figures['mean_length']:.0f} tokens", f"{figures['n']} pairs"])
