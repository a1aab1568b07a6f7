"""Accuracy on preference pairs, each asked in both orders."""

from collections.abc import Callable, Sequence
from typing import NotRequired, Protocol, TypedDict, TypeVar

import numpy as np

from cot_rm import registry
from cot_rm.benchmarks import (
  answers,
  definitions,
  intervals,
  label_tokens,
  lengths,
  position_bias,
  rules,
)
from cot_rm.benchmarks.answers import Judgements
from cot_rm.benchmarks.definitions import Number
from cot_rm.schema import Example, Judged, Task

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
  first_slot_accuracy: NotRequired[float]
  second_slot_accuracy: NotRequired[float]
  position_bias: NotRequired[float]
  right_in_both_orders: NotRequired[float]
  parse_rate: float
  ties: float
  unparsable: float
  mean_length: float
  cut: float
  left_out: NotRequired[float]
  order_consistency: NotRequired[float]
  accuracy_parsed: NotRequired[float]
  verdict_slots: NotRequired[float]
  label_mass: NotRequired[float]
  label_top: NotRequired[float]
  accuracy_longer: NotRequired[float]
  accuracy_shorter: NotRequired[float]
  gold_longer: NotRequired[float]
  verdicts_longer: NotRequired[float]
  accuracy_plus: NotRequired[float]
  fidelity: NotRequired[float]
  contradictions: NotRequired[float]
  contradictions_decided: NotRequired[float]
  families: dict[str, float]
  lengths: NotRequired[dict[str, float]]
  accuracy_pictures: NotRequired[float]
  n: int
  intervals: dict[str, list[float]]
  definitions: dict[str, definitions.Definition]
  accuracy_macro: NotRequired[float]  # see `add_macro`
  families_plus: NotRequired[dict[str, float]]  # of MM-RLHF-RewardBench
  diff: NotRequired[float]  # of pairs that people may call equal, see ties.score
  tau: NotRequired[float]
  families_tau: NotRequired[dict[str, float]]


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
    accuracy: mean credit of the answers over the orders asked, by the rule's reading: by default
      the share of right verdicts, an unparsable one being wrong.
    first_slot_accuracy: accuracy of the answers whose gold answer is candidate 1, if any.
    second_slot_accuracy: the same, candidate 2.
    position_bias, right_in_both_orders: see `position_bias.measure`.
    ties: share of completions that call the candidates equal, which is no verdict.
    unparsable: share of completions that are neither a verdict nor a tie.
    left_out: number of answers that the rule's reading does not count, if any.
    order_consistency: share of pairs whose two orders name the same candidate, of the pairs that
      were asked in both orders, if there are any.
    parse_rate: share of completions inside the grammar.
    accuracy_parsed: share of right verdicts among the parsable completions, if there are any.
    verdict_slots: share of verdicts for candidate 1 among these.
    label_mass, label_top: see `label_tokens.measure`.
    accuracy_longer, accuracy_shorter, gold_longer, verdicts_longer, lengths: see `lengths.measure`;
      lengths is {bin: accuracy}.
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
      accuracy_plus, the figures of `position_bias` and `lengths`, and, as "families/<family>", of
      each family; see `intervals`. The clusters are the rule's, else the pairs.
    definitions: {figure: its definition}, see `definitions.describe`.

  Raises:
    ValueError: no pairs, or a pair without a gold answer.
  """
  table = answers.tabulate(judgements, swapped, rule)
  numbers, bounds = _numbers(table) | label_tokens.measure(table), _bounds(table)
  for measured in (position_bias.measure(table), lengths.measure(table)):
    numbers |= measured.numbers
    bounds |= measured.bounds
  if agree := _agreement(judgements, swapped):
    values = [*agree.values()]
    numbers["order_consistency"] = Number(np.mean(values), len(values))
    bounds["order_consistency"] = intervals.share(values, [table.labels[row] for row in agree])
  if rule.question:
    joint = table.joint_accuracy([*map(rule.question, table.examples)])
    numbers["accuracy_plus"] = Number(np.mean([*joint.values()]), len(joint))
    bounds["accuracy_plus"] = intervals.share([*joint.values()], [*joint])
  numbers |= _text_numbers(table.judged, table.parsed_A, fidelity, contradicts)
  return _figures(table, numbers, bounds, rule.description)


def _figures(
  table: answers.Answers,
  numbers: dict[str, Number],
  bounds: dict[str, list[float]],
  description: str,
) -> Figures:
  """The figures with their definitions; those of families and bins of length in dicts by name."""
  means = family_means(table)
  if still := [value for family, value in means.items() if family.startswith("image")]:
    numbers["accuracy_pictures"] = Number(np.mean(still), len(still))
  for name, some_A in table.by_family().items():
    numbers[f"families/{name}"] = Number(means[name], len(np.unique(table.row_A[some_A])))
  out: dict[str, object] = {"families": {}}
  for name, number in numbers.items():
    group, _, member = name.partition("/")
    of = out.setdefault(group, {}) if member else out
    of[member or group] = _round(number.value)  # type: ignore[index]
  counts = {name: number.n for name, number in numbers.items()}
  return {
    **out,  # type: ignore[typeddict-item]
    "n": len(table.examples),
    "intervals": bounds,
    "definitions": definitions.describe(counts, description),
  }


def decided(judgements: Judgements, swapped: Judgements) -> list[int]:
  """The rows of the pairs of which people prefer a candidate."""
  rows = enumerate(zip(judgements, swapped, strict=True))
  return [i for i, two in rows if any(j is not None and j.example.gold is not None for j in two)]


def family_means(table: answers.Answers) -> dict[str, float]:
  """{family: its accuracy, not rounded}: for figures that are computed from accuracies."""
  return {name: table.mean(some_A) for name, some_A in table.by_family().items()}


def add_macro(
  figures: Figures, judgements: Judgements, swapped: Judgements, rule: rules.Rule
) -> None:
  """Adds accuracy_macro, the mean of the families' accuracies before they are rounded.

  It is left out where no answer counts. Arguments as of `tally`, which made the figures.
  """
  means = family_means(answers.tabulate(judgements, swapped, rule))
  if means:
    figures["accuracy_macro"] = _round(np.mean([*means.values()]))
    counts = {"accuracy_macro": len(means)}
    figures["definitions"] |= definitions.describe(counts, rule.description)


def _numbers(table: answers.Answers) -> dict[str, Number]:
  """The figures that are means over answers, each answer by itself."""
  counted_A, first_A, parsed_A = table.counted_A, table.first_A, table.parsed_A
  tie_A = np.array([j.verdicts[0].tie for j in table.judged])
  completions, n = [j.completions[0] for j in table.judged], len(table.judged)
  out = {
    "first_slot_accuracy": Number(table.mean(first_A), int((first_A & counted_A).sum())),
    "second_slot_accuracy": Number(table.mean(~first_A), int((~first_A & counted_A).sum())),
    "parse_rate": Number(parsed_A.mean(), n),
    "ties": Number(tie_A.mean(), n),
    "unparsable": Number((~parsed_A & ~tie_A).mean(), n),
    "mean_length": Number(np.mean([len(c.tokens) for c in completions]), n),
    "cut": Number(np.mean([c.finish == "length" for c in completions]), n),
  }
  if left_out := n - int(counted_A.sum()):
    out["left_out"] = Number(left_out, n)
  if parsed := int(parsed_A.sum()):
    out["accuracy_parsed"] = Number(table.mean(parsed_A), parsed)
    out["verdict_slots"] = Number(table.choices.count(1) / parsed, parsed)
  out = {name: number for name, number in out.items() if number.n}
  # Where no answer counts, nothing is right: published scripts say 0, too.
  accuracy = table.mean(counted_A) if counted_A.any() else 0.0
  return {"accuracy": Number(accuracy, len(np.unique(table.row_A[counted_A])))} | out


def _bounds(table: answers.Answers) -> dict[str, list[float]]:
  """The intervals of the accuracies."""
  slots = {"accuracy": table.counted_A, "first_slot_accuracy": table.first_A}
  slots |= {"second_slot_accuracy": ~table.first_A}
  slots |= {f"families/{name}": some_A for name, some_A in table.by_family().items()}
  out = {}
  for name, some_A in slots.items():
    if (some_A := some_A & table.counted_A).any():
      out[name] = intervals.share(table.credit_A[some_A], table.clusters_A[some_A])
  return out


def _agreement(judgements: Judgements, swapped: Judgements) -> dict[int, bool]:
  """{row: whether both orders name the same candidate} of the pairs asked in both orders.

  False where either text is outside the grammar.
  """
  out = {}
  for row, (one, two) in enumerate(zip(judgements, swapped, strict=True)):
    if one is not None and two is not None:
      named = one.verdicts[0].answer, two.verdicts[0].answer
      out[row] = named in ((1, 2), (2, 1))  # candidate 1 of one order is 2 of the other
  return out


def _text_numbers(
  judged: Sequence[Judged],
  parsed: np.ndarray,
  fidelity: Fidelity | None,
  contradicts: Contradicts | None,
) -> dict[str, Number]:
  """{figure: number} of the figures of `tally` that are computed from the texts of completions.

  parsed: bool[answers], whether each text is inside the grammar.
  """
  out: dict[str, Number] = {}
  if fidelity is not None:
    values = [fidelity(j.completions[0].text, j.example) for j in judged]
    if known := [value for value in values if value is not None]:
      out["fidelity"] = Number(np.mean(known), len(known))
  if contradicts is not None and parsed.any():
    texts = [j for j, inside in zip(judged, parsed, strict=True) if inside]
    found = [contradicts(j.completions[0].text, j.example.task) for j in texts]
    decided = [one for one in found if one is not None]
    out["contradictions"] = Number(sum(decided) / len(found), len(found))
    out["contradictions_decided"] = Number(len(decided) / len(found), len(found))
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
