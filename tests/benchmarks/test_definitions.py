"""Every figure says what it is and how many it is over."""

import pytest

from cot_rm.benchmarks import BENCHMARKS, definitions, rules, voting


def test_a_figure_by_family_is_of_its_kind():
  found = definitions.describe({"families/mcq": 3, "accuracy": 7}, "in one order")
  assert found["families/mcq"] == {"what": f"{definitions.WORDS['families']}; in one order", "n": 3}
  assert found["accuracy"]["n"] == 7


@pytest.mark.parametrize("benchmark", [*BENCHMARKS.values()])
def test_no_figure_is_without_its_definition(example, says, benchmark):
  extra = {"id": "RLHF-V_1", "path": "mcq/1.png", "Category": "vqa", "prompt": "p"}
  rows = [example(gold, **extra) for gold in (1, 2, 1)]
  for row in rows:
    row.extra["task"] = "edit"
  answers = ((1, 1, None), (2, 2, 1))
  given = [says(row, a) for row, a in zip(rows, answers[0], strict=True)]
  swapped = [says(row.swapped(), a) for row, a in zip(rows, answers[1], strict=True)]
  truth = {"fidelity": lambda text, e: 0.5, "contradicts": lambda text, task: False}
  found = benchmark.score(given, swapped, **truth)
  numbers = {name for name, value in found.items() if isinstance(value, float)}
  numbers |= {f"families/{name}" for name in found["families"]}
  for kind in ("lengths", "families_plus", "families_tau"):
    numbers |= {f"{kind}/{name}" for name in found.get(kind, ())}
  assert set(found["definitions"]) == numbers
  counts = {name: said["n"] for name, said in found["definitions"].items()}
  assert counts["accuracy"] == counts["order_consistency"] == 3
  assert counts["parse_rate"] == counts["fidelity"] == 6
  assert counts["accuracy_parsed"] == counts["contradictions"] == 5
  assert counts["first_slot_accuracy"] == 3


def test_votes_have_theirs(example, says):
  given = [says(example(1), 1), says(example(2), 2)]
  found = voting.score(given, [None, None], rules.Rule(), at=[1])
  assert {name: said["n"] for name, said in found["definitions"].items()} == {
    "vote": 2,
    "any": 2,
    "tokens": 2,
    "tokens_stopped": 2,
  }
