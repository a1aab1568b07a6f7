"""Curves that are read together share a plot; what nobody waits for unfolds."""

import json

import pytest
from etils import epath

from cot_rm.report import curves, plots


@pytest.fixture
def drawn(monkeypatch):
  """Lists what is drawn, in place of drawing it."""
  calls = []
  monkeypatch.setattr(plots, "curves", lambda series, **_: calls.append(series) or "url")
  monkeypatch.setattr(plots, "areas", lambda *parts: calls.append(parts) or "url")
  return calls


def plotted(folder, *rows):
  path = epath.Path(folder) / "metrics.jsonl"
  path.write_text("".join(json.dumps({"step": i, **row}) + "\n" for i, row in enumerate(rows)))
  return curves.plot_all(path)


def names(plot):
  return [name for _, name, _ in plot.legend]


def test_reward_components_share_a_plot(tmp_path, drawn):
  row = {"reward/format": 1, "reward/total": 1.5, "reward/accuracy": 0.5, "reward/failed": 2}
  front, back = plotted(tmp_path, row | {"reward/failed/accuracy": 2})
  assert [names(plot) for plot in front] == [
    ["reward/total"],
    ["format", "accuracy"],
    ["failed", "failed/accuracy"],
  ]
  assert front[1].legend[1] == (plots.color(1), "accuracy", "0.5") and not back


def test_what_is_zero_throughout_and_what_is_unknown_unfolds(tmp_path, drawn):
  row = {
    "train/loss": 0.5,
    "train/clip_fraction_low": 0,
    "train/clip_fraction_high": 0,
    "my/own": 3,
  }
  front, back = plotted(tmp_path, row, row)
  assert [plot.title for plot in front] == ["Loss"]
  assert [plot.title for plot in back] == ["Clipped tokens", "my/own"]


def test_phases_stand_one_upon_the_other_at_the_steps_that_have_all(tmp_path, drawn):
  row = {"time/rollout": 2.0, "time/update": 1.0, "time/step": 3.5}
  front, back = plotted(tmp_path, row, {"time/step": 4.0}, row)
  assert names(front[0]) == ["rollout", "update", "step"] and not back
  (steps, (rollout, update), total) = drawn[0]
  assert steps == [0, 2]
  assert [list(part) for part in (rollout, update, total)] == [[2, 2], [1, 1], [3.5, 3.5]]


def test_one_phase_is_no_stack(tmp_path, drawn):
  front, back = plotted(tmp_path, {"time/step": 3.5})
  assert not front and [plot.title for plot in back] == ["time/step"]


def test_of_no_metrics_there_are_no_plots(tmp_path, drawn):
  assert plotted(tmp_path) == ([], [])
  assert curves.plot_all(epath.Path(tmp_path) / "none" / "metrics.jsonl") == ([], [])
