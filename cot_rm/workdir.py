"""A run's folder: the record of its config and command lines, and the folder of each stage.

workdir/config.json   {"config": the resolved config, "runs": [command, time, commit, versions]}
workdir/<folder>/     of each entry of config.stages
"""

import datetime
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from absl import logging
from etils import epath

from cot_rm import begun, files, knobs
from cot_rm.knobs import Path, Tree

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "transformers", "numpy")

# Knobs that have another name today, so that an older workdir still opens; None: removed. A row of
# a stage's section holds for all copies of that section.
RENAMED_KNOBS: dict[str, str | None] = {
  "distill.teacher.careless": "distill.teacher.contradicting",
  "eval.check": "eval.val_split",
  "eval.check_pairs": "eval.val_pairs",
  "eval.rows": "eval.max_prompts",
  "judge.rows": "judge.max_prompts",
  "model.products": "model.compute_dtype",
  "more": None,  # of configs without a control
  "reject.rows": "reject.max_prompts",
  "rl.ahead": "rl.async_rollouts",
  "rl.least_attempts": "rl.min_attempts",
  "rl.look_every": "rl.vision_check_every",
  "rl.questions": "rl.prompts",
  "rl.rounds": "rl.max_resample_rounds",
  "rl.rows": "rl.max_prompts",
  "rl.settings.grpo.max_tokens": None,  # these are the `max_tokens` of rl.sampling
  "rl.settings.reinforce_pp.max_tokens": None,
  "rl.settings.rloo.max_tokens": None,
  "rl.settings.stable_reinforce.max_tokens": None,
  "rl.silent": "rl.zero_variance",
  "rl.steps": "rl.rollouts",
  "rl.train_questions": "rl.train_prompts",
  "rl.unsound": "rl.on_nonfinite",
  "rl.updates": "rl.minibatches",
  "sampler.chunk": "sampler.decode_chunk",
  "sampler.memory": "sampler.kv_memory",
  "sampler.piece": "sampler.prefill_chunk",
  "sampler.spare": "sampler.extra_prompts",
  "sampler.together": "sampler.max_group",
}
# Knobs that older versions did not have, with the value that such a run in fact used. If several
# rows fit a knob, the first one holds.
ADDED_KNOBS: dict[str, Any] = {
  "control_sft.control": True,
  "data.over_white": True,
  "data.pairs": "all",
  "data.scale_depth": True,  # False in fact, but for pictures of more than 8 bits alone
  "data.ties": "drop",
  "data.turn_exif": True,
  "eval.repetition_penalty": 1.0,
  "judge.repetition_penalty": 1.0,
  "model.base": "",
  "processor.control_tokens": "refuse",
  "processor.video.max_pixels": None,
  "processor.video.min_frames": None,
  "processor.video.min_pixels": None,
  "processor.video.mode": "flat",
  "processor.video.total_pixels": None,
  "reject.sampling.repetition_penalty": 1.0,
  "rl.optim.decay_vectors": True,
  "judge.split": "train",
  "rl.optim.frozen": [],
  "rl.optim.muon": 0.0,
  "rl.optim.weight_decay": 0.0,
  "rl.sampling.repetition_penalty": 1.0,
  "rl.resample_by": "total",
  "rl.sampling.logps_temperature": 1.0,
  "sft.contradicting": "refuse",  # references that are refused today were learnt from
  "sft.control": False,
  "sft.optim.decay_vectors": True,
  "sft.optim.frozen": [],
  "sft.optim.muon": 0.0,
  "sft.optim.weight_decay": 0.0,
  "sft.speed_of": "sft",
  "world.shapes.frame_side": 56,
  "world.shapes.frames": 4,
  "world.shapes.image_generation": 0.4,
  "world.shapes.image_understanding": 0.4,
  "world.shapes.objects": [1, 2],
  "world.shapes.side": 84,
  "world.shapes.video_generation": 0.1,
  "world.shapes.video_understanding": 0.1,
}
# {older name: name in configs/ today} of stage folders and of the sections of the same name.
RENAMED_FOLDERS: dict[str, str] = {
  "again": "sft2",
  "checked": "rl_consistency",
  "control": "control_sft",
  "more": "control_sft",
}
# Knobs whose values name folders of stages.
NAMES_FOLDERS = ("start", "data", "models", "minutes_of", "speed_of")

STAGE_SECTIONS = ("sft", "rl", "distill", "reject")  # the sections that configs/ copy


def default(config_file: str) -> str:
  """The workdir of a config: configs/tiny.py:smoke -> runs/tiny-smoke, configs/rl.py -> runs/rl."""
  path, _, argument = config_file.partition(":")
  name = pathlib.PurePath(path).stem
  return f"runs/{name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', argument)}" if argument else f"runs/{name}"


