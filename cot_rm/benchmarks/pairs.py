"""Accuracy on preference pairs, each asked in both orders."""

import collections

import numpy as np

from cot_rm.benchmarks import definitions, intervals, rules

MODES = {
  "both": rules.Rule(),
  "first": rules.Rule(orders=rules.first),  # as they stand in the data
}


def score(judgements, swapped, *, mode="both", fidelity=None, contradicts=None):
  """`tally` by task; `mode` is of MODES."""
  rule = rules.get(MODES, mode)
  return tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)


def tally(judgements, swapped, rule, *, fidelity=None, contradicts=None):
  """The figures of a set of pairs.

  Args:
    judgements: one a pair, as given; the first completion counts. None: not asked in this order.
    swapped: the same pairs in the other order, in step.
    rule: rules.Rule.
    fidelity: `(text, example) -> float in [0, 1] or None`, how true the described scene is; None
      where nothing can be said.
    contradicts: `(text, task) -> bool or None`, whether the reasoning is against the verdict; None
      where nothing can be said.

  Returns:
    dict of
      accuracy: share of right verdicts over the orders asked, an unparsable one being wrong.
      first_slot_accuracy: the same where the gold answer stands first.
      order_consistency: share of pairs whose two orders name the same candidate, of those that were
        asked in both, if there are any.
      parse_rate: share of completions inside the grammar.
      accuracy_parsed: share of right verdicts among those.
      verdict_slots: share of verdicts for the candidate that stands first, among those.
      mean_length: tokens of a completion.
      cut: share of completions that reached the limit of tokens.
      fidelity: mean over completions, where it was asked for.
      contradictions: share of the parsed completions whose reasoning is against the verdict, where
        it was asked for; contradictions_decided: share of them of which it can be said.
      families: accuracy by family.
      accuracy_plus: where the rule has sets that count whole, share of the sets of which every pair
        is right in one order, mean of the orders asked.
      accuracy_pictures: mean over the families without video, where there is one.
      n: pairs.
      intervals: {figure: [low, high]}, 95 %, of accuracy, first_slot_accuracy, order_consistency,
        accuracy_plus and, as "families/<family>", of each family; see `intervals.share`. The
        clusters are the rule's, where it has none the pairs.
      definitions: {figure: {"what": in words, "n": how many it is over}}, see `definitions.of`.

  Raises:
    ValueError: no pairs, or one without a gold answer.
  """
  places, both, examples = rules.asked(judgements, swapped)
  answers = [j.verdicts[0].answer for j in both]
  right = np.array([answer == j.example.gold for answer, j in zip(answers, both, strict=True)])
  parsed = np.array([answer is not None for answer in answers])
  first = np.array([j.example.gold == 1 for j in both])
  labels = rule.clusters(examples)
  clusters = np.array([labels[row] for row, _ in places])
  families = np.array([rule.family(examples[row]) for row, _ in places])
  agree = _agreement(judgements, swapped)

  out = {
    "accuracy": right.mean(),
    "first_slot_accuracy": right[first].mean() if first.any() else float("nan"),
    "parse_rate": parsed.mean(),
    "accuracy_parsed": right[parsed].mean() if parsed.any() else 0.0,
    "mean_length": np.mean([len(j.completions[0].tokens) for j in both]),
    "cut": np.mean([j.completions[0].finish == "length" for j in both]),
  }
  bounds = {"accuracy": intervals.share(right, clusters)}
  if first.any():
    bounds["first_slot_accuracy"] = intervals.share(right[first], clusters[first])
  if agree:
    out["order_consistency"] = np.mean(list(agree.values()))
    of_rows = [labels[row] for row in agree]
    bounds["order_consistency"] = intervals.share(list(agree.values()), of_rows)
  if parsed.any():
    out["verdict_slots"] = answers.count(1) / parsed.sum()
  if rule.whole:
    sets = rules.whole(right, places, [rule.whole(e) for e in examples])
    out["accuracy_plus"] = np.mean(list(sets.values()))
    bounds["accuracy_plus"] = intervals.share(list(sets.values()), list(sets))
  texts, counted = _read(both, parsed, fidelity, contradicts)
  out |= texts
  inside = ("accuracy_parsed", "verdict_slots", "contradictions", "contradictions_decided")
  counted |= {
    "accuracy": len(examples),
    "first_slot_accuracy": first.sum(),
    "order_consistency": len(agree),
    "accuracy_plus": len(sets) if rule.whole else 0,
  }
  n = lambda name: counted.get(name, parsed.sum() if name in inside else len(both))
  counts = {name: n(name) for name in out}

  out = {name: round(float(value), 6) for name, value in out.items()}
  out["families"] = {}
  for family in np.unique(families):
    some = families == family
    out["families"][str(family)] = round(float(right[some].mean()), 6)
    bounds[f"families/{family}"] = intervals.share(right[some], clusters[some])
  if still := [value for task, value in out["families"].items() if task.startswith("image")]:
    out["accuracy_pictures"] = round(float(np.mean(still)), 6)
    counts["accuracy_pictures"] = len(still)
  of_family = collections.Counter(map(rule.family, examples))
  counts |= {f"families/{name}": of_family[name] for name in np.unique(families)}
  said = definitions.of(counts, rule.said)
  return {**out, "n": len(examples), "intervals": bounds, "definitions": said}


