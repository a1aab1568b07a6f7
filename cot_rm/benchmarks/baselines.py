"""Judges without a model, for scale: always the first, a coin, the longer or the shorter answer."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cot_rm.benchmarks import answers, rules
from cot_rm.schema import Choice, Completion, Example, Verdict

# Of the figures of `score`, those that say something about a judge that writes no text.
FIGURES = (
  *("accuracy", "accuracy_macro", "accuracy_plus", "accuracy_pictures"),
  *("diff", "tau", "families_tau"),
  *("first_slot_accuracy", "second_slot_accuracy", "order_consistency", "verdict_slots"),
  *("position_bias", "right_in_both_orders"),
  *("accuracy_longer", "accuracy_shorter", "gold_longer", "verdicts_longer"),
  *("families", "families_plus", "n", "intervals", "definitions"),
)


@dataclasses.dataclass(frozen=True)
class Said:
  """A verdict that no model gave, as judgements are scored."""

  example: Example
  verdicts: tuple[Verdict, ...]
  completions: tuple[Completion, ...] = (
    Completion("", np.zeros(0, np.int32), np.zeros(0, np.float32), "stop"),
  )


def first(example: Example) -> Choice:
  """Always the candidate that is shown first."""
  return 1


def coin(example: Example) -> Choice:
  """A fair coin for each pair and order; the same in every run."""
  shown = f"{example.id} {bool(example.extra.get('swapped'))}"
  return 1 if hashlib.sha256(shown.encode()).digest()[0] < 128 else 2


def longer(example: Example) -> Choice:
  """The answer of more characters; a coin where they are equally long."""
  one, two = map(len, example.responses)
  return coin(example) if one == two else 1 if one > two else 2


def shorter(example: Example) -> Choice:
  """The answer of fewer characters; a coin where they are equally long."""
  one, two = map(len, example.responses)
  return coin(example) if one == two else 1 if one < two else 2


BASELINES: dict[str, Callable[[Example], Choice]] = {
  "always the first": first,
  "a coin": coin,
  "the longer answer": longer,
  "the shorter answer": shorter,
}
OF_TEXTS = (longer, shorter)  # these judge pairs of texts alone


def figures(
  examples: Sequence[Example],
  rule: rules.Rule,
  score: Callable[[answers.Judgements, answers.Judgements], Any],
) -> dict[str, dict[str, Any]]:
  """{name of a baseline: its figures}, those that the examples allow.

  Args:
    examples: pairs with gold answers, and those that people call equal.
    rule: the orders in which a judge is asked.
    score: (judgements as given, exchanged) -> figures, by the same rule.
  """
  known = [dataclasses.replace(e, media=()) for e in examples]  # media may be larger than memory
  known = [e for e, orders in zip(known, rule.asked(known), strict=True) if orders]
  out = {}
  for name, judge in BASELINES.items():
    asked = [e for e in known if e.responses] if judge in OF_TEXTS else known
    if not asked:
      continue
    given: list[Said | None] = [None] * len(asked)
    swapped: list[Said | None] = [None] * len(asked)
    for row, (example, orders) in enumerate(zip(asked, rule.orders(asked), strict=True)):
      for order in orders:
        shown = example.swapped() if order else example
        (swapped if order else given)[row] = Said(shown, (Verdict(judge(shown)),))
    found = score(given, swapped)
    out[name] = {figure: found[figure] for figure in FIGURES if figure in found}
  return out
