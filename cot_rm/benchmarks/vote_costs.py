"""Tokens that votes cost: of k samples, and of those before the majority is decided."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from cot_rm.schema import Judged


def tokens(judged: Sequence[Judged], k: int, *, early_stop: bool) -> np.ndarray:
  """f64[A]: mean number of tokens of k of an answer's samples, over all orders of all samples.

  Args:
    judged: A answers.
    k: samples that vote, from 1 to the number of an answer's samples.
    early_stop: samples are drawn one after the other until those that are missing cannot change
      the majority of this order of the pair. The accuracy is that of all k.
  """
  out = []
  for j in judged:
    answers = np.array([0 if v.answer is None else v.answer for v in j.verdicts])
    lengths = np.array([len(completion.tokens) for completion in j.completions], float)
    if not early_stop:
      out.append(k * lengths.mean())
      continue
    kinds = [lengths[answers == answer] for answer in (1, 2, 0)]
    drawn = expected_draws(len(kinds[0]), len(kinds[1]), len(kinds[2]), k)
    means = [some.mean() if len(some) else 0.0 for some in kinds]
    out.append(float(np.dot(drawn, means)))
  return np.array(out)


@functools.lru_cache(maxsize=4096)
def expected_draws(first: int, second: int, unparsable: int, k: int) -> tuple[float, float, float]:
  """Expected samples of each kind that are drawn before a majority of k is decided.

  Samples are drawn in random order, without replacement. The next one is drawn while the lead of a
  candidate is at most the number of missing votes.

  Args:
    first, second, unparsable: number of samples of each kind.
    k: votes, at most their sum.
  """
  total, found = first + second + unparsable, np.zeros(3)
  factorial = np.array([math.lgamma(i + 1) for i in range(total + 1)])  # logarithms

  def log_comb(n: int, chosen: np.ndarray) -> np.ndarray:
    return factorial[n] - factorial[chosen] - factorial[n - chosen]

  for j in range(k):
    a, b = np.meshgrid(np.arange(min(first, j) + 1), np.arange(min(second, j) + 1))
    c = j - a - b
    goes_on = (0 <= c) & (c <= unparsable) & (np.abs(a - b) <= k - j)
    a, b, c = a[goes_on], b[goes_on], c[goes_on]
    log_p = log_comb(first, a) + log_comb(second, b) + log_comb(unparsable, c)
    p = np.exp(log_p - log_comb(total, np.array(j)))
    left = np.stack([first - a, second - b, unparsable - c])
    found += left @ p / (total - j)
  return tuple(map(float, found))  # type: ignore[return-value]
