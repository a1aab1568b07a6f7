"""Which curves of a metrics.jsonl share a plot, and in what order they are read."""

import re
from typing import NamedTuple

import numpy as np

from cot_rm import metrics
from cot_rm.report import plots


class Panel(NamedTuple):
  """A plot that the page knows, of the curves whose whole names match."""

  title: str
  names: str  # a regular expression
  says: str = ""
  log: bool = False  # where every value is positive, and they lie far apart
  share: bool = False
  level: float | None = None  # a dotted line


PANELS = (
  Panel("Reward", r"reward/total", "the weighted sum, as it is learnt from"),
  Panel("Rewards", r"reward/(?!failed).+", "its parts, means over the samples that have them"),
  Panel("Accuracy on the check pairs", r"check/accuracy(/.+)?", "in all and by family", share=True),
  Panel(
    "Other shares of the check pairs",
    r"check/(order_consistency|parse_rate|fidelity|contradictions)",
    share=True,
  ),
  Panel("Loss", r"train/loss", log=True),
  Panel("Length of an answer", r"rl/mean_length", "tokens"),
  Panel(
    "Verdict slots",
    r"rl/first_slot|check/verdict_slots",
    "share of verdicts for the one that stands first",
    share=True,
    level=0.5,
  ),
  Panel(
    "What teaches nothing",
    r"rl/(silent_groups|filtered.*|cut)",
    "groups whose rewards are equal; tokens whose advantage is 0; answers that were cut",
    share=True,
  ),
  Panel(
    "Groups that teach",
    r"rl/effective_groups",
    "share of those sampled with an advantage other than 0",
    share=True,
  ),
  Panel("Groups trained on", r"rl/(used_groups|rounds)", "in a rollout, and rounds of sampling"),
  Panel(
    "Clipped tokens",
    r"train/(pre)?clip_fraction.*",
    "share that the clip keeps from learning",
    share=True,
  ),
  Panel("Ratio", r"train/ratio_.+", "to the policy that sampled", log=True),
  Panel("KL to the reference", r"train/kl", "nats a token"),
  Panel("Entropy", r"train/entropy.*", "nats a token that was sampled"),
  Panel("Sampler against trainer", r"agree/.+", "difference in log-probability, nats", log=True),
  Panel(
    "What blank pictures change", r"vision/logp_shift", "nats a token: 0 would be blind", log=True
  ),
  Panel("Gradient norm", r"train/grad_norm", log=True),
  Panel("Samples without a reward", r"reward/failed.*", "how many, by what failed"),
)
PHASES = ("time/rollout", "time/rewards", "time/update")
WHOLE = "time/step"


class Plot(NamedTuple):
  """A plot of the page."""

  title: str
  says: str
  url: str
  legend: list  # of (colour, name, newest value)


def plot_all(path):
  """(those that stand open, those that unfold): Plots of a metrics.jsonl.

  What is 0 throughout unfolds, and so does what no panel names. Both are empty without a file.
  """
  curves, taken, front, back = metrics.read(path) if path.exists() else {}, set(), [], []
  for panel in PANELS:
    names = [name for name in curves if re.fullmatch(panel.names, name) and name not in taken]
    taken.update(names)
    # The whole stands before its parts.
    names.sort(key=lambda name: name.count("/"))
    if names:
      url = plots.curves(
        [curves[name] for name in names], log=panel.log, level=panel.level, share=panel.share
      )
      quiet = not any(any(curves[name][1]) for name in names)
      (back if quiet else front).append(Plot(panel.title, panel.says, url, _legend(curves, names)))
  if phases := _phases(curves):
    taken.update((*PHASES, WHOLE))
    front.append(phases)
  for name in sorted(curves.keys() - taken):
    back.append(Plot(name, "", plots.curves([curves[name]]), _legend(curves, [name])))
  return front, back


def _legend(curves, names):
  # What all names of a plot begin with says nothing.
  shared = len({name.partition("/")[0] for name in names}) == 1 < len(names)
  short = lambda name: name.partition("/")[2] if shared else name
  return [
    (plots.color(place), short(name), f"{curves[name][1][-1]:.4g}")
    for place, name in enumerate(names)
  ]


def _phases(curves):
  """The seconds of a step by phase, at the steps that have them all; None where none has two."""
  parts = [name for name in PHASES if name in curves]
  every = [name for name in (*parts, WHOLE) if name in curves]
  steps = sorted(set.intersection(*(set(curves[name][0]) for name in every))) if every else []
  if len(parts) < 2 or not steps:
    return None
  at = {name: dict(zip(*curves[name], strict=True)) for name in every}
  values = {name: np.array([at[name][step] for step in steps]) for name in every}
  total = values.get(WHOLE, np.sum([values[name] for name in parts], axis=0))
  legend = _legend(curves, parts)
  if WHOLE in curves:
    legend.append((plots.INK, WHOLE.partition("/")[2], f"{curves[WHOLE][1][-1]:.4g}"))
  says = "the line is the whole step; less than its parts where some ran beside others"
  url = plots.areas(steps, [values[name] for name in parts], total)
  return Plot("Seconds by phase", says, url, legend)
