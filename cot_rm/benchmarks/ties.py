"""Pairs that people may call equal: tau over all pairs, diff over those with a preference.

Both are shares of right predictions. "tau" is its name in the tables of benchmarks of generated
pictures and videos; it is no rank correlation.
"""

import numpy as np

from cot_rm.benchmarks import answers, definitions, intervals, pairs, rules
from cot_rm.schema import Choice, Judged

_OTHER: dict[Choice | None, Choice | None] = {1: 2, 2: 1, None: None}


def score(
  judgements: answers.Judgements,
  swapped: answers.Judgements,
  rule: rules.Rule,
  *,
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """The figures of pairs that people may call equal.

  Args:
    judgements: one per pair in the order as given, None where that order was not asked.
    swapped: the same with the candidates exchanged.
    rule: the benchmark's orders, reading, families and credit of ties.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    The figures of `pairs.tally` over the pairs with a preference, and
    diff: accuracy, by its name in the benchmark's table.
    tau: only if the rule has a credit for ties: mean of `credits` over all pairs.
    families_tau: {family: tau}.

  Raises:
    ValueError: no pair has a gold answer.
  """
  rows = pairs.decided(judgements, swapped)
  if not rows:
    raise ValueError(
      f"none of {len(judgements):,} pairs has a gold answer: people call all of them equal"
    )
  out = pairs.tally(
    [judgements[i] for i in rows],
    [swapped[i] for i in rows],
    rule,
    fidelity=fidelity,
    contradicts=contradicts,
  )
  out["diff"] = out["accuracy"]
  counts = {"diff": out["definitions"]["accuracy"]["n"]}
  if "accuracy" in out["intervals"]:
    out["intervals"]["diff"] = out["intervals"]["accuracy"]
  if rule.tau:
    _add_tau(out, counts, judgements, swapped, rule)
  out["definitions"] |= definitions.describe(counts, rule.description)
  return out


def credits(
  judgements: answers.Judgements, swapped: answers.Judgements, rule: rules.Rule
) -> np.ndarray:
  """f64[N], the credit of each pair, ties included, from 0 to 1.

  By `rule.tau`: "agreed", 1 where what all orders that were asked name is what people prefer. A tie
  is predicted where the orders disagree, or one has no verdict. "each", the mean over the orders of
  the reading's credit.
  """
  two = list(zip(judgements, swapped, strict=True))
  if rule.tau == "agreed":
    return np.array([_agreed(*of) for of in two], np.float64)
  at = [(row, j) for row, of in enumerate(two) for j in of if j is not None]
  found: list[list[float]] = [[] for _ in two]
  for (row, _), credit in zip(at, rule.reading([j for _, j in at]), strict=True):
    found[row].append(0.0 if credit is None else credit)
  return np.array([np.mean(of) for of in found], np.float64)


def _agreed(given: Judged | None, exchanged: Judged | None) -> float:
  named, golds = set(), set()
  for judged, turned in ((given, False), (exchanged, True)):
    if judged is not None:
      choice, gold = judged.verdicts[0].answer, judged.example.gold
      named.add(_OTHER[choice] if turned else choice)
      golds.add(_OTHER[gold] if turned else gold)
  return float((named if len(named) == 1 else {None}) == golds)


def _add_tau(
  out: pairs.Figures,
  counts: dict[str, int],
  judgements: answers.Judgements,
  swapped: answers.Judgements,
  rule: rules.Rule,
) -> None:
  two = zip(judgements, swapped, strict=True)
  examples = [(one if one is not None else other).example for one, other in two]  # type: ignore
  values, clusters = credits(judgements, swapped, rule), rule.clusters(examples)
  families = np.array([rule.family(example) for example in examples])
  out["tau"] = round(float(values.mean()), 6)
  out["intervals"]["tau"] = intervals.share(values, clusters)
  counts["tau"] = len(values)
  out["families_tau"] = {}
  for name in map(str, np.unique(families)):
    out["families_tau"][name] = round(float(values[families == name].mean()), 6)
    counts[f"families_tau/{name}"] = int((families == name).sum())
