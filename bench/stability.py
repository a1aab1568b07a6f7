"""Which RL algorithms collapse in configs/stability_ablation.py: a table, a plot, a JSON line.

  python bench/stability.py runs/stability runs/stability-1 runs/stability-2 [--out FOLDER]
  python bench/stability.py --quick

Reads the workdirs of finished runs, a run for each seed; --quick runs the smoke size of the config
first, in a temporary folder, and reads that. An arm is an RL stage of such a run. A seed of an arm
has collapsed if

  its loss or gradient became NaN or infinite, which ended it early, or
  its held-out accuracy is at least 10 points below that of the SFT model it started from, or
  its held-out accuracy is at most 55 %, close to guessing.

An optimizer step that is not finite is not taken: the score of an arm that ended early is that of
its last finite parameters.

Writes stability.svg into FOLDER, by default into a folder "stability" beside the first workdir. The
last line of the output is JSON, {arm: figures}; values that are not finite are null.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np
import rich.console
import rich.table
import rich.text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm import metrics  # noqa: E402
from cot_rm.report import plots, run_info  # noqa: E402

DROP, FLOOR = 0.10, 0.55  # accuracy lost, accuracy left: the limits of a collapse, see above
WINDOW = 9  # rollouts of the running mean
WIDTH = 130  # characters, of the table
CROSS = {"marker": "X", "markersize": 9, "markeredgecolor": "white"}
TIMINGS = ("time/", "sampler/")  # metrics that differ between equal runs
FINITE = ("train/loss", "train/grad_norm")  # a run ends where one of them is not finite
PER_ROLLOUT = "rl/mean_length"  # a metric that every rollout has


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


@dataclasses.dataclass(frozen=True)
class ArmRun:
  """An arm in one run: its accuracies and its metrics."""

  run: str  # workdir of the run
  before: float  # held-out accuracy of the model that it started from
  after: float  # held-out accuracy of its own model
  curves: metrics.Curves  # of its metrics.jsonl

  @property
  def ended_at(self) -> int | None:
    """The first rollout whose loss or gradient is not finite; None if all are finite."""
    finite = set.intersection(*(set(self.metric(name)[0]) for name in FINITE))
    return next((step for step in self.metric(PER_ROLLOUT)[0] if step not in finite), None)

  @property
  def collapsed(self) -> bool:
    """Whether it ended early or lost its accuracy; see the head of this file."""
    # Rounded: in floats, 0.83 - 0.73 is less than 0.10.
    low = round(self.before - self.after, 6) >= DROP or self.after <= FLOOR
    return low or self.ended_at is not None

  @property
  def lowest_late_accuracy(self) -> float:
    """Lowest running mean of the samples' accuracy in the last quarter of its rollouts; or NaN."""
    values = np.asarray(self.metric("reward/accuracy")[1])
    if not len(values):
      return math.nan
    return float(smooth(values)[-max(len(values) // 4, 1) :].min())

  def metric(self, name: str) -> tuple[list[int], list[float]]:
    """(steps, values) where a metric is finite."""
    return self.curves.get(name, ([], []))

  def largest(self, name: str) -> tuple[float, bool]:
    """(largest finite value of a metric, whether it was finite in every rollout)."""
    steps, values = self.metric(name)
    return max(values, default=math.nan), len(steps) == len(self.metric(PER_ROLLOUT)[0])


Arms = Mapping[str, Sequence[ArmRun]]  # {arm: its runs, one for each seed}


def smooth(values: np.ndarray) -> np.ndarray:
  """Running mean of f[T] over WINDOW values; over an odd number of them if T is smaller."""
  if not len(values):
    return values
  return plots.running_mean(values, window=min(WINDOW, len(values) - 1 + len(values) % 2))


def read_run(workdir: Path) -> dict[str, ArmRun]:
  """The arms of a finished run.

  Raises:
    ValueError: the run is not finished, has no RL stage, or did not score a model.
  """
  run, summary = (run_info.read_json(workdir / name) for name in ("config.json", "summary.json"))
  if run is None or summary is None:
    missing = "config.json" if run is None else "summary.json"
    raise ValueError(
      f"{workdir} has no {missing}: it is no finished run of configs/stability_ablation.py"
    )
  figures, start_models, out = summary["stages"], run_info.start_models(run), {}
  for arm in [folder for folder, stage in run_info.plan(run).items() if stage == "rl"]:
    for model in (start_models[arm], arm):
      if model not in figures:
        raise ValueError(f"{workdir}/summary.json has no {model!r}: add it to config.eval.models")
    before, after = (figures[model]["accuracy"] for model in (start_models[arm], arm))
    out[arm] = ArmRun(str(workdir), before, after, metrics.read(workdir / arm / "metrics.jsonl"))
  if not out:
    raise ValueError(f"{workdir} has no RL stage")
  return out


def read_runs(workdirs: Iterable[Path]) -> dict[str, list[ArmRun]]:
  """The arms of all runs; the runs of an arm are in the order of the workdirs."""
  out = {}
  for workdir in workdirs:
    for arm, run in read_run(workdir).items():
      out.setdefault(arm, []).append(run)
  return out


def figures(runs: Sequence[ArmRun]) -> dict[str, object]:
  """The figures of an arm: means over its runs, and the worst of them."""
  lowest = [r.lowest_late_accuracy for r in runs if not math.isnan(r.lowest_late_accuracy)]
  return {
    "seeds": len(runs),
    "before": round(float(np.mean([run.before for run in runs])), 4),
    "after": round(float(np.mean([run.after for run in runs])), 4),
    "worst": round(min(run.after for run in runs), 4),
    "collapsed": sum(run.collapsed for run in runs),
    "ended_early": sum(run.ended_at is not None for run in runs),
    "ended_at": [run.ended_at for run in runs if run.ended_at is not None],
    "lowest_reward_accuracy": round(min(lowest), 4) if lowest else None,
    "grad_norm_max": _largest_if_finite(runs, "train/grad_norm"),
    "ratio_max": _largest_if_finite(runs, "train/ratio_max"),
    "filtered": _mean(runs, "rl/filtered"),
    "clipped": _mean(runs, "train/clip_fraction"),
  }


def _largest_if_finite(runs: Sequence[ArmRun], name: str) -> float | None:
  """The largest value of a metric; None if a value is not finite."""
  found = [run.largest(name) for run in runs]
  if not all(finite for _, finite in found):
    return None
  return float(f"{max(value for value, _ in found):.4g}")


def _mean(runs: Sequence[ArmRun], name: str) -> float | None:
  """The mean of a metric over all rollouts of all runs; None without values."""
  values = [value for run in runs for value in run.metric(name)[1]]
  return round(float(np.mean(values)), 4) if values else None


HEADS = (  # of the columns after the arm's name
  "collapsed,\nof seeds",
  "ended early,\nat rollout",
  "SFT,\n%",
  "after RL, %\nmean (min..max), each",
  "lowest\nlate, %",
  "largest\ngradient",
  "largest\nratio",
  "adv. 0,\n%",
  "clipped,\n%",
)
CAPTION = f"""\
collapsed: loss or gradient not finite, or held-out accuracy {100 * DROP:.0f} points or more below \
SFT or at most {100 * FLOOR:.0f} %
SFT, after RL: held-out accuracy; x: ended early, scored with its last finite parameters
lowest late: lowest accuracy of samples, over all seeds, mean of {WINDOW} rollouts, in the last \
quarter of the rollouts
largest gradient: norm, mean over the steps of a rollout; largest ratio: importance ratio of a \
token, as in the loss, after Pre-CLIP
inf: not finite in at least one rollout; below it the largest finite value
adv. 0: share of tokens whose advantage is 0 (filtered, or equal rewards in the group); clipped: \
share of tokens whose gradient the clip removes"""


def show(arms: Arms, console: rich.console.Console) -> None:
  """Prints a table with a row for each arm."""
  names = dict.fromkeys(run.run for runs in arms.values() for run in runs)
  table = rich.table.Table(
    title=rich.text.Text(f"Stability: {', '.join(names)}"),
    caption=rich.text.Text(CAPTION),
    title_justify="left",
    caption_justify="left",
    show_lines=True,
  )
  table.add_column("", no_wrap=True)
  for head in HEADS:
    table.add_column(head, justify="right")
  for arm, runs in arms.items():
    table.add_row(*map(rich.text.Text, (arm, *row(runs))))
  console.print(table)
  for line in identical_arms(arms):
    console.print(rich.text.Text(line))


def identical_arms(arms: Arms) -> list[str]:
  """A line for each two arms that have equal metrics in a run: they are the same experiment."""
  out = []
  for (one, first), (two, second) in itertools.combinations(arms.items(), 2):
    pairs = itertools.product(first, second)
    same = [a.run for a, b in pairs if a.run == b.run and _equal_metrics(a, b)]
    if same:
      out.append(
        f"{one} and {two} are the same in {', '.join(same)}, number by number: "
        f"the setting that differs had no effect"
      )
  return out


def _equal_metrics(one: ArmRun, two: ArmRun) -> bool:
  names = one.curves.keys() & two.curves.keys()
  return all(one.metric(n) == two.metric(n) for n in names if not n.startswith(TIMINGS))


def row(runs: Sequence[ArmRun]) -> tuple[str, ...]:
  """The cells of an arm, in the order of HEADS."""
  out, after = figures(runs), [run.after for run in runs]
  at = ", ".join(map(str, out["ended_at"]))
  each = " ".join(_percent(run.after) + "x" * (run.ended_at is not None) for run in runs)
  return (
    f"{out['collapsed']} of {out['seeds']}",
    f"{out['ended_early']}: {at}" if at else "0",
    _percent(out["before"]),
    f"{_percent(out['after'])} ({_percent(min(after))}..{_percent(max(after))})\n{each}",
    _percent(out["lowest_reward_accuracy"]),
    _largest(runs, "train/grad_norm"),
    _largest(runs, "train/ratio_max"),
    _percent(out["filtered"]),
    _percent(out["clipped"]),
  )


def _percent(share: float | None) -> str:
  return "-" if share is None else f"{100 * share:.1f}"


def _largest(runs: Sequence[ArmRun], name: str) -> str:
  """The largest finite value of a metric; below "inf" if a value is not finite."""
  found = [run.largest(name) for run in runs]
  known = [value for value, _ in found if not math.isnan(value)]
  lines = [] if all(finite for _, finite in found) else ["inf"]
  for value in [max(known)] if known else []:
    lines.append(f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}")
  return "\n".join(lines)


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


def run_smoke_size(folder: Path) -> Path:
  """Runs the smoke size of the config in a folder; returns the workdir."""
  workdir = folder / "smoke"
  command = [sys.executable, "-m", "cot_rm.main", "--config", "configs/stability_ablation.py:smoke"]
  # Standard output is for the table and the JSON of this script alone.
  subprocess.run(
    [*command, "--workdir", str(workdir)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
  )
  return workdir


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("workdirs", nargs="*", type=Path, help="finished runs, one for each seed")
  parser.add_argument(
    "--quick", action="store_true", help="run the smoke size of the config and read it"
  )
  parser.add_argument(
    "--out", type=Path, help="folder of the plot; --quick keeps no plot without it"
  )
  args = parser.parse_args()
  if bool(args.workdirs) == args.quick:
    parser.error("give workdirs of finished runs, or --quick")
  with tempfile.TemporaryDirectory() as folder:
    workdirs = [run_smoke_size(Path(folder))] if args.quick else args.workdirs
    try:
      arms = read_runs(workdirs)
    except ValueError as error:
      parser.error(str(error))
    draw(arms, (args.out or workdirs[0].resolve().parent / "stability") / "stability.svg")
  show(arms, rich.console.Console(width=WIDTH))
  sys.stdout.write(json.dumps({arm: figures(runs) for arm, runs in arms.items()}) + "\n")


if __name__ == "__main__":
  main()
