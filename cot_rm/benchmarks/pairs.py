"""Accuracy on preference pairs, each asked in both orders."""

import numpy as np


def score(judgements, swapped, *, fidelity=None):
  """The figures of a set of pairs.

  Args:
    judgements: one a pair, as given; the first completion counts.
    swapped: the same pairs in the other order, in step.
    fidelity: `(text, example) -> float in [0, 1] or None`, how true the described scene is; None
      where nothing can be said.

  Returns:
    dict of
      accuracy: share of right verdicts over both orders, an unparsable one being wrong.
      first_slot_accuracy: the same where the gold answer stands first.
      order_consistency: share of pairs whose two orders name the same candidate.
      parse_rate: share of completions inside the grammar.
      accuracy_parsed: share of right verdicts among those.
      mean_length: tokens of a completion.
      cut: share of completions that reached the limit of tokens.
      fidelity: mean over completions, where it was asked for.
      families: accuracy by task.
      accuracy_pictures: mean over the families without video, where there is one.
      n: pairs.

  Raises:
    ValueError: no pairs, or one without a gold answer.
  """
  if not judgements:
    raise ValueError("no pairs to score")
  both = [*judgements, *swapped]
  for j in both:
    if j.example.gold not in (1, 2):
      raise ValueError(f"example {j.example.id!r} has no gold answer to score against")
  answers = [j.verdicts[0].answer for j in both]
  right = np.array([answer == j.example.gold for answer, j in zip(answers, both, strict=True)])
  parsed = np.array([answer is not None for answer in answers])
  first = np.array([j.example.gold == 1 for j in both])
  one, two = answers[: len(judgements)], answers[len(judgements) :]
  consistent = [
    a is not None and b is not None and a == 3 - b for a, b in zip(one, two, strict=True)
  ]
  tasks = np.array([j.example.task for j in both])
  out = {
    "accuracy": right.mean(),
    "first_slot_accuracy": right[first].mean() if first.any() else float("nan"),
    "order_consistency": np.mean(consistent),
    "parse_rate": parsed.mean(),
    "accuracy_parsed": right[parsed].mean() if parsed.any() else 0.0,
    "mean_length": np.mean([len(j.completions[0].tokens) for j in both]),
    "cut": np.mean([j.completions[0].finish == "length" for j in both]),
  }
  if fidelity is not None:
    values = [fidelity(j.completions[0].text, j.example) for j in both]
    if known := [value for value in values if value is not None]:
      out["fidelity"] = np.mean(known)
  out = {name: round(float(value), 6) for name, value in out.items()}
  out["families"] = {
    str(task): round(float(right[tasks == task].mean()), 6) for task in np.unique(tasks)
  }
  if still := [value for task, value in out["families"].items() if task.startswith("image")]:
    out["accuracy_pictures"] = round(float(np.mean(still)), 6)
  return {**out, "n": len(judgements)}


def evaluate(judge, examples, *, grammar, how, fidelity=None, progress=None):
  """`score` of what a judge says, one completion each, in both orders; see `score`."""
  given, swapped = judge.both(examples, grammar=grammar, n=1, how=how, seed=0, progress=progress)
  return score(given, swapped, fidelity=fidelity)


def flat(prefix, figures):
  """Figures as metrics: {"eval/accuracy": ..., "eval/accuracy/video_generation": ...}."""
  out = {f"{prefix}/{name}": value for name, value in figures.items() if name != "families"}
  return out | {f"{prefix}/accuracy/{task}": value for task, value in figures["families"].items()}


def line(figures):
  """The figures that are read first, on one line."""
  shown = {
    "accuracy": "accuracy",
    "accuracy_pictures": "pictures",
    "order_consistency": "consistent",
    "parse_rate": "parsed",
    "fidelity": "faithful",
  }
  parts = [f"{text} {100 * figures[name]:.1f} %" for name, text in shown.items() if name in figures]
  return ", ".join([*parts, f"{figures['mean_length']:.0f} tokens", f"{figures['n']} pairs"])
