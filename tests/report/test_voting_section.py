"""Votes of the models that have them, at every k that at least one model has."""

from cot_rm.report import plots, voting_section

TWO = [[0.6, 0.8], [0.7, 0.9]]
SFT = {
  "voting": {
    "at": [1, 5],
    "vote": [0.7, 0.8],
    "any": [0.7, 0.95],
    "vote_intervals": TWO,
    "any_intervals": TWO,
    "families": {"image_generation": {"vote": [0.75, 0.85], "any": [0.75, 0.99]}},
    "tokens": [100.0, 500.0],
    "tokens_stopped": [100.0, 320.5],
    "samples": 15,
    "n": 1300,
    "temperature": 1.0,
  }
}
LAST = {
  "tokens": [900.0],
  "tokens_stopped": [500.0],
  "vote": [0.9],
  "any": [0.9],
  "vote_intervals": [[0.8, 1]],
  "any_intervals": [[0.8, 1]],
}
RL = {"voting": SFT["voting"] | {"at": [15], "families": {}, "vote_plus": [0.5]} | LAST}


def test_votes_are_shown_by_k_with_their_intervals():
  found = voting_section.section({"sft": SFT, "control": {}, "rl": RL})
  heads = [head.text for head in found.table.heads]
  assert heads[1:4] == ["voting@1", "voting@5", "voting@15"]
  assert heads[4:] == ["any@1", "any@5", "any@15", "Acc+ voting@15"]
  sft, rl = found.table.rows
  assert sft.cells[1] == ("80.0 %", "70.0–90.0", False) and sft.cells[2].text == "–"
  assert rl.cells[2].text == "90.0 %" and rl.cells[6] == ("50.0 %", "", False)
  assert found.sampling == [(15, 1.0, 1300)] and len(found.plots) == 3
  # A model has one colour on the whole page, whether others have votes or not.
  assert found.legend == [(plots.color(0), "sft"), (plots.color(2), "rl")]


def test_each_family_has_a_row():
  (row,) = voting_section.section({"sft": SFT}).families.rows
  assert row.name == "sft, image generation"
  assert [cell.text for cell in row.cells] == ["75.0 %", "85.0 %", "75.0 %", "99.0 %"]


def test_without_votes_there_is_no_section():
  assert voting_section.section({"sft": {"accuracy": 1.0}}) is None


def test_tokens_have_a_table_of_their_own():
  found = voting_section.section({"sft": SFT, "control": {}})
  heads = [head.text for head in found.costs.heads]
  assert heads == ["Model", "tokens@1", "tokens@5", "with early stop@1", "with early stop@5"]
  assert [cell.text for cell in found.costs.rows[0].cells][1:3] == ["500.0", "100.0"]
