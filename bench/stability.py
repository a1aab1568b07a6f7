"""Which algorithms fell apart in configs/stability_ablation.py: a table, a plot, a line of JSON.

  python bench/stability.py runs/stability runs/stability-1 runs/stability-2 [--out FOLDER]
  python bench/stability.py --quick

Reads the workdirs of finished runs, one a seed; --quick runs the config's smoke size first, in a
temporary folder, and reads that. An arm is a stage of RL in such a run. A seed of it has collapsed

  where its run was ended by a loss or a gradient that is not finite, or
  where its held-out accuracy is at least 10 points under that of the SFT model it started from, or
  where that accuracy is at most 55 %, hardly more than a coin's.

The last rollout ends early too, where it is not finite. A step that is not finite is not taken:
what is scored of a run that ended early is the model without it.

stability.svg goes to FOLDER, without one to a folder "stability" beside the first workdir. The last
line is the figures as JSON, by arm; null is what is not finite.
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
from pathlib import Path
from typing import NamedTuple

import matplotlib
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

DROP, FLOOR = 0.10, 0.55  # of accuracy: see above
WINDOW = 9  # rollouts over which a curve is smoothed
WIDTH = 130  # of the table
CROSS = {"marker": "X", "markersize": 9, "markeredgecolor": "white"}
CLOCKS = ("time/", "sampler/")  # what is never the same twice
SOUND = ("train/loss", "train/grad_norm")  # what has to be finite for a run to go on
EVERY = "rl/mean_length"  # what each rollout has


class Panel(NamedTuple):
  """A plot over rollouts."""

  metric: str
  title: str
  log: bool = False
  level: float | None = None  # of shares: a dotted line
  top: float = math.inf  # past which nothing is shown


PANELS = (
  Panel("reward/accuracy", "Accuracy of the samples", level=0.5),
  Panel("rl/mean_length", "Length of an answer, tokens"),
  Panel("train/grad_norm", "Gradient norm, mean of a rollout's steps", log=True),
  # Some steps before it overflows it would leave the others no room.
  Panel("train/ratio_max", "Largest ratio of a token in a rollout", log=True, top=1e5),
)


@dataclasses.dataclass(frozen=True)
class Seed:
  """What became of an arm in one run."""

  run: str  # its workdir
  before: float  # held-out accuracy of the model it started from
  after: float  # and of its own
  curves: dict  # of its metrics.jsonl, see metrics.read

  @property
  def ended(self):
    """The rollout whose loss or gradient is not finite; None where all are."""
    sound = set.intersection(*(set(self.of(name)[0]) for name in SOUND))
    return next((step for step in self.of(EVERY)[0] if step not in sound), None)

  @property
  def collapsed(self):
    """See the head of the file. Rounded: 0.83 - 0.73 is less than 0.10."""
    low = round(self.before - self.after, 6) >= DROP or self.after <= FLOOR
    return low or self.ended is not None

  @property
  def lowest(self):
    """The least accuracy of samples, smoothed, in the last quarter of the rollouts it made."""
    values = np.asarray(self.of("reward/accuracy")[1])
    if not len(values):
      return math.nan
    return float(smooth(values)[-max(len(values) // 4, 1) :].min())

  def of(self, name):
    """([steps], [values]) where a metric is finite."""
    return self.curves.get(name, ([], []))

  def largest(self, name):
    """(the largest finite value, whether it was finite throughout)."""
    steps, values = self.of(name)
    return max(values, default=math.nan), len(steps) == len(self.of(EVERY)[0])


def smooth(values):
  """The running mean that is shown; of fewer values than its window over an odd number of them."""
  if not len(values):
    return values
  return plots.running_mean(values, window=min(WINDOW, len(values) - 1 + len(values) % 2))


def arms(workdir):
  """{arm: Seed} of a run.

  Raises:
    ValueError: it is not finished, or has no RL.
  """
  run, summary = (run_info.read_json(workdir / name) for name in ("config.json", "summary.json"))
  if run is None or summary is None:
    missing = "config.json" if run is None else "summary.json"
    raise ValueError(
      f"{workdir} has no {missing}: a finished run of configs/stability_ablation.py is asked"
    )
  figures, starts, out = summary["stages"], run_info.start_models(run), {}
  for arm in [folder for folder, stage in run_info.plan(run).items() if stage == "rl"]:
    for model in (starts[arm], arm):
      if model not in figures:
        raise ValueError(f"{workdir}/summary.json has no {model!r}: add it to config.eval.models")
    before, after = (figures[model]["accuracy"] for model in (starts[arm], arm))
    out[arm] = Seed(str(workdir), before, after, metrics.read(workdir / arm / "metrics.jsonl"))
  if not out:
    raise ValueError(f"{workdir} has no stage of RL")
  return out


def gather(workdirs):
  """{arm: [Seed]}, in the order of the workdirs."""
  out = {}
  for workdir in workdirs:
    for arm, seed in arms(workdir).items():
      out.setdefault(arm, []).append(seed)
  return out


def figures(seeds):
  """What the last line says of an arm: means, and the worst of its seeds."""
  known = [seed.lowest for seed in seeds if not math.isnan(seed.lowest)]
  return {
    "seeds": len(seeds),
    "before": round(float(np.mean([seed.before for seed in seeds])), 4),
    "after": round(float(np.mean([seed.after for seed in seeds])), 4),
    "worst": round(min(seed.after for seed in seeds), 4),
    "collapsed": sum(seed.collapsed for seed in seeds),
    "ended_early": sum(seed.ended is not None for seed in seeds),
    "ended_at": [seed.ended for seed in seeds if seed.ended is not None],
    "lowest_reward_accuracy": round(min(known), 4) if known else None,
    "grad_norm_max": _finite(seeds, "train/grad_norm"),
    "ratio_max": _finite(seeds, "train/ratio_max"),
    "filtered": _mean(seeds, "rl/filtered"),
    "clipped": _mean(seeds, "train/clip_fraction"),
  }


def _finite(seeds, name):
  """The largest value of a metric; None where one is not finite."""
  found = [seed.largest(name) for seed in seeds]
  return float(f"{max(value for value, _ in found):.4g}") if all(s for _, s in found) else None


def _mean(seeds, name):
  """The mean over all rollouts of all seeds; None where there is none."""
  values = [value for seed in seeds for value in seed.of(name)[1]]
  return round(float(np.mean(values)), 4) if values else None


HEADS = (  # of the columns behind the arm's name
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
collapsed: ended by a loss or gradient that is not finite, or held-out accuracy at least \
{100 * DROP:.0f} points under SFT's or at most {100 * FLOOR:.0f} %
SFT, after RL: held-out accuracy; x: ended early, and scored without the steps that failed
lowest late: of all seeds, the least accuracy of samples over {WINDOW} rollouts, in their last \
quarter
largest gradient: norm, mean of a rollout's steps; largest ratio: of a token, as the loss uses it, \
after Pre-CLIP
inf: at some rollout not finite; beneath it the largest that was
adv. 0: share of tokens whose advantage is 0, as they are filtered or all agree; clipped: that the \
clip keeps from learning"""


