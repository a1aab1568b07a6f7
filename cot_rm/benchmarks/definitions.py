"""The definition of each figure, in words, and the number of items that it is a mean of."""

from collections.abc import Mapping
from typing import NamedTuple, TypedDict

import numpy as np

WORDS = {
  "accuracy": "share of right verdicts (of pairs)",
  "first_slot_accuracy": "accuracy where the better candidate is the first (of verdicts)",
  "second_slot_accuracy": "accuracy where the better candidate is the second (of verdicts)",
  "position_bias": "first_slot_accuracy minus second_slot_accuracy (of pairs asked in both orders)",
  "right_in_both_orders": "share of pairs that are right in both orders (of pairs asked in both)",
  "ties": "share of answers that call the candidates equal, which is no verdict (of answers)",
  "left_out": "answers that the reading leaves out of all accuracies (of answers)",
  "order_consistency": "share of pairs whose two orders name the same candidate (of pairs)",
  "parse_rate": "share of verdicts inside the grammar (of verdicts)",
  "unparsable": "share of answers outside the grammar that are no tie (of answers)",
  "accuracy_parsed": "share of right verdicts among those inside the grammar (of parsed verdicts)",
  "verdict_slots": "share of verdicts for the first candidate (of parsed verdicts)",
  "label_mass": "mean probability of the tokens 1 and 2 together where a verdict has its digit "
  "(of parsed verdicts)",
  "label_top": "share of verdicts where one of these tokens is the likeliest (of parsed verdicts)",
  "accuracy_longer": "accuracy where the better text has more characters (of pairs)",
  "accuracy_shorter": "accuracy where the better text has fewer characters (of pairs)",
  "gold_longer": "share of pairs whose better text is the longer one (of pairs of unequal length)",
  "verdicts_longer": "share of verdicts for the text of more characters (of parsed verdicts about "
  "pairs of unequal length)",
  "lengths": "accuracy by the characters of the better text minus those of the other, in percent "
  "of the longer one (of pairs)",
  "mean_length": "mean number of tokens of an answer (of answers)",
  "cut": "share of answers that reached the limit of tokens (of answers)",
  "fidelity": "mean share of an answer's description that is true of the scene (of answers)",
  "contradictions": "share of answers whose reasoning contradicts the verdict (of parsed verdicts)",
  "contradictions_decided": "share of answers for which that is known (of parsed verdicts)",
  "accuracy_plus": "share of questions of which every pair is right (of questions)",
  "accuracy_pictures": "mean of the accuracies of the families without video (of families)",
  "accuracy_macro": "mean of the groups' accuracies before rounding (of groups)",
  "diff": "share of right verdicts on pairs of which people prefer a candidate (of pairs)",
  "tau": "share of right predictions, a tie being one of three (of pairs, ties included)",
  "families_tau": "share of right predictions, a tie being one of three (of pairs, ties included)",
  "families": "share of right verdicts (of pairs)",
  "families_plus": "share of questions of which every pair is right (of questions)",
  "vote": "chance that the majority of k samples, read by the grammar, is right, over all subsets "
  "of k; samples outside the grammar abstain, a tie counts half (of pairs)",
  "vote_plus": "share of questions of which every pair is voted right (of questions)",
  "any": "chance that one of k samples, read by the grammar, is right, over all subsets of k (of "
  "pairs)",
  "ece": "expected calibration error: mean of |accuracy - mean probability| of a verdict's bin, 20 "
  "bins of equal width from 0 to 1 (of verdicts)",
  "brier": "mean squared difference of a verdict's probability and 1 if right, 0 if wrong (of "
  "verdicts)",
  "log_loss": "mean negative logarithm of the probability of what is right (of verdicts)",
  "temperature": "divides the logits so that the log loss is least on a random half of the "
  "clusters; errors after it are of the other half (of verdicts)",
  "selective": "accuracy of the surest items, and its mean over all coverages; items without a "
  "verdict are wrong and the last (of items)",
  "accuracy_clean": "accuracy on the pairs that are not in the training data (of pairs)",
  "expected_vote": "chance that the mean probability of the right candidate over k samples is "
  "above a half, over all subsets of k, or 20,000 random ones; a half counts half (of pairs)",
  "tokens": "mean number of tokens of k samples of a pair in one order (of answers)",
  "tokens_stopped": "the same of samples that are drawn one after the other until the majority is "
  "decided (of answers)",
  "not_judged": "pairs that could not be judged, and are in no other figure (of pairs)",
  "blank_accuracy": "accuracy where every picture is blank (of pairs)",
  "blank_accuracy_parsed": "accuracy_parsed where every picture is blank (of parsed verdicts)",
}


class Number(NamedTuple):
  """A figure and the number of items that it is a mean of."""

  value: float | np.floating
  n: int


class Measured(NamedTuple):
  """Figures by name, and the 95 % intervals of some of them."""

  numbers: dict[str, Number]
  bounds: dict[str, list[float]]


class Definition(TypedDict):
  """The definition of one figure."""

  what: str
  n: int  # number of items that the figure is a mean of


def describe(counts: Mapping[str, int], description: str) -> dict[str, Definition]:
  """The definition of each figure.

  Args:
    counts: {figure: number of items}; "families/mcq" has the definition of "families".
    description: the orders and groups in words, see rules.Rule.
  """
  return {
    name: {"what": f"{WORDS[name.partition('/')[0]]}; {description}", "n": int(n)}
    for name, n in counts.items()
  }
