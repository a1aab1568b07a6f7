"""The vote by probabilities: k samples decide for the candidate of the higher mean probability."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from cot_rm.schema import Judged

SUBSETS = 20_000  # where there are more subsets of k samples, this many random ones stand for them
_CELLS = 2**22  # numbers of a product that are in memory at a time
_EQUAL = 1e-9  # below this a sum of probabilities less a half is a tie


def chance(judged: Sequence[Judged], k: int, *, seed: int = 0) -> np.ndarray | None:
  """f64[A]: the chance that k samples of an answer's K are right on average, over subsets of k.

  A subset is right where the mean probability of the right candidate, over its parsable samples, is
  above a half; a half counts half, a subset without a parsable sample is wrong. The mean is over
  all subsets, or over SUBSETS random ones where there are more.

  Args:
    judged: A answers of K samples each.
    k: samples that vote, from 1 to K.
    seed: of random subsets.

  Returns:
    None if a parsable verdict has no probability.
  """
  verdicts = [verdict for j in judged for verdict in j.verdicts]
  if any(v.answer is not None and v.probability is None for v in verdicts):
    return None
  golds = [j.example.gold for j in judged for _ in j.verdicts]
  lead = [0.0 if v.probability is None else v.probability - 0.5 for v in verdicts]
  sign = [1.0 if v.answer == gold else -1.0 for v, gold in zip(verdicts, golds, strict=True)]
  lead_AK = (np.array(lead) * sign).reshape(len(judged), -1)
  parsed_AK = np.array([v.answer is not None for v in verdicts], float).reshape(lead_AK.shape)
  in_SK = _subsets(lead_AK.shape[1], k, seed)
  step = max(_CELLS // len(in_SK), 1)
  parts = range(0, len(judged), step)
  return np.concatenate(
    [_right(lead_AK[i : i + step], parsed_AK[i : i + step], in_SK) for i in parts]
  )


def _right(lead_AK: np.ndarray, parsed_AK: np.ndarray, in_SK: np.ndarray) -> np.ndarray:
  """f64[A]: the mean over subsets of 1 where right, a half for a tie."""
  sum_AS = lead_AK @ in_SK.T
  tie_AS = (np.abs(sum_AS) < _EQUAL) & (parsed_AK @ in_SK.T > 0)
  return (sum_AS >= _EQUAL).mean(1) + tie_AS.mean(1) / 2


def _subsets(total: int, k: int, seed: int) -> np.ndarray:
  """f64[S, total]: 1 for the samples of each subset."""
  if math.comb(total, k) <= SUBSETS:
    chosen_Sk = np.array([*itertools.combinations(range(total), k)])
  else:
    order_SK = np.random.default_rng(seed).random((SUBSETS, total)).argsort(1)
    chosen_Sk = order_SK[:, :k]
  in_SK = np.zeros((len(chosen_Sk), total))
  np.put_along_axis(in_SK, chosen_Sk, 1.0, axis=1)
  return in_SK
