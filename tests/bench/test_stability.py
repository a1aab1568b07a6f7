"""bench/stability.py: which arms have collapsed or ended early, and the plot."""

import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

SVG = "{http://www.w3.org/2000/svg}"
SOUND = {
  "reward/accuracy": 0.8,
  "rl/mean_length": 40.0,
  "rl/filtered": 0.25,
  "train/loss": 0.1,
  "train/grad_norm": 1.0,
  "train/ratio_max": 3.0,
  "train/clip_fraction": 0.125,
}
FALLEN = SOUND | {"train/loss": None, "train/grad_norm": None, "train/ratio_max": None}


def curves(rows):
  """As metrics.read gives them."""
  names = {name for row in rows for name in row}
  known = lambda name: [
    (i, row[name]) for i, row in enumerate(rows, 1) if row.get(name) is not None
  ]
  return {name: tuple(map(list, zip(*known(name), strict=True))) for name in names if known(name)}


def write_run(workdir, arms, before=0.8):
  """A finished run; arms: {arm: (accuracy after it, rows of metrics.jsonl)}."""
  listed = ["world", "sft", *(f"{arm}:rl" for arm in arms), "eval"]
  sections = {arm: {"start": "sft"} for arm in arms}
  for arm, (_, rows) in arms.items():
    (workdir / arm).mkdir(parents=True)
    lines = [json.dumps({"step": i, **row}) for i, row in enumerate(rows, 1)]
    lines.append(json.dumps({"step": len(rows), "check/accuracy": 0.5}))
    (workdir / arm / "metrics.jsonl").write_text("\n".join(lines) + "\n")
  (workdir / "config.json").write_text(json.dumps({"config": {"stages": listed, **sections}}))
  scored = {"sft": before, **{arm: after for arm, (after, _) in arms.items()}}
  figures = {model: {"accuracy": accuracy} for model, accuracy in scored.items()}
  (workdir / "summary.json").write_text(json.dumps({"stages": figures}))
  return workdir


@pytest.fixture
def workdirs(tmp_path):
  """Two seeds: in the second one arm ended early, in its third rollout."""
  whole, cut = [SOUND] * 8, [SOUND, SOUND | {"train/ratio_max": 4e5}, FALLEN]
  first = {"reinforce_pp": (0.78, whole), "grpo": (0.82, whole)}
  second = {"reinforce_pp": (0.4, cut), "grpo": (0.84, whole)}
  return [
    write_run(tmp_path / "runs" / "a", first),
    write_run(tmp_path / "runs" / "b", second, before=0.7),
  ]


def called(bench, monkeypatch, *words):
  monkeypatch.setattr(sys, "argv", ["stability.py", *map(str, words)])
  bench.main()


@pytest.mark.parametrize(
  ("before", "after", "rows", "collapsed"),
  [
    (0.83, 0.73, [SOUND], True),  # in floats 0.83 - 0.73 is less than 0.1
    (0.83, 0.74, [SOUND], False),
    (0.60, 0.55, [SOUND], True),
    (0.60, 0.56, [SOUND], False),
    (0.80, 0.85, [SOUND, FALLEN], True),
  ],
)
def test_an_arm_has_collapsed_if_it_ended_early_lost_ten_points_or_guesses(
  bench, before, after, rows, collapsed
):
  assert bench.ArmRun("a", before, after, curves(rows)).collapsed == collapsed


@pytest.mark.parametrize(
  ("rows", "ended"),
  [
    ([SOUND] * 3, None),
    ([SOUND, SOUND, FALLEN], 3),
    ([FALLEN], 1),
    ([SOUND, SOUND | {"train/grad_norm": None}], 2),
    ([SOUND | {"train/ratio_max": None}, SOUND], None),  # an infinite ratio alone stops nobody
    ([SOUND | {"rl/filtered_right": None}], None),
  ],
)
def test_an_arm_ends_at_the_rollout_whose_loss_or_gradient_is_null(bench, rows, ended):
  assert bench.ArmRun("a", 0.8, 0.8, curves(rows)).ended_at == ended


def test_only_the_last_quarter_counts_as_late_and_one_bad_rollout_is_not_its_lowest(bench):
  values = [0.1] * 60 + [0.8] * 60
  values[-20] = 0.0
  run = bench.ArmRun("a", 0.8, 0.8, curves([{"reward/accuracy": value} for value in values]))
  assert run.lowest_late_accuracy == pytest.approx(0.8 * (bench.WINDOW - 1) / bench.WINDOW)
  assert math.isnan(bench.ArmRun("a", 0.8, 0.8, {}).lowest_late_accuracy)


def test_a_few_rollouts_are_smoothed_without_a_shift(bench):
  smooth = bench.stability_plot.smooth
  np.testing.assert_allclose(smooth(np.array([1.0, 3.0])), [1.0, 3.0])
  np.testing.assert_allclose(smooth(np.array([1.0, 2.0, 3.0, 4.0]))[1:3], [2.0, 3.0])