def entries(stages: str | Iterable[str]) -> dict[str, str]:
  """{folder: stage} of config.stages, in order.

  Args:
    stages: entries "stage" or "folder:stage"; an entry may hold several with commas between.

  Raises:
    ValueError: two entries have the same folder, or one has no name of a folder.
  """
  plan = {}
  for entry in ",".join([stages] if isinstance(stages, str) else stages).split(","):
    folder, colon, stage = entry.strip().partition(":")
    if colon and not re.fullmatch(r"\w[\w.-]*", folder):
      raise ValueError(
        f"config.stages: {entry.strip()!r} is no entry: before the colon is the name of a folder "
        f"inside the workdir, of letters, digits, '_', '-' and '.', as in 'sft2:sft'"
      )
    if folder in plan:
      raise ValueError(
        f"config.stages: two stages would write into {folder!r}; "
        f"give one a folder of its own, such as '{stage or folder}2:{stage or folder}'"
      )
    plan[folder] = stage or folder
  return plan


def record(
  workdir: epath.Path,
  config: Tree,
  command: Sequence[str],
  same_rates: begun.SameRates | None = None,
) -> None:
  """Writes workdir/config.json: the resolved config, and one more entry of `runs`.

  A workdir of an older version is brought up to date first: see `migrate` and `move_folders`. A
  stage that is done, and that now has more steps, is not done: its done.json gets another name.

  Args:
    workdir: the run's folder.
    config: the resolved config, as JSON has it.
    command: the command line.
    same_rates: whether a schedule of other length has the same learning rates so far.

  Raises:
    ValueError: a knob that a begun stage depends on has changed; the message lists the knobs, and
      what to remove.
  """
  path, runs = workdir / "config.json", []
  if path.exists():
    renamed, extended = check(workdir, config, same_rates)
    runs = json.loads(path.read_text())["runs"]
    move_folders(workdir, renamed)
    for folder, steps in extended.items():
      logging.info("%s was done with %d steps, and goes on from there", workdir / folder, steps)
      (workdir / folder / "done.json").rename(workdir / folder / f"done.{steps}.json")
  runs.append(
    {
      "command": list(command),
      "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "commit": commit(),
      "python": sys.version.split()[0],
      "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
      "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
      "processes": jax.process_count(),
    }
  )
  files.write_atomic(path, json.dumps({"config": config, "runs": runs}, indent=2) + "\n")


def check(
  workdir: epath.Path, config: Tree, same_rates: begun.SameRates | None = None
) -> tuple[dict[str, str], dict[str, int]]:
  """Checks that a begun workdir may go on with a config; writes nothing.

  Returns:
    (`renamed_folders` of the workdir, {folder of a stage that is done and now has more steps: the
    steps that it has}).

  Raises:
    ValueError: see `record`.
  """
  path = workdir / "config.json"
  if not path.exists():
    return {}, {}
  old = json.loads(path.read_text())["config"]
  renamed = renamed_folders(old, config)
  before = migrate(old, renamed)
  plan = begun.plan_of(before, config, entries, renamed)
  stages = begun.Begun(workdir, plan, {now: was for was, now in renamed.items()})
  changes = changed(before, config)
  faults = [stages.fault(change, before, config, same_rates) for change in changes]
  if any(faults):
    raise ValueError(
      f"{workdir} was begun with another config:\n  "
      + "\n  ".join(fault for fault in faults if fault)
      + "\nremove what is named, or use another --workdir"
    )
  extended = stages.to_extend(changes, before, config)
  return renamed, {folder: stages.steps_done(folder) for folder in extended}


def changed(old: Tree, new: Tree) -> list[begun.Change]:
  """The knobs in which two resolved configs differ, but for those without an effect in either."""
  before, after = dict(knobs.leaves(old)), dict(knobs.leaves(new))
  idle = _without_effect(before) & _without_effect(after)
  out = []
  for knob in sorted(before.keys() | after.keys()):
    a, b = before.get(knob, begun.ABSENT), after.get(knob, begun.ABSENT)
    if a != b and knob not in idle:
      out.append(begun.Change(knob, a, b))
  return out


def _without_effect(knobs: Mapping[Path, Any]) -> set[Path]:
  """The knobs that change nothing, given the others: those of algorithms that do not run, and those
  of weight decay and of resampling where neither is.
  """
  out = set()
  for path in knobs:
    *parent, name = path
    if "settings" in parent:
      at = parent.index("settings")
      unused = parent[at + 1 :][:1] != [knobs.get((*parent[:at], "algorithm"))]
    elif name == "decay_vectors":
      unused = not knobs.get((*parent, "weight_decay"))
    elif name == "logps_temperature":  # None is the temperature
      unused = knobs[path] in (None, knobs.get((*parent, "temperature")))
    elif name == "resample_by":
      unused = knobs.get((*parent, "zero_variance")) != "resample"
    else:
      unused = False
    if unused:
      out.add(path)
  return out


