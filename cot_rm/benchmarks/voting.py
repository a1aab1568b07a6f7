"""Voting@k and any@k from K samples of each answer, exact over all subsets of k of them."""

import math

import numpy as np

from cot_rm.benchmarks import definitions, intervals, rules


def vote(right, wrong, unparsable, k):
  """The chance that the majority of k samples is right, over all subsets of k.

  Samples outside the grammar abstain. As many right as wrong is half right, as a coin would have
  it; no parsable sample at all is wrong. `vote(..., 1)` is the share of right samples.

  Args:
    right, wrong, unparsable: how many of the K samples are what.
    k: how many of them vote, at most K.
  """
  total, found = right + wrong + unparsable, 0.0
  _check(total, k)
  for i in range(min(right, k) + 1):
    for j in range(max(k - i - unparsable, 0), min(wrong, k - i) + 1):
      value = 1.0 if i > j else 0.5 if i == j and i else 0.0
      found += value * math.comb(right, i) * math.comb(wrong, j) * math.comb(unparsable, k - i - j)
  return found / math.comb(total, k)


def hit(right, wrong, unparsable, k):
  """any@k: the chance that at least one of k samples is right, over all subsets of k."""
  total = right + wrong + unparsable
  _check(total, k)
  return 1 - math.comb(total - right, k) / math.comb(total, k)


def score(judgements, swapped, rule, *, at):
  """The figures of voting.

  Args:
    judgements, swapped: of N pairs in each order, in step, None where it was not asked; all with
      equally many samples K.
    rule: rules.Rule.
    at: numbers k of votes, each at most K.

  Returns:
    dict of
      at: the k's; the lists below are in step with it.
      vote, any: voting@k and any@k, means over pairs and orders. vote at k = 1 is the mean single
        sample.
      vote_intervals, any_intervals: [low, high] of each, 95 %, see `intervals.share`.
      vote_plus: where the rule has sets that count whole, share of the sets of which every pair is
        voted right in one order, mean of the orders asked; each pair's votes are drawn by itself.
      families: {family: {"vote": [...], "any": [...]}}.
      samples: K.
      n: pairs.
      definitions: see `definitions.of`.

  Raises:
    ValueError: no pairs, one without a gold answer, unequal K, or a k above K.
  """
  places, both, examples = rules.asked(judgements, swapped)
  counts = [_counts(j) for j in both]
  sizes = sorted({sum(count) for count in counts})
  if len(sizes) > 1:
    raise ValueError(f"votes of {sizes} samples; equally many are due for every pair")
  labels = rule.clusters(examples)
  clusters = [labels[row] for row, _ in places]
  families = np.array([rule.family(examples[row]) for row, _ in places])
  over = {"vote": len(examples), "any": len(examples)}
  out = {"at": [int(k) for k in at], "families": {str(name): {} for name in np.unique(families)}}
  for name, chance in (("vote", vote), ("any", hit)):
    columns = [_each(chance, counts, k) for k in at]
    out[name] = [_mean(values) for values in columns]
    out[f"{name}_intervals"] = [intervals.share(values, clusters) for values in columns]
    for family, lists in out["families"].items():
      lists[name] = [_mean(values[families == family]) for values in columns]
    if name == "vote" and rule.whole:
      sets = [rule.whole(e) for e in examples]
      over["vote_plus"] = len(set(sets))
      out["vote_plus"] = [
        _mean(list(rules.whole(values, places, sets).values())) for values in columns
      ]
  said = definitions.of(over, rule.said)
  return {**out, "samples": sizes[0], "n": len(examples), "definitions": said}


def _each(chance, counts, k):
  """f64: `chance` at k of each count; what is the same is computed once."""
  known = {count: chance(*count, k) for count in set(counts)}
  return np.array([known[count] for count in counts])


def _counts(judgement):
  """(right, wrong, unparsable) of a judgement's samples."""
  answers, gold = [verdict.answer for verdict in judgement.verdicts], judgement.example.gold
  return answers.count(gold), answers.count(3 - gold), answers.count(None)


def _check(total, k):
  if not 1 <= k <= total:
    raise ValueError(
      f"{k} votes of {total} samples; config.eval.vote_at goes from 1 to config.eval.votes"
    )


def _mean(values):
  return round(float(np.mean(values)), 6)
