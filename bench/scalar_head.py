"""What reasoning buys: a scalar-head reward model, trained in the minutes of a run, beside its RL.

  python bench/scalar_head.py runs/tiny [--pairs N] [--seconds N] [--lr RATE]
  python bench/scalar_head.py --quick

Reads the workdir of a finished run of configs/tiny.py and writes nothing into it. Trains a scalar
head (see scalar_reward.py) from the run's base model, on the pairs that the run's stages learnt
from (the teacher's pairs and the labelled ones), for the seconds that sft, reject, sft2 and rl
took, with the optimizer of sft2. Then both models judge the held-out pairs. The run's RL model is
asked both orders, greedily; a scalar has no order.

"accuracy": share of right verdicts with its 95 % interval; an answer outside the grammar, and two
equal rewards, are wrong. "seconds per judgement": from the pair to the verdict, picture decoding
included, compilation not; "encoding": the part of it before the model, measured apart. A judgement
of the RL model is one order of a pair, a judgement of the scalar head is both its rewards. --quick:
a new, small, untrained world, for both models. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import ml_collections
import numpy as np
import scalar_reward
from etils import epath

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm import host, schema  # noqa: E402
from cot_rm.benchmarks import intervals  # noqa: E402
from cot_rm.sampler.sampling import Sampling  # noqa: E402
from cot_rm.stages import common  # noqa: E402

STAGES = ("sft", "reject", "sft2", "rl")  # that made the RL model of the base model
DATA = ("distill/data:kept", "world/data:train")  # the pairs that these stages learnt from
PAIRS = 32  # of a training step
Given = TypeVar("Given")
Result = TypeVar("Result")


class Setting(NamedTuple):
  """What is compared."""

  workdir: epath.Path
  base: str  # folder of the stage that made the base model
  judge: str  # folder of the stage that made the model that reasons
  data: Sequence[str]  # "folder:split" of the training pairs
  seconds: float  # of the training
  count: int = 0  # held-out pairs, the first ones; 0: all
  lr: float = 0.0  # peak learning rate of the training; 0: that of sft2


class Answers(NamedTuple):
  """A model's answers to the held-out pairs."""

  credits: np.ndarray  # f64[N, orders]: 1 where the verdict is right
  seconds: float  # of a judgement
  encoding: float  # of these seconds: texts to tokens, pictures to patches

  def figures(self, examples: Sequence[schema.Example]) -> dict[str, Any]:
    """Accuracy of all pairs and by task, each with its 95 % interval, and the seconds."""
    tasks = np.array([example.task for example in examples])
    ids = [example.id for example in examples]
    families = {task: np.flatnonzero(tasks == task) for task in schema.TASKS if task in tasks}
    return {
      **self._share(np.arange(len(ids)), ids),
      "families": {task: self._share(rows, ids) for task, rows in families.items()},
      "seconds_per_judgement": round(self.seconds, 6),
      "encoding_seconds": round(self.encoding, 6),
    }

  def _share(self, rows: np.ndarray, ids: Sequence[str]) -> dict[str, Any]:
    values = self.credits[rows]
    clusters = np.repeat([ids[row] for row in rows], values.shape[1])
    interval = intervals.share(values.reshape(-1), clusters)
    return {"accuracy": round(float(values.mean()), 6), "interval": interval, "n": len(rows)}


def seconds_of(workdir: epath.Path, names: Sequence[str]) -> float:
  """The seconds that stages of a run took.

  Raises:
    ValueError: a stage is not done.
  """
  missing = [name for name in names if not (workdir / name / "done.json").exists()]
  if missing:
    raise ValueError(
      f"{workdir}: {', '.join(missing)} not done there; give the workdir of a finished run of "
      "configs/tiny.py, or --seconds"
    )
  return sum(json.loads((workdir / name / "done.json").read_text())["seconds"] for name in names)


def read_config(workdir: epath.Path) -> ml_collections.ConfigDict:
  """The config that a run's folder keeps."""
  return ml_collections.ConfigDict(json.loads((workdir / "config.json").read_text())["config"])


def prepare(config: ml_collections.ConfigDict) -> None:
  """Settings of the process as those of a run."""
  host.prepare()
  devices, why = host.cpu_devices(config.cpu_devices)
  if devices:
    jax.config.update("jax_num_cpu_devices", devices)
    say(f"{devices} CPU devices: {why}")
  if config.compile_cache:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compile_cache))


def reasoned(
  config: ml_collections.ConfigDict, setting: Setting, examples: Sequence[schema.Example]
) -> Answers:
  """The answers of the model that reasons, in both orders."""
  knobs = config.eval
  judge = common.load_judge(
    config, setting.workdir, setting.judge, max_prompts=knobs.max_prompts, rules="sample_rules"
  )
  sampling = Sampling(
    temperature=0.0, max_tokens=knobs.max_tokens, repetition_penalty=knobs.repetition_penalty
  )

  def ask(examples: Sequence[schema.Example]) -> np.ndarray:
    both = judge.judge_both_orders(examples, grammar=config.grammar, n=1, sampling=sampling, seed=0)
    right = [[one.verdicts[0].answer == one.example.gold for one in side] for side in both]
    return np.array(right, np.float64).T

  ask(examples[: 2 * knobs.max_prompts])  # compiles
  credits, seconds = timed(ask, examples)
  encode = lambda example: judge.encode(example, grammar=config.grammar)
  encoding = timed(lambda given: [*map(encode, given)], examples)[1]
  return Answers(credits, seconds / credits.size, encoding / len(examples))


