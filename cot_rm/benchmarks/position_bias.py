"""Position bias: how much more often a judge is right where the better candidate is the first."""

import numpy as np

from cot_rm.benchmarks import answers, intervals
from cot_rm.benchmarks.definitions import Measured, Number


def measure(table: answers.Answers) -> Measured:
  """Figures of the pairs whose answers in both orders are counted; none without such pairs.

  position_bias: accuracy with the better candidate first minus that with it second. The interval is
    paired: what makes a pair hard is in both.
  right_in_both_orders: share of pairs that are right in both orders.
  """
  credit_2N = np.full((2, len(table.examples)), np.nan)
  for place, some_A in enumerate((table.first_A, ~table.first_A)):
    credit_2N[place, table.row_A[some_A]] = table.credit_A[some_A]
  both_N = ~np.isnan(credit_2N).any(0)
  if not (n := int(both_N.sum())):
    return Measured({}, {})
  first_n, second_n = credit_2N[:, both_N]
  clusters = [label for label, both in zip(table.labels, both_N, strict=True) if both]
  right_n = first_n * second_n
  return Measured(
    {
      "position_bias": Number((first_n - second_n).mean(), n),
      "right_in_both_orders": Number(right_n.mean(), n),
    },
    {
      "position_bias": intervals.difference(first_n, second_n, clusters),
      "right_in_both_orders": intervals.share(right_n, clusters),
    },
  )