def _agreement(judgements, swapped):
  """{row: whether both orders name the same candidate} of the pairs asked in both."""
  answers = {
    row: (one.verdicts[0].answer, two.verdicts[0].answer)
    for row, (one, two) in enumerate(zip(judgements, swapped, strict=True))
    if one is not None and two is not None
  }
  return {row: None not in pair and sum(pair) == 3 for row, pair in answers.items()}


def _read(both, parsed, fidelity, contradicts):
  """The figures of what the texts say, and how many of them something could be said of."""
  out, counts = {}, {}
  if fidelity is not None:
    values = [fidelity(j.completions[0].text, j.example) for j in both]
    if known := [value for value in values if value is not None]:
      out["fidelity"], counts["fidelity"] = np.mean(known), len(known)
  if contradicts is not None and parsed.any():
    texts = [j for j, inside in zip(both, parsed, strict=True) if inside]
    found = [contradicts(j.completions[0].text, j.example.task) for j in texts]
    decided = [one for one in found if one is not None]
    out["contradictions"] = sum(decided) / len(found)
    out["contradictions_decided"] = len(decided) / len(found)
  return out, counts


def evaluate(judge, examples, *, grammar, how, fidelity=None, contradicts=None, progress=None):
  """`score` of what a judge says, one completion each, in both orders; see `score`."""
  given, swapped = judge.both(examples, grammar=grammar, n=1, how=how, seed=0, progress=progress)
  return score(given, swapped, fidelity=fidelity, contradicts=contradicts)


def flat(prefix, figures):
  """Figures as metrics: {"eval/accuracy": ..., "eval/accuracy/video_generation": ...}."""
  numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
  out = {f"{prefix}/{name}": value for name, value in numbers.items()}
  return out | {f"{prefix}/accuracy/{task}": value for task, value in figures["families"].items()}


def line(figures):
  """The figures that are read first, on one line."""
  shown = {
    "accuracy": "accuracy",
    "accuracy_plus": "whole",
    "accuracy_pictures": "pictures",
    "order_consistency": "consistent",
    "parse_rate": "parsed",
    "fidelity": "faithful",
    "contradictions": "contradict themselves",
  }
  parts = [f"{text} {100 * figures[name]:.1f} %" for name, text in shown.items() if name in figures]
  return ", ".join([*parts, f"{figures['mean_length']:.0f} tokens", f"{figures['n']} pairs"])
