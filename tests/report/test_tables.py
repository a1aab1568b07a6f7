"""Tables show each figure once, with its interval, and say which is best."""

import math

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
  assert column(table, "Trained")["sft"].text == "3 min 05 s"
  assert "Faithful" not in [head.text for head in table.heads]


def test_less_is_better_of_contradictions_and_none_is_best_where_all_are_alike():
  table = tables.headline(BOTH, {})
  assert [cell.best for cell in column(table, "Contradicts").values()] == [False, True]
  assert not any(cell.best for cell in column(table, "Parsed").values())


def test_a_gain_is_over_the_model_that_a_stage_started_from():
  table = tables.headline(BOTH, {"rl": "sft", "sft": "world"})
  assert column(table, "Gain")["rl"] == ("+10.3", "over sft", False)
  assert column(table, "Gain")["sft"].text == tables.NONE


def test_other_figures_are_all_there_and_what_is_not_finite_is_a_dash():
  table = tables.rest(BOTH)
  assert column(table, "Pairs")["rl"].text == "1,300"
  assert column(table, "New figure")["rl"].text == "0.250"
  assert column(table, "New figure")["sft"].text == tables.NONE
  assert column(table, "Blank")["rl"].text == tables.NONE
  assert "Accuracy" not in [head.text for head in table.heads]


def test_families_stand_with_intervals_and_gaps():
  table = tables.by_family(BOTH)
  assert [head.text for head in table.heads] == ["Stage", "image generation", "video generation"]
  assert column(table, "image generation")["sft"] == ("90.0 %", "87.0–93.0", False)
  assert column(table, "image generation")["rl"] == ("91.0 %", "", True)
  assert column(table, "video generation")["rl"].text == tables.NONE
  assert not tables.by_family(BOTH, "families_plus").heads[1:]


def test_a_definition_stands_once():
  said = lambda what, n: {"what": what, "n": n}
  one = {"families/mcq": said("share of right verdicts", 200), "fidelity": said("mean", 1300)}
  two = {**one, "accuracy": said("the same", 900), "fidelity": said("mean", 12)}
  summary = {"a": {"definitions": one}, "b": {"definitions": two}, "c": {}}
  assert tables.definitions(summary) == [
    ("families: mcq", "share of right verdicts", "200"),
    ("fidelity", "mean", "12 to 1,300"),
    ("accuracy", "the same", "900"),
  ]


def test_difficulty_has_a_row_a_source():
  row = {"pairs": 1000, "agreement@1": 0.7, "1": 700, "2": 200, "failed": 100}
  table = tables.difficulty({"shapes image generation": row})
  assert [cell.text for cell in table.rows[0].cells] == ["1,000", "70.0 %", "700", "200", "100"]
  assert table.heads[3] == ("1", "right at attempt 1")


def test_a_value_is_known_where_it_is_a_finite_number():
  assert tables.known(0.0)
  assert not tables.known(None) and not tables.known(math.nan)
