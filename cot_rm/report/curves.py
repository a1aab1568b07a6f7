"""Curves of the report: which metrics of a metrics.jsonl share a plot, and in which order."""

import re
from typing import NamedTuple

import numpy as np
from etils import epath

from cot_rm import metrics
from cot_rm.report import plots


class Panel(NamedTuple):
  """A plot of all metrics whose whole names match a pattern."""

  title: str
  pattern: str  # a regular expression
  caption: str = ""
  log: bool = False  # logarithmic axis, if all values are positive and differ widely
  share: bool = False  # values are shares, shown in per cent
  level: float | None = None  # height of a dotted line


PANELS = (
  Panel("Reward", r"reward/total", "weighted sum of all rewards, mean over samples"),
  Panel("Rewards by name", r"reward/(?!failed).+", "before weighting, mean over samples"),
  Panel(
    "Validation accuracy",
    r"check/accuracy(/.+)?",
    "on pairs that are not trained on: overall, and by task family",
    share=True,
  ),
  Panel(
    "Validation: other shares",
    r"check/(order_consistency|parse_rate|fidelity|contradictions)",
    "verdicts equal in both orders, readable answers, true statements, contradictory answers",
    share=True,
  ),
  Panel("Loss", r"train/loss", log=True),
  Panel("Answer length", r"rl/mean_length", "mean, in tokens"),
  Panel(
    "Position bias",
    r"rl/first_slot|check/verdict_slots",
    "share of verdicts for the candidate shown first; 50 % is unbiased",
    share=True,
    level=0.5,
  ),
  Panel(
    "Samples without a learning signal",
    r"rl/(silent_groups|filtered.*|cut)",
    "silent_groups: groups of equal rewards; filtered: tokens of zero advantage; cut: answers that "
    "reached the token limit",
    share=True,
  ),
  Panel(
    "Effective groups",
    r"rl/effective_groups",
    "share of the sampled groups with an advantage other than 0",
    share=True,
  ),
  Panel(
    "Groups trained on",
    r"rl/(used_groups|rounds)",
    "groups in a rollout, and rounds of sampling that it took",
  ),
  Panel(
    "Clipped tokens",
    r"train/(pre)?clip_fraction.*",
    "share of tokens whose gradient the clip removes",
    share=True,
  ),
  Panel("Importance ratio", r"train/ratio_.+", "policy over sampling policy, by token", log=True),
  Panel("KL to the reference", r"train/kl", "nats per token"),
  Panel("Entropy", r"train/entropy.*", "nats per sampled token"),
  Panel(
    "Sampler against trainer",
    r"agree/.+",
    "absolute difference of their log-probabilities, nats per token",
    log=True,
  ),
  Panel(
    "Effect of blank pictures",
    r"vision/logp_shift",
    "change of log-probabilities, nats per token; 0: the model ignores the pictures",
    log=True,
  ),
  Panel("Gradient norm", r"train/grad_norm", log=True),
  Panel("Samples without a reward", r"reward/failed.*", "number, by the reward that failed"),
)
PHASES = ("time/rollout", "time/rewards", "time/update")
STEP_TIME = "time/step"


class Plot(NamedTuple):
  """A plot of the page."""

  title: str
  caption: str
  url: str
  legend: list[tuple[str, str, str]]  # (colour, name, newest value) of each curve


class Plots(NamedTuple):
  """Plots of a metrics.jsonl."""

  shown: list[Plot]
  folded: list[Plot]  # metrics that are 0 throughout or match no panel


def plot_all(path: epath.Path) -> Plots:
  """Plots all metrics of a metrics.jsonl; no plots if the file does not exist."""
  curves, taken = metrics.read(path) if path.exists() else {}, set()
  plotted = Plots([], [])
  for panel in PANELS:
    names = [name for name in curves if re.fullmatch(panel.pattern, name) and name not in taken]
    taken.update(names)
    names.sort(key=lambda name: name.count("/"))  # a mean before its parts
    if names:
      url = plots.curves(
        [curves[name] for name in names], log=panel.log, level=panel.level, share=panel.share
      )
      all_zero = not any(any(curves[name][1]) for name in names)
      plot = Plot(panel.title, panel.caption, url, _legend(curves, names))
      (plotted.folded if all_zero else plotted.shown).append(plot)
  if phases := _phases(curves):
    taken.update((*PHASES, STEP_TIME))
    plotted.shown.append(phases)
  for name in sorted(curves.keys() - taken):
    plotted.folded.append(Plot(name, "", plots.curves([curves[name]]), _legend(curves, [name])))
  return plotted


def _legend(curves: metrics.Curves, names: list[str]) -> list[tuple[str, str, str]]:
  # The common first part of all names is left out.
  shared = len({name.partition("/")[0] for name in names}) == 1 < len(names)
  return [
    (plots.color(i), name.partition("/")[2] if shared else name, f"{curves[name][1][-1]:.4g}")
    for i, name in enumerate(names)
  ]


def _phases(curves: metrics.Curves) -> Plot | None:
  """The seconds of a step by phase, at the steps that have all phases; None for a single phase."""
  parts = [name for name in PHASES if name in curves]
  names = [name for name in (*parts, STEP_TIME) if name in curves]
  steps = sorted(set.intersection(*(set(curves[name][0]) for name in names))) if names else []
  if len(parts) < 2 or not steps:
    return None
  by_step = {name: dict(zip(*curves[name], strict=True)) for name in names}
  values = {name: np.array([by_step[name][step] for step in steps]) for name in names}
  total = values.get(STEP_TIME, np.sum([values[name] for name in parts], axis=0))
  legend = _legend(curves, parts)
  if STEP_TIME in curves:
    legend.append((plots.INK, STEP_TIME.partition("/")[2], f"{curves[STEP_TIME][1][-1]:.4g}"))
  caption = "line: the whole step, less than the sum of its phases if these overlap"
  url = plots.stacked_areas(steps, [values[name] for name in parts], total)
  return Plot("Seconds by phase", caption, url, legend)
