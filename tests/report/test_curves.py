"""Metrics that are read together share a plot; zero and unknown metrics are folded."""

import json

import pytest
from etils import epath

from cot_rm.report import curves, plots


@pytest.fixture
def drawn(monkeypatch):
  """Records the arguments of the plots instead of drawing them."""
  calls = []
  monkeypatch.setattr(plots, "curves", lambda series, **_: calls.append(series) or "url")
  monkeypatch.setattr(plots, "stacked_areas", lambda *parts: calls.append(parts) or "url")
  return calls


def plotted(folder, *rows):
  path = epath.Path(folder) / "metrics.jsonl"
  path.write_text("".join(json.dumps({"step": i, **row}) + "\n" for i, row in enumerate(rows)))
  return curves.plot_all(path)


def names(plot):
  return [name for _, name, _ in plot.legend]


def test_reward_components_share_a_plot(tmp_path, drawn):
  row = {"reward/format": 1, "reward/total": 1.5, "reward/accuracy": 0.5, "reward/failed": 2}
  shown, folded = plotted(tmp_path, row | {"reward/failed/accuracy": 2})
  assert [names(plot) for plot in shown] == [
    ["reward/total"],
    ["format", "accuracy"],
    ["failed", "failed/accuracy"],
  ]
  assert shown[1].legend[1] == (plots.color(1), "accuracy", "0.5") and not folded


def test_metrics_that_are_zero_throughout_or_unknown_are_folded(tmp_path, drawn):
  row = {
    "train/loss": 0.5,
    "train/clip_fraction_low": 0,
    "train/clip_fraction_high": 0,
    "my/own": 3,
  }
  shown, folded = plotted(tmp_path, row, row)
  assert [plot.title for plot in shown] == ["Loss"]
  assert [plot.title for plot in folded] == ["Clipped tokens", "my/own"]


def test_phases_are_stacked_at_the_steps_that_have_them_all(tmp_path, drawn):
  row = {"time/rollout": 2.0, "time/update": 1.0, "time/step": 3.5}
  shown, folded = plotted(tmp_path, row, {"time/step": 4.0}, row)
  assert names(shown[0]) == ["rollout", "update", "step"] and not folded
  (steps, (rollout, update), total) = drawn[0]
  assert steps == [0, 2]
  assert [list(part) for part in (rollout, update, total)] == [[2, 2], [1, 1], [3.5, 3.5]]


def test_a_single_phase_is_not_stacked(tmp_path, drawn):
  shown, folded = plotted(tmp_path, {"time/step": 3.5})
  assert not shown and [plot.title for plot in folded] == ["time/step"]


def test_without_metrics_there_are_no_plots(tmp_path, drawn):
  assert plotted(tmp_path) == ([], [])
  assert curves.plot_all(epath.Path(tmp_path) / "none" / "metrics.jsonl") == ([], [])
