"""Eval writes every figure, once for each model."""

import json

import pytest

from cot_rm import judge
from cot_rm.schema import TASKS
from cot_rm.stages import eval as eval_stage


def test_every_figure_of_every_model_is_written_and_none_is_scored_twice(
  workdir, config, capsys, monkeypatch
):
  (workdir / "sft" / "training.json").write_text(json.dumps({"steps": 4, "seconds": 7.5}))
  assert eval_stage.run(config, workdir, "eval") is False
  summary = json.loads((workdir / "summary.json").read_text())
  assert list(summary["stages"]) == ["sft"]  # there is no model of RL or the control yet
  found = summary["stages"]["sft"]
  shares = {
    "accuracy",
    "first_slot_accuracy",
    "order_consistency",
    "parse_rate",
    "accuracy_parsed",
    "fidelity",
    "cut",
    "blank_accuracy",
  }
  assert shares <= found.keys() and all(0 <= found[name] <= 1 for name in shares)
  assert found["n"] == 6 and 0 < found["mean_length"] <= 8
  assert found["seconds"] == 7.5 and found["steps"] == 4
  assert found["families"] and found["families"].keys() <= set(TASKS)
  samples = (workdir / "eval" / "sft" / "samples" / "000000.jsonl").read_text().splitlines()
  assert len(samples) == 2 and json.loads(samples[0])["media"]
  assert "first slot accuracy" in capsys.readouterr().out
  assert "data:image/png;base64" in (workdir / "report.html").read_text()

  monkeypatch.setattr(judge, "load", lambda *_, **__: pytest.fail("it is scored again"))
  eval_stage.run(config, workdir, "eval")
  assert json.loads((workdir / "summary.json").read_text()) == summary


def test_a_model_by_its_path_is_scored_under_its_path(workdir, config):
  config.eval.models, config.eval.blank_pairs = f"{workdir}/world/model", 0
  eval_stage.run(config, workdir, "eval")
  (name,) = json.loads((workdir / "summary.json").read_text())["stages"]
  assert name.endswith("--world--model")
