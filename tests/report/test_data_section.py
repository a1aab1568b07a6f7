"""The data of distill and reject is recognised by the keys of its figures."""

import json

from etils import epath

from cot_rm.report import data_section

ROW = {"pairs": 10, "agreement@1": 0.7, "1": 7, "2": 2, "failed": 1}
DISTILLED = {
  "pairs": 10,
  "kept": 9,
  "failed": 1,
  "calls": 1300,
  "dollars": 0.5,
  "by_source": {"s": ROW},
}
REJECTED = {
  "pairs": 40,
  "kept": 30,
  "hard": 10,
  "reasonings": 30,
  "samples": 40,
  "right": 0.75,
  "unparsable": 0.05,
}


def test_sections_are_in_the_order_of_the_stages(tmp_path):
  for name, figures in {"teach": DISTILLED, "again": REJECTED, "other": {"accuracy": 1.0}}.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "figures.json").write_text(json.dumps(figures))
  found = data_section.sections(epath.Path(tmp_path), {"teach": "distill", "again": "reject"})
  assert [one.title.partition(":")[0] for one in found] == ["teach", "again"]


def test_distillation_is_shown_by_attempts():
  found = data_section.distillation("teach", DISTILLED)
  names = [name for _, name in found.legend]
  assert names == ["correct at attempt 1", "correct at attempt 2", "never correct"]
  assert found.caption == "pairs kept 9 · never correct 1 · calls 1,300 · 0.50 dollars"
  assert found.table.rows[0].name == "s"


def test_rejection_is_shown_by_the_pairs_it_kept():
  found = data_section.rejection("again", REJECTED)
  assert [name for _, name in found.legend] == ["with a correct sample: kept", "without: hard"]
  assert "30 of 40 samples kept" in found.caption
  assert "75.0 % of all samples are correct, 5.0 % have no readable verdict" in found.caption


def test_pairs_that_were_left_out_are_said_and_none_is_not():
  found = data_section.rejection("again", {**REJECTED, "left_out": 3})
  assert found.caption.endswith("; 3 pairs left out as unusable")
  assert "left out" not in data_section.rejection("again", REJECTED).caption
