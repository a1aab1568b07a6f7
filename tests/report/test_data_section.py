"""What distill and reject made is known by what is in their figures."""

import json

from etils import epath

from cot_rm.report import data_section

ROW = {"pairs": 10, "agreement@1": 0.7, "1": 7, "2": 2, "failed": 1}
TAUGHT = {
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


def test_what_stages_made_stands_in_their_order(tmp_path):
  for name, figures in {"teach": TAUGHT, "again": REJECTED, "other": {"accuracy": 1.0}}.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "figures.json").write_text(json.dumps(figures))
  found = data_section.sections(epath.Path(tmp_path), {"teach": "distill", "again": "reject"})
  assert [one.title.partition(":")[0] for one in found] == ["teach", "again"]


def test_a_teacher_is_shown_by_attempts():
  found = data_section.taught("teach", TAUGHT)
  names = [name for _, name in found.legend]
  assert names == ["right at attempt 1", "right at attempt 2", "never right"]
  assert found.says == "kept 9 · failed 1 · calls 1,300 · 0.50 dollars"
  assert found.table.rows[0].name == "s"


def test_rejection_is_shown_as_what_it_kept():
  found = data_section.rejected("again", REJECTED)
  assert [name for _, name in found.legend] == ["kept", "hard"]
  assert "30 reasonings kept of 40 samples: 75.0 % right, 5.0 % outside" in found.says