def show(runs, console):
  """The table: a row an arm."""
  names = dict.fromkeys(seed.run for seeds in runs.values() for seed in seeds)
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
  for arm, seeds in runs.items():
    table.add_row(*map(rich.text.Text, (arm, *row(seeds))))
  console.print(table)
  for line in twins(runs):
    console.print(rich.text.Text(line))


def twins(runs):
  """A line for each two arms of which some run has the same numbers: they are one experiment."""
  out = []
  for (one, first), (two, second) in itertools.combinations(runs.items(), 2):
    same = [a.run for a, b in itertools.product(first, second) if a.run == b.run and _alike(a, b)]
    if same:
      out.append(
        f"{one} and {two} are the same in {', '.join(same)}, number by number: "
        f"what sets them apart never came into play"
      )
  return out


def _alike(one, two):
  names = one.curves.keys() & two.curves.keys()
  return all(one.of(name) == two.of(name) for name in names if not name.startswith(CLOCKS))


def row(seeds):
  """The texts of an arm's cells."""
  out, after = figures(seeds), [seed.after for seed in seeds]
  at = ", ".join(map(str, out["ended_at"]))
  each = " ".join(_percent(s.after) + "x" * (s.ended is not None) for s in seeds)
  return (
    f"{out['collapsed']} of {out['seeds']}",
    f"{out['ended_early']}: {at}" if at else "0",
    _percent(out["before"]),
    f"{_percent(out['after'])} ({_percent(min(after))}..{_percent(max(after))})\n{each}",
    _percent(out["lowest_reward_accuracy"]),
    _most(seeds, "train/grad_norm"),
    _most(seeds, "train/ratio_max"),
    _percent(out["filtered"]),
    _percent(out["clipped"]),
  )


def _percent(share):
  return "-" if share is None else f"{100 * share:.1f}"


def _most(seeds, name):
  """The largest value of a metric, on a line of its own where one is not finite."""
  found = [seed.largest(name) for seed in seeds]
  known = [value for value, _ in found if not math.isnan(value)]
  lines = [] if all(sound for _, sound in found) else ["inf"]
  for value in [max(known)] if known else []:
    lines.append(f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}")
  return "\n".join(lines)