def test_a_mean_on_a_logarithmic_axis_is_geometric_and_over_the_remaining_runs(bench):
  log = bench.stability_plot.Panel("train/grad_norm", "", log=True)
  shown = [(np.array([1, 2]), np.array([1.0, 7.0])), (np.array([1]), np.array([100.0]))]
  steps, values = bench.stability_plot.mean_curve(shown, log)
  assert steps.tolist() == [1, 2]
  np.testing.assert_allclose(values, [10.0, 7.0])
  zero = bench.ArmRun("a", 0.8, 0.8, curves([{"train/grad_norm": 0.0}, {"train/grad_norm": 2.0}]))
  assert bench.stability_plot.smoothed_curve(zero, log)[0].tolist() == [2]


def test_two_seeds_give_a_table_a_plot_and_a_line_of_json(
  bench, workdirs, tmp_path, capsys, monkeypatch
):
  called(bench, monkeypatch, *workdirs)
  out = capsys.readouterr().out
  found = json.loads(out.splitlines()[-1])
  assert found["grpo"] == {
    "seeds": 2,
    "before": 0.75,
    "after": 0.83,
    "worst": 0.82,
    "collapsed": 0,
    "ended_early": 0,
    "ended_at": [],
    "lowest_reward_accuracy": 0.8,
    "grad_norm_max": 1.0,
    "ratio_max": 3.0,
    "filtered": 0.25,
    "clipped": 0.125,
  }
  fallen = found["reinforce_pp"]
  assert (fallen["collapsed"], fallen["ended_early"], fallen["ended_at"]) == (1, 1, [3])
  assert (fallen["worst"], fallen["ratio_max"]) == (0.4, None)
  for text in ("runs/a", "1 of 2", "1: 3", "59.0 (40.0..78.0)", "78.0 40.0x", "inf", "400,000"):
    assert text in out, text
  assert "10 points or more below" in out and "at most 55 %" in out

  picture = ElementTree.parse(tmp_path / "runs" / "stability" / "stability.svg")
  texts = {"".join(node.itertext()) for node in picture.iter(f"{SVG}text")}
  assert {"reinforce_pp", "grpo", "ended: not finite", "rollout", "80 %"} <= texts
  assert {panel.title for panel in bench.stability_plot.PANELS[:3]} <= texts
  assert f"{bench.stability_plot.PANELS[3].title}, cut at 100,000" in texts


def test_arms_whose_difference_had_no_effect_are_named(bench):
  one, other = curves([SOUND | {"time/step": 1.0}]), curves([SOUND | {"train/loss": 0.2}])
  again = curves([SOUND | {"time/step": 2.0, "train/preclip_fraction": 0.0}])
  seed = lambda run, found: bench.ArmRun(run, 0.8, 0.8, found)
  runs = {
    "a": [seed("r0", one), seed("r1", other)],
    "b": [seed("r0", again), seed("r1", again)],
    "c": [seed("r2", one)],
  }
  assert [line.partition(",")[0] for line in bench.identical_arms(runs)] == [
    "a and b are the same in r0"
  ]


def test_runs_that_ended_in_their_first_rollout_are_plotted_too(bench, tmp_path):
  runs = bench.read_runs([write_run(tmp_path / "a", {"grpo": (0.8, [FALLEN])})])
  bench.stability_plot.draw(runs, tmp_path / "out" / "stability.svg")
  assert "ended: not finite" in (tmp_path / "out" / "stability.svg").read_text()
  assert bench.row(runs["grpo"])[1] == "1: 1" and "inf" in bench.row(runs["grpo"])


def test_a_run_that_is_not_finished_is_named(bench, workdirs, capsys, monkeypatch):
  (workdirs[1] / "summary.json").unlink()
  with pytest.raises(SystemExit) as ended:
    called(bench, monkeypatch, *workdirs)
  assert ended.value.code == 2
  assert f"{workdirs[1]} has no summary.json" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--quick", "runs/stability")])
def test_runs_or_quick_but_not_both(bench, capsys, monkeypatch, words):
  with pytest.raises(SystemExit):
    called(bench, monkeypatch, *words)
  assert "give workdirs of finished runs, or --quick" in capsys.readouterr().err


def test_quick_reads_the_smoke_size_that_it_ran(bench, tmp_path, capsys, monkeypatch):
  def run(command, **_):
    assert command[1:5] == ["-m", "cot_rm.main", "--config", "configs/stability_ablation.py:smoke"]
    write_run(Path(command[command.index("--workdir") + 1]), {"grpo": (0.8, [SOUND] * 2)})

  monkeypatch.setattr(bench.subprocess, "run", run)
  called(bench, monkeypatch, "--quick", "--out", tmp_path)
  assert json.loads(capsys.readouterr().out.splitlines()[-1])["grpo"]["seeds"] == 1
  assert (tmp_path / "stability.svg").exists()
