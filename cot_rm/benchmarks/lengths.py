"""Accuracy by the lengths of the two texts: does a judge take the longer one for the better one?

Lengths are in characters: no tokenizer decides what is long. Pairs without texts have no figures.
"""

import numpy as np

from cot_rm.benchmarks import answers, intervals
from cot_rm.benchmarks.definitions import Measured, Number

EDGES = (0.1, 0.25, 0.5)  # of the difference of the lengths, as a share of the longer one
BINS = {  # side and number of edges reached: name, in the order of the differences
  -3: "shorter by 50 % or more",
  -2: "shorter by 25 to 50 %",
  -1: "shorter by 10 to 25 %",
  0: "within 10 %",
  1: "longer by 10 to 25 %",
  2: "longer by 25 to 50 %",
  3: "longer by 50 % or more",
}


def measure(table: answers.Answers) -> Measured:
  """Figures of the pairs of texts, those that have answers.

  accuracy_longer, accuracy_shorter: accuracy where the better text has more, or fewer, characters.
  gold_longer: share of pairs whose better text is the longer one; equal lengths left out.
  verdicts_longer: share of verdicts for the longer text, likewise.
  lengths/<bin>: accuracy by the length of the better text less that of the other one, in BINS.
  """
  difference_A = np.array([_difference(j.example.responses, j.example.gold) for j in table.judged])
  known_A = ~np.isnan(difference_A)
  longer_A, shorter_A = difference_A > 0, difference_A < 0
  bin_A = np.sign(difference_A) * np.digitize(np.abs(difference_A), EDGES)
  groups = {"accuracy_longer": longer_A, "accuracy_shorter": shorter_A}
  groups |= {f"lengths/{name}": known_A & (bin_A == bin) for bin, name in BINS.items()}
  out = Measured({}, {})
  for name, some_A in groups.items():
    if (some_A := some_A & table.counted_A).any():
      pairs = len(np.unique(table.row_A[some_A]))
      out.numbers[name] = Number(table.mean(some_A), pairs)
      out.bounds[name] = intervals.share(table.credit_A[some_A], table.clusters_A[some_A])
  unequal_A = longer_A | shorter_A
  if rows := len(np.unique(table.row_A[unequal_A])):
    share = len(np.unique(table.row_A[longer_A])) / rows
    out.numbers["gold_longer"] = Number(share, rows)
  if (asked_A := unequal_A & table.parsed_A).any():
    answered = zip(table.choices, table.judged, strict=True)
    right_A = np.array([choice == j.example.gold for choice, j in answered])
    said_A = right_A == longer_A  # right about a longer one, or wrong about a shorter one
    out.numbers["verdicts_longer"] = Number(said_A[asked_A].mean(), int(asked_A.sum()))
    out.bounds["verdicts_longer"] = intervals.share(said_A[asked_A], table.clusters_A[asked_A])
  return out


def _difference(responses: tuple[str, ...], gold: int | None) -> float:
  """Characters of the better text less those of the other, over the longer; NaN without texts."""
  sizes = [*map(len, responses)]
  if len(sizes) != 2 or not any(sizes):
    return float("nan")
  better, other = sizes if gold == 1 else sizes[::-1]
  return (better - other) / max(sizes)
