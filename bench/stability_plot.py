"""The plot of bench/stability.py: metrics of all arms over rollouts."""

import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np
from stability_runs import WINDOW, ArmRun, Arms, smooth

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm.report import plots  # noqa: E402

CROSS = {"marker": "X", "markersize": 9, "markeredgecolor": "white"}


class Panel(NamedTuple):
  """A plot of a metric over rollouts."""

  metric: str
  title: str
  log: bool = False
  level: float | None = None  # height of a dotted line; the metric is a share
  top: float = math.inf  # upper limit of the axis


PANELS = (
  Panel("reward/accuracy", "Accuracy of the samples", level=0.5),
  Panel("rl/mean_length", "Answer length, tokens"),
  Panel("train/grad_norm", "Gradient norm, mean over the steps of a rollout", log=True),
  # Without a limit, the steps before an overflow would set the scale.
  Panel("train/ratio_max", "Largest importance ratio of a token in a rollout", log=True, top=1e5),
)

Curve = tuple[np.ndarray, np.ndarray]  # (steps i[T], values f[T])


def draw(arms: Arms, path: Path) -> None:
  """Writes a plot: a panel for each metric, a colour for each arm, thin lines for the seeds."""
  settings = {"svg.fonttype": "none", "svg.hashsalt": "stability", "font.size": 9}
  with matplotlib.rc_context(settings):
    figure = matplotlib.figure.Figure(figsize=(10, 6.4), layout="constrained")
    for panel, axes in zip(PANELS, figure.subplots(2, 2, sharex=True).flat, strict=True):
      _draw_panel(axes, panel, arms)
    for axes in figure.axes[-2:]:
      axes.set_xlabel("rollout", color=plots.SOFT)
    _add_legend(figure, arms)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _draw_panel(axes: matplotlib.axes.Axes, panel: Panel, arms: Arms) -> None:
  plots.set_plain_frame(axes)
  plots.set_step_axis(axes)
  if panel.level is not None:
    axes.axhline(panel.level, color=plots.SOFT, linewidth=0.9, linestyle=":")
    axes.yaxis.set_major_formatter(plots.format_percent)
  curves = [[smoothed_curve(run, panel) for run in runs] for runs in arms.values()]
  values = [value for of_arm in curves for _, values in of_arm for value in values]
  if panel.log and values and max(values) > plots.LOG_RATIO * min(values):
    plots.set_log_axis(axes, max(values) / min(values))
  for index, (of_arm, runs) in enumerate(zip(curves, arms.values(), strict=True)):
    _draw_arm(axes, panel, runs, of_arm, plots.color(index))
  title = panel.title
  if axes.get_ylim()[1] > panel.top:
    axes.set_ylim(top=panel.top)
    title += f", cut at {panel.top:,.0f}"
  axes.set_title(title, loc="left", color=plots.INK, fontsize=10)


def smoothed_curve(run: ArmRun, panel: Panel) -> Curve:
  """A metric of an arm as a running mean: geometric, without zeros, on a logarithmic axis."""
  steps, values = map(np.asarray, run.metric(panel.metric))
  if not panel.log:
    return steps, smooth(values)
  positive = values > 0
  return steps[positive], np.exp(smooth(np.log(values[positive])))


def _draw_arm(
  axes: matplotlib.axes.Axes,
  panel: Panel,
  runs: Sequence[ArmRun],
  curves: Sequence[Curve],
  colour: str,
) -> None:
  """The lines of an arm, and a cross at the last value of a run that ended early."""
  steps, values = mean_curve(curves, panel)
  # After a run has ended, the mean is that of the other runs: the line is dashed.
  ends = [run.ended_at for run in runs if run.ended_at is not None]
  cut = int((steps < min(ends, default=math.inf)).sum())
  dot = {"marker": "o", "markersize": 4} if len(steps) == 1 else {}  # a point has no line
  axes.plot(steps[:cut], values[:cut], color=colour, linewidth=2.2, **dot)
  if cut < len(steps):
    rest = slice(max(cut - 1, 0), None)
    axes.plot(steps[rest], values[rest], color=colour, linewidth=1.6, linestyle=(0, (2, 1)))
  for run, (steps, values) in zip(runs, curves, strict=True):
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.4)
    if run.ended_at is not None:
      # A run that ended in its first rollout has no value: its cross is at the upper edge.
      where = {} if len(steps) else {"transform": axes.get_xaxis_transform()}
      y = min(values[-1], panel.top) if len(steps) else 1.0
      axes.plot([run.ended_at], [y], **CROSS, color=colour, zorder=5, clip_on=False, **where)


def mean_curve(curves: Sequence[Curve], panel: Panel) -> Curve:
  """The mean of the curves at each step, over those that reach it; geometric on a log axis."""
  by_step = {}
  for steps, values in curves:
    for step, value in zip(steps, values, strict=True):
      by_step.setdefault(int(step), []).append(math.log(value) if panel.log else value)
  values = np.array([np.mean(by_step[step]) for step in sorted(by_step)])
  return np.array(sorted(by_step)), np.exp(values) if panel.log else values


def _add_legend(figure: matplotlib.figure.Figure, arms: Arms) -> None:
  line = functools.partial(matplotlib.lines.Line2D, [], [])
  handles = [line(color=plots.color(i), linewidth=2.2, label=arm) for i, arm in enumerate(arms)]
  title = f"means over {WINDOW} rollouts"
  if max(map(len, arms.values())) > 1:
    title += "; thin: each seed; thick: their mean"
  if any(run.ended_at is not None for runs in arms.values() for run in runs):
    handles.append(line(**CROSS, color=plots.SOFT, linestyle="", label="ended: not finite"))
    title += ", dashed after a seed has ended"
  figure.legend(
    handles=handles,
    title=title,
    loc="outside upper left",
    alignment="left",
    ncols=len(handles),
    columnspacing=1.4,
    frameon=False,
    labelcolor=plots.INK,
  ).get_title().set_color(plots.SOFT)