def scored(
  config: ml_collections.ConfigDict, setting: Setting, examples: Sequence[schema.Example]
) -> tuple[Answers, scalar_reward.Trained]:
  """The answers of a scalar head, and its training."""
  base = common.load_judge(
    config, setting.workdir, setting.base, max_prompts=config.eval.max_prompts
  )
  places = [place.rpartition(":") for place in setting.data]
  source = [
    example
    for data, _, split in places
    for example in common.open_examples(config, setting.workdir, data, split)
  ]
  optimizer = config.sft2.optim.to_dict()
  optimizer["lr"] = setting.lr or optimizer["lr"]
  say(f"{len(source):,} training pairs, {setting.seconds:.0f} seconds")
  trained = scalar_reward.train_for(
    setting.seconds, base, source, optimizer, pairs=PAIRS, seed=config.seed
  )
  leads = scalar_reward.make_leads(base, trained, pairs=config.eval.max_prompts)
  leads(examples[: config.eval.max_prompts])  # compiles
  found, seconds = timed(leads, examples)
  encode = scalar_reward.make_encode(base.processor)
  encoding = timed(lambda given: [*map(encode, given)], examples)[1]
  credits = (found > 0).astype(np.float64)[:, None]
  return Answers(credits, seconds / len(found), encoding / len(found)), trained


def timed(function: Callable[[Given], Result], given: Given) -> tuple[Result, float]:
  """(the function's result, the seconds that it took)."""
  began = time.monotonic()
  result = function(given)
  return result, time.monotonic() - began


def measure(config: ml_collections.ConfigDict, setting: Setting) -> dict[str, Any]:
  """The figures of both models, see the docstring of the bench."""
  heldout = common.open_examples(config, setting.workdir, config.eval.data, config.eval.split)
  count = min(setting.count or len(heldout), len(heldout))
  examples = [heldout[i] for i in range(count)]
  scalar, trained = scored(config, setting, examples)
  reasoning = reasoned(config, setting, examples)
  first, second = reasoning.credits.mean(axis=1), scalar.credits.mean(axis=1)
  gain = intervals.difference(first, second, [example.id for example in examples])
  return {
    "pairs": count,
    "reasoning": reasoning.figures(examples),
    "scalar": {
      **scalar.figures(examples),
      "training_seconds": round(trained.seconds, 1),
      "steps": trained.steps,
      "losses": trained.losses,
      "training_accuracies": trained.accuracies,
    },
    "difference": {"accuracy": round(float((first - second).mean()), 6), "interval": gain},
    "times_as_long": round(reasoning.seconds / scalar.seconds, 2),
  }


def show(found: dict[str, Any], setting: Setting) -> None:
  """Prints a table with a column for each model."""
  sides = [found["reasoning"], found["scalar"]]
  row = lambda name, cells: say(f"{name:<24}" + "".join(f"{cell:>24}" for cell in cells))
  row(f"{found['pairs']:,} held-out pairs", [f"{setting.judge}, reasoning", "scalar head"])
  row("accuracy, %", map(_share_cell, sides))
  for task in sides[0]["families"]:
    row(f"  {task}", [_share_cell(side["families"][task]) for side in sides])
  row("seconds per judgement", [f"{side['seconds_per_judgement']:.5f}" for side in sides])
  row("  of it encoding", [f"{side['encoding_seconds']:.5f}" for side in sides])
  row("training, seconds", [f"{setting.seconds:.0f}", f"{sides[1]['training_seconds']:.0f}"])
  low, high = (100 * x for x in found["difference"]["interval"])
  say(
    f"reasoning less scalar: {100 * found['difference']['accuracy']:+.1f} points "
    f"({low:+.1f} to {high:+.1f}), {found['times_as_long']:.1f} times the seconds; the scalar head "
    f"took {sides[1]['steps']:,} steps of {PAIRS} pairs"
  )
  say("its training loss, in parts of equal length: " + ", ".join(map(str, sides[1]["losses"])))


def _share_cell(figures: dict[str, Any]) -> str:
  low, high = (100 * x for x in figures["interval"])
  return f"{100 * figures['accuracy']:.1f} ({low:.1f} to {high:.1f})"


def say(line: str) -> None:
  """Prints a line at once."""
  sys.stdout.write(line + "\n")
  sys.stdout.flush()


def quick_setting(folder: Path) -> Setting:
  """A small world whose untrained model stands for both models."""
  workdir = folder / "run"
  command = [sys.executable, "-m", "cot_rm.main", "--config", "configs/tiny.py:smoke"]
  command += ["--config.stages=('world',)", "--workdir", str(workdir)]
  # Standard output is for the table and the JSON of this script alone.
  subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
  return Setting(epath.Path(workdir), "world", "world", DATA[1:], seconds=10)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("workdir", nargs="?", help="of a finished run")
  parser.add_argument("--quick", action="store_true", help="a few steps in a small new world")
  parser.add_argument("--seconds", type=float, help="of the training; as the run's stages took")
  parser.add_argument("--pairs", type=int, default=0, help="held-out pairs; 0: all")
  parser.add_argument("--lr", type=float, default=0.0, help="of the training; that of sft2")
  args = parser.parse_args()
  if bool(args.workdir) == args.quick:
    parser.error("give the workdir of a finished run, or --quick")
  with tempfile.TemporaryDirectory() as folder:
    if args.quick:
      setting = quick_setting(Path(folder))
    else:
      workdir = epath.Path(args.workdir)
      try:
        seconds = args.seconds or seconds_of(workdir, STAGES)
      except ValueError as error:
        parser.error(str(error))
      setting = Setting(workdir, "base", STAGES[-1], DATA, seconds, args.pairs, args.lr)
    config = read_config(setting.workdir)
    prepare(config)
    found = measure(config, setting)
  show(found, setting)
  say(json.dumps(found))


if __name__ == "__main__":
  main()
