"""The bench of scoring: every step is timed, and none has to ask a model."""

import pytest


def test_every_step_from_the_log_to_the_report_is_timed(bench, tmp_path):
  found = bench.measure(tmp_path, 12, 4)
  assert list(found) == ["read", "score", "calibration", "votes", "compare", "report"]
  assert all(seconds > 0 for seconds in found.values())
  assert (tmp_path / "report.html").exists()


def test_the_log_is_that_of_a_judge_that_is_right_as_often_as_the_bench_says(bench, tmp_path):
  examples = [*bench.jsonl.read(bench.make_pairs(tmp_path, 400))]
  bench.make_log(tmp_path / "log.jsonl", examples, 1, seed=0)
  found = bench.pairs.score(*bench.read(tmp_path / "log.jsonl", examples, 1))
  assert found["accuracy_parsed"] == pytest.approx(bench.RIGHT, abs=0.05)
  assert found["unparsable"] == pytest.approx(bench.UNPARSABLE, abs=0.03)
  assert found["n"] == 400
