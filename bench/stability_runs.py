"""The RL arms of finished runs of configs/stability_ablation.py: accuracies, metrics, collapse."""

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm import metrics  # noqa: E402
from cot_rm.report import plots, run_info  # noqa: E402

# Accuracy lost, accuracy left: the limits of a collapse, see bench/stability.py.
DROP, FLOOR = 0.10, 0.55
WINDOW = 9  # rollouts of the running mean
FINITE = ("train/loss", "train/grad_norm")  # a run ends where one of them is not finite
PER_ROLLOUT = "rl/mean_length"  # a metric that every rollout has


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
    """Whether it ended early or lost its accuracy; see bench/stability.py."""
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