def draw(runs, path):
  """Writes the curves of all arms: a panel a metric, a colour an arm, thin lines for the seeds."""
  settings = {"svg.fonttype": "none", "svg.hashsalt": "stability", "font.size": 9}
  with matplotlib.rc_context(settings):
    figure = matplotlib.figure.Figure(figsize=(10, 6.4), layout="constrained")
    for panel, axes in zip(PANELS, figure.subplots(2, 2, sharex=True).flat, strict=True):
      _panel(axes, panel, runs)
    for axes in figure.axes[-2:]:
      axes.set_xlabel("rollout", color=plots.SOFT)
    _legend(figure, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _panel(axes, panel, runs):
  plots.set_plain_frame(axes)
  plots.set_step_axis(axes)
  if panel.level is not None:
    axes.axhline(panel.level, color=plots.SOFT, linewidth=0.9, linestyle=":")
    axes.yaxis.set_major_formatter(plots.format_percent)
  shown = [[curve(seed, panel) for seed in seeds] for seeds in runs.values()]
  values = [value for some in shown for _, values in some for value in values]
  if panel.log and values and max(values) > plots.LOG_RATIO * min(values):
    plots.set_log_axis(axes, max(values) / min(values))
  for place, (some, seeds) in enumerate(zip(shown, runs.values(), strict=True)):
    _arm(axes, panel, seeds, some, plots.color(place))
  title = panel.title
  if axes.get_ylim()[1] > panel.top:
    axes.set_ylim(top=panel.top)
    title += f", cut at {panel.top:,.0f}"
  axes.set_title(title, loc="left", color=plots.INK, fontsize=10)


def curve(seed, panel):
  """(steps, smoothed values) of a seed; 0 has no place where means are geometric."""
  steps, values = map(np.asarray, seed.of(panel.metric))
  if not panel.log:
    return steps, smooth(values)
  some = values > 0
  return steps[some], np.exp(smooth(np.log(values[some])))


def _arm(axes, panel, seeds, shown, colour):
  """The lines of an arm; where a run ended, a cross as high as its last value."""
  steps, values = mean(shown, panel)
  # From where a seed has ended the mean is that of the others: another line.
  ends = [seed.ended for seed in seeds if seed.ended is not None]
  cut = int((steps < min(ends, default=math.inf)).sum())
  dot = {"marker": "o", "markersize": 4} if len(steps) == 1 else {}  # which has no line
  axes.plot(steps[:cut], values[:cut], color=colour, linewidth=2.2, **dot)
  if cut < len(steps):
    rest = slice(max(cut - 1, 0), None)
    axes.plot(steps[rest], values[rest], color=colour, linewidth=1.6, linestyle=(0, (2, 1)))
  for seed, (at, height) in zip(seeds, shown, strict=True):
    axes.plot(at, height, color=colour, linewidth=0.8, alpha=0.4)
    if seed.ended is not None:
      # One that ended in its first rollout has no height.
      where = {} if len(at) else {"transform": axes.get_xaxis_transform()}
      y = min(height[-1], panel.top) if len(at) else 1.0
      axes.plot([seed.ended], [y], **CROSS, color=colour, zorder=5, clip_on=False, **where)


def mean(shown, panel):
  """(steps, the mean over the curves that have a value there); geometric where it is log."""
  at = {}
  for steps, values in shown:
    for step, value in zip(steps, values, strict=True):
      at.setdefault(int(step), []).append(math.log(value) if panel.log else value)
  values = np.array([np.mean(at[step]) for step in sorted(at)])
  return np.array(sorted(at)), np.exp(values) if panel.log else values


def _legend(figure, runs):
  line = functools.partial(matplotlib.lines.Line2D, [], [])
  handles = [line(color=plots.color(i), linewidth=2.2, label=arm) for i, arm in enumerate(runs)]
  says = f"means over {WINDOW} rollouts"
  if max(map(len, runs.values())) > 1:
    says += "; thin: each seed; thick: their mean"
  if any(seed.ended is not None for seeds in runs.values() for seed in seeds):
    handles.append(line(**CROSS, color=plots.SOFT, linestyle="", label="ended: not finite"))
    says += ", dashed where one has ended"
  figure.legend(
    handles=handles,
    title=says,
    loc="outside upper left",
    alignment="left",
    ncols=len(handles),
    columnspacing=1.4,
    frameon=False,
    labelcolor=plots.INK,
  ).get_title().set_color(plots.SOFT)


def quick(folder):
  """Runs the config at its smallest; returns the workdir."""
  workdir = folder / "smoke"
  command = [sys.executable, "-m", "cot_rm.main", "--config", "configs/stability_ablation.py:smoke"]
  # Its tables stay off the standard output, which is this script's own.
  subprocess.run(
    [*command, "--workdir", str(workdir)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
  )
  return workdir


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("workdirs", nargs="*", type=Path, help="of finished runs, one a seed")
  parser.add_argument("--quick", action="store_true", help="runs the smoke size, and reads that")
  parser.add_argument("--out", type=Path, help="the picture's folder; of --quick it is lost else")
  args = parser.parse_args()
  if bool(args.workdirs) == args.quick:
    parser.error("workdirs of finished runs, or --quick?")
  with tempfile.TemporaryDirectory() as folder:
    workdirs = [quick(Path(folder))] if args.quick else args.workdirs
    try:
      runs = gather(workdirs)
    except ValueError as error:
      parser.error(str(error))
    draw(runs, (args.out or workdirs[0].resolve().parent / "stability") / "stability.svg")
  show(runs, rich.console.Console(width=WIDTH))
  sys.stdout.write(json.dumps({arm: figures(seeds) for arm, seeds in runs.items()}) + "\n")


if __name__ == "__main__":
  main()
