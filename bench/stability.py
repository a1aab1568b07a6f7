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
import itertools
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich.console
import rich.table
import rich.text
import stability_plot
from stability_runs import DROP, FLOOR, WINDOW, ArmRun, Arms, read_runs

ROOT = Path(__file__).resolve().parents[1]

WIDTH = 130  # characters, of the table
TIMINGS = ("time/", "sampler/")  # metrics that differ between equal runs


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
    out = args.out or workdirs[0].resolve().parent / "stability"
    stability_plot.draw(arms, out / "stability.svg")
  show(arms, rich.console.Console(width=WIDTH))
  sys.stdout.write(json.dumps({arm: figures(runs) for arm, runs in arms.items()}) + "\n")


if __name__ == "__main__":
  main()
