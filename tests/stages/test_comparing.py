"""Two models' answers are compared without asking; folders, logs and pages of a real run."""

import json

import pytest

from cot_rm.data import answer_log, datasets
from cot_rm.stages import comparing, preflight
from cot_rm.stages import eval as eval_stage
from tests.stages import answers_by_rule


@pytest.fixture
def scored(workdir, config, monkeypatch):
  """Scores a model that always takes the first, and one that is right about the first 3 pairs."""
  pairs = list(datasets.open(workdir / "world" / "data", config.eval.split))[: config.eval.pairs]
  right = {pair.id for pair in pairs[:3]}
  config.eval.blank_pairs = 0
  for model, choose in (("sft", lambda e: 1), ("rl", lambda e: e.gold if e.id in right else 1)):
    answers_by_rule.install(monkeypatch, choose, f"<think>{model} sees</think>")
    (workdir / model / "model").mkdir(parents=True, exist_ok=True)
    config.eval.models = model
    eval_stage.run(config, workdir, "eval")
  monkeypatch.undo()
  return pairs


def test_the_table_and_the_page_show_where_two_models_differ(
  workdir, config, scored, capsys, monkeypatch
):
  before = {path: path.read_bytes() for path in (workdir / "eval").glob("*/*.jsonl")}
  config.eval.compare = "sft,rl"
  assert eval_stage.run(config, workdir, "eval") is False
  found = json.loads((workdir / "eval" / "comparison.json").read_text())
  n = len(scored)
  assert found["names"] == ["sft", "rl"] and found["overall"]["n"] == n
  assert found["overall"]["first"] == 0.5 and found["second_alone"] == 3
  assert found["overall"]["difference"] == pytest.approx(1.5 / n, abs=1e-6)
  assert "difference" in capsys.readouterr().out
  page = (workdir / "eval" / "comparison.html").read_text()
  assert page.count("<article") == 2 * 3 and "sft sees" in page and "rl sees" in page
  assert "pairs, mode both: mean of both orders." in page
  assert "data:image/png;base64" in page and scored[0].id in page
  assert {path: path.read_bytes() for path in (workdir / "eval").glob("*/*.jsonl")} == before


def test_folders_and_workdirs_are_taken_too(workdir, config, scored, tmp_path):
  other = tmp_path / "other" / "eval"
  other.mkdir(parents=True)
  (workdir / "eval" / "rl").rename(other / "rl")
  config.eval.compare = f"{workdir}/eval/sft, {tmp_path}/other"
  assert preflight.of_stage(config, workdir, "eval", "eval").faults == []
  found = comparing.folders(workdir, "eval", config.eval.compare)
  assert [*map(str, found)] == [f"{workdir}/eval/sft", str(other / "rl")]
  eval_stage.run(config, workdir, "eval")
  names = json.loads((workdir / "eval" / "comparison.json").read_text())["names"]
  assert names == ["sft", "rl"]


def test_settings_that_differ_are_said(workdir, config, scored, caplog):
  note = workdir / "eval" / "rl" / "asked.json"
  note.write_text(json.dumps(json.loads(note.read_text()) | {"grammar": "direct"}))
  config.eval.compare = "sft,rl"
  eval_stage.run(config, workdir, "eval")
  assert 'other settings: grammar: "' in caplog.text
  assert "Settings that differ" in (workdir / "eval" / "comparison.html").read_text()


@pytest.mark.parametrize(
  "value, message",
  [
    ("sft", "must be two folders of answers, A,B"),
    ("sft,", "must be two folders of answers, A,B"),
    ("sft,rk", "'rk' is no folder of answers.*eval/rl, .*eval/sft"),
    ("sft,.", "'.' is no folder of answers"),
  ],
)
def test_what_cannot_be_compared_is_found_before_anything_else(
  workdir, config, scored, value, message
):
  config.eval.compare = value
  (fault,) = preflight.of_stage(config, workdir, "eval", "eval").faults
  with pytest.raises(ValueError, match=message):
    raise ValueError(fault)
  with pytest.raises(ValueError, match=message):
    eval_stage.run(config, workdir, "eval")


def test_pairs_that_a_log_lacks_are_not_compared(workdir, config, scored):
  log = workdir / "eval" / "rl" / comparing.LOG
  lines = log.read_text().splitlines()
  log.write_text("\n".join(lines[2:]) + "\n" + lines[0][:20])  # killed while it wrote a line
  text = log.read_text()
  config.eval.compare = "sft,rl"
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "eval" / "comparison.json").read_text())
  assert len(scored) - 2 <= found["overall"]["n"] < len(scored)
  assert log.read_text() == text  # nothing of another run is changed
  given, swapped = answer_log.logged(log, scored)
  assert sum(one is None for one in [*given, *swapped]) == 2


def test_answers_in_one_order_are_not_compared_in_a_mode_that_asks_both(workdir, config, scored):
  log = workdir / "eval" / "rl" / comparing.LOG
  lines = log.read_text().splitlines()
  log.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["order"] == 0))
  config.eval.compare = "sft,rl"
  with pytest.raises(ValueError, match="rl/judgements.jsonl has no answer .* mode 'both' asks"):
    eval_stage.run(config, workdir, "eval")
  config.eval.mode = "first"
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "eval" / "comparison.json").read_text())
  assert found["overall"]["n"] == len(scored)
