"""Tables show each figure once, with its interval, and mark the best."""

import math
from typing import NamedTuple

import pytest

from cot_rm.report import tables

SFT = {
  "accuracy": 0.75,
  "parse_rate": 1.0,
  "contradictions": 0.1,
  "mean_length": 41.5,
  "n": 1300,
  "seconds": 185.0,
  "families": {"image_generation": 0.9, "video_generation": 0.55},
  "intervals": {"accuracy": [0.726, 0.7725], "families/image_generation": [0.87, 0.93]},
}
RL = SFT | {
  "accuracy": 0.8531,
  "contradictions": 0.02,
  "families": {"image_generation": 0.91},
  "intervals": {},
  "blank_accuracy": float("nan"),
  "new_figure": 0.25,
}
BOTH = {"sft": SFT, "rl": RL}


def column(table, head):
  place = [h.text for h in table.heads].index(head) - 1
  return {row.name: row.cells[place] for row in table.rows}


def test_the_headline_shows_shares_with_their_intervals_and_times():
  table = tables.headline(BOTH, {})
  assert column(table, "Accuracy")["sft"] == ("75.0 %", "72.6–77.2", False)
  assert column(table, "Accuracy")["rl"] == ("85.3 %", "", True)
  assert column(table, "Tokens")["sft"].text == "41.5"
  assert column(table, "Training time")["sft"].text == "3 min 05 s"
  assert "Faithful" not in [head.text for head in table.heads]


def test_fewer_contradictions_are_better_and_of_equal_values_none_is_best():
  table = tables.headline(BOTH, {})
  assert [cell.best for cell in column(table, "Contradictory").values()] == [False, True]
  assert not any(cell.best for cell in column(table, "Parsed").values())


def test_values_that_are_shown_alike_are_equally_good():
  better, worse = RL | {"parse_rate": 0.99996}, RL | {"parse_rate": 0.9}
  table = tables.headline({"sft": SFT, "rl": better, "control": worse}, {})
  assert [cell.best for cell in column(table, "Parsed").values()] == [True, True, False]
  table = tables.headline({"sft": SFT, "rl": better}, {})
  assert [cell.best for cell in column(table, "Parsed").values()] == [False, False]


def test_a_gain_is_over_the_model_that_training_started_from():
  table = tables.headline(BOTH, {"rl": "sft", "sft": "world"})
  assert column(table, "Gain")["rl"] == ("+10.3", "over sft", False)
  assert column(table, "Gain")["sft"].text == tables.MISSING


def test_all_other_figures_are_shown_and_a_value_that_is_not_finite_is_a_dash():
  table = tables.other_figures(BOTH)
  assert column(table, "Pairs")["rl"].text == "1,300"
  assert column(table, "New figure")["rl"].text == "0.250"
  assert column(table, "New figure")["sft"].text == tables.MISSING
  assert column(table, "Blank pictures")["rl"].text == tables.MISSING
  assert "Accuracy" not in [head.text for head in table.heads]


def test_families_are_shown_with_intervals_and_gaps():
  table = tables.by_family(BOTH)
  assert [head.text for head in table.heads] == ["Model", "image generation", "video generation"]
  assert column(table, "image generation")["sft"] == ("90.0 %", "87.0–93.0", False)
  assert column(table, "image generation")["rl"] == ("91.0 %", "", True)
  assert column(table, "video generation")["rl"].text == tables.MISSING
  assert not tables.by_family(BOTH, "families_plus").heads[1:]


def test_a_definition_is_listed_once():
  definition = lambda what, n: {"what": what, "n": n}
  one = {
    "families/mcq": definition("share of right verdicts", 200),
    "fidelity": definition("mean", 1300),
  }
  two = {**one, "accuracy": definition("the same", 900), "fidelity": definition("mean", 12)}
  summary = {"a": {"definitions": one}, "b": {"definitions": two}, "c": {}}
  assert tables.definitions(summary) == [
    ("families: mcq", "share of right verdicts", "200"),
    ("Faithful", "mean", "12 to 1,300"),
    ("Accuracy", "the same", "900"),
  ]


def test_difficulty_has_a_row_for_each_source():
  row = {"pairs": 1000, "agreement@1": 0.7, "1": 700, "2": 200, "failed": 100}
  table = tables.difficulty({"shapes image generation": row})
  assert [cell.text for cell in table.rows[0].cells] == ["1,000", "70.0 %", "700", "200", "100"]
  assert table.heads[3].text == "attempt 1"


def test_a_value_is_known_if_it_is_a_finite_number():
  assert tables.is_known(0.0)
  assert not tables.is_known(None) and not tables.is_known(math.nan)


@pytest.mark.parametrize("wrong", [{"kind": "shares"}, {"sign": 2}])
def test_a_figure_of_an_unknown_kind_is_refused(wrong):
  with pytest.raises(ValueError, match="figure 'n'.*unknown"):
    tables.Figure("n", "Pairs", **wrong)


def test_judges_without_a_model_have_a_table_of_their_own():
  coin = {"accuracy": 0.5, "n": 10, "families": {}, "intervals": {"accuracy": [0.2, 0.8]}}
  table = tables.baselines({"a coin": coin})
  assert column(table, "Accuracy")["a coin"].text == "50.0 %" and table.heads[0].text == "Judge"
  assert tables.baselines({}).rows == []


def test_published_results_stand_with_their_caveats():
  class Theirs(NamedTuple):
    model: str
    values: list
    source: str
    caveats: list

  rows = [Theirs("GPT", [49.14, None], "a paper", ["one order", "4,711 items"])]
  table = tables.published(["general", "tau"], rows)
  assert [cell.text for cell in table.rows[0].cells] == [
    *("49.1", tables.MISSING),
    *("one order; 4,711 items", "a paper"),
  ]


def test_bins_of_length_stay_in_their_order():
  summary = {"sft": {"lengths": {"shorter": 0.4, "within": 0.5}, "intervals": {}}}
  found = tables.by_length(summary | {"rl": {"lengths": {"within": 0.6, "longer": 0.9}}})
  assert [head.text for head in found.heads] == ["Model", "shorter", "within", "longer"]
  assert [cell.text for cell in found.rows[1].cells] == ["–", "60.0 %", "90.0 %"]


@pytest.mark.parametrize(
  "names, shown",
  [
    (("sft", "rl"), ("sft", "rl")),
    (("runs--a--rl--model",), ("runs--a--rl--model",)),
    (("runs--a--rl--model", "runs--b--rl--model"), ("a--rl--model", "b--rl--model")),
    (("owner--7b", "owner--7b--direct"), ("7b", "7b--direct")),
    (("a--b", "a"), ("a--b", "a")),
    (("a--b", "rl"), ("a--b", "rl")),
    ((), ()),
  ],
)
def test_long_names_of_models_lose_what_all_of_them_begin_with(names, shown):
  assert tables.short_names(names) == dict(zip(names, shown, strict=True))