def renamed_folders(old: Tree, new: Tree) -> dict[str, str]:
  """The rows of RENAMED_FOLDERS that hold for a workdir of the config `old`, run again with `new`.

  These are the rows whose older name only `old` has, and whose newer name only `new` has: a config
  of a user's own keeps the names that it has.
  """
  before, after = _names(old), _names(new)
  return {
    was: now
    for was, now in RENAMED_FOLDERS.items()
    if was in before - after and now in after - before
  }


def migrate(old: Tree, folders: Mapping[str, str]) -> Tree:
  """A resolved config of an older version, with the names that knobs and sections have today.

  Args:
    old: the resolved config; it is not changed.
    folders: {older name: name} of folders and sections, see `renamed_folders`.
  """
  out: Tree = {}
  for path, value in knobs.leaves(old):
    kind, name = _kind(old, path[0]), path[0]
    if len(path) > 1:
      name = folders.get(name, name)
    removed = name in RENAMED_KNOBS and RENAMED_KNOBS[name] is None
    if removed or (today := _renamed((kind, *path[1:]))) is None:
      continue
    if today[0] == kind:  # a copy of a stage's section keeps its own name
      today = (name, *today[1:])
    if path[-1] in NAMES_FOLDERS and isinstance(value, str):
      value = ",".join(_in_renamed_folder(part, folders) for part in value.split(","))
    _put(out, today, {} if value == {} else value)  # a section of its own
  if any(knob.startswith("data.") for knob in ADDED_KNOBS):
    out.setdefault("data", {})  # sections that older versions did not have
  if "processor" in out:
    out["processor"].setdefault("video", {})
  kinds = {name: _kind(out, name) for name in out}
  for knob, value in ADDED_KNOBS.items():
    first, *inner = knob.split(".")
    for name, kind in kinds.items():
      if first in (name, kind) and (parent := _get(out[name], inner[:-1])) is not None:
        parent.setdefault(inner[-1], value)
  return out


def move_folders(workdir: epath.Path, folders: Mapping[str, str]) -> None:
  """Gives the folders of stages, and eval's folders of their models, their names of today."""
  for was, now in folders.items():
    for old in (workdir / was, *workdir.glob(f"*/{was}")):
      if old.exists() and not (new := old.parent / now).exists():
        logging.info("%s is called %s today: moved", old, new)
        old.rename(new)


def commit() -> str | None:
  """The git commit of this code, with "+" where files differ from it; None outside a clone."""
  if not (ROOT / ".git").exists():
    return None
  git = lambda *words: subprocess.run(
    ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
  )
  head = git("rev-parse", "HEAD")
  if head.returncode:  # no git, or no commit yet
    return None
  return head.stdout.strip() + ("+" if git("status", "--porcelain").stdout.strip() else "")


def _names(config: Tree) -> set[str]:
  """Names of the folders of stages, and of sections."""
  return {*entries(config["stages"]), *(name for name in config if isinstance(config[name], dict))}


def _kind(config: Tree, name: str) -> str:
  """The section of which the section `name` is a copy: it has the same knobs; else `name`."""
  if not isinstance(config[name], dict):
    return name
  for kind in STAGE_SECTIONS:
    if isinstance(config.get(kind), dict) and config[kind].keys() == config[name].keys():
      return kind
  return name


def _renamed(path: Path) -> Path | None:
  """The path of a knob today, by the row of RENAMED_KNOBS with the longest matching path."""
  for length in range(len(path), 0, -1):
    row = ".".join(path[:length])
    if row in RENAMED_KNOBS:
      today = RENAMED_KNOBS[row]
      return None if today is None else (*today.split("."), *path[length:])
  return path


def _in_renamed_folder(value: str, folders: Mapping[str, str]) -> str:
  """A value such as "again" or "again/data" with the name that its folder has today."""
  head, slash, rest = value.partition("/")
  return folders.get(head, head) + slash + rest


def _put(tree: Tree, path: Path, value: Any) -> None:
  for name in path[:-1]:
    tree = tree.setdefault(name, {})
  tree[path[-1]] = value


def _get(tree: Tree, path: Sequence[str]) -> Tree | None:
  for name in path:
    if not isinstance(tree := tree.get(name), dict):
      return None
  return tree
