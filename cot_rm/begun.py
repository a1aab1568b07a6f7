"""Changed knobs in a begun workdir: what goes on, what is extended, what is refused.

A stage has begun when there is output that depends on its knobs. A change that would give such
output another meaning is refused, and the folders to remove are named.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from cot_rm import files, knobs
from cot_rm.knobs import Path, Plan, Tree

# Output of a stage that depends on its knobs, as patterns in its folder; of other stages all files.
# What distill and reject have asked is kept by its content, with or without these.
OUTPUT = {
  "distill": ("data", "done.json"),
  "eval": (),
  "import": ("data", "done.json"),  # until then it begins again
  "judge": (),
  "reject": ("data", "done.json"),
  "rl": ("checkpoints/[0-9]*", "model", "done.json"),
  "sft": ("checkpoints/[0-9]*", "model", "done.json"),
}
MANY = 1000  # files of a folder of which more than names and sizes is looked at
KEEPS_ANSWERS = ("distill", "reject")

# `(knobs of the optimizer, steps of the old and of the new run, steps that are done) -> whether the
# learning rates of the steps that are done are the same in both`.
SameRates = Callable[[Mapping[str, Any], tuple[int, int], int], bool]


@dataclasses.dataclass(frozen=True)
class Change:
  """A knob in which two resolved configs differ."""

  knob: Path
  old: Any
  new: Any

  def __str__(self) -> str:
    return f"config.{'.'.join(self.knob)}: {_show(self.old)} -> {_show(self.new)}"


ABSENT = object()  # the value of a knob that a config does not have


class Begun:
  """A workdir and the plan of its stages.

  Args:
    workdir: the run's folder.
    plan: {folder: stage} of all stages that have run there, or shall.
    older_names: {folder: the name that it has on disk until it is moved}.
  """

  def __init__(self, workdir: epath.Path, plan: Plan, older_names: Mapping[str, str]):
    self._workdir, self._plan, self._older = workdir, plan, older_names

  def fault(
    self, change: Change, old: Tree, new: Tree, same_rates: SameRates | None = None
  ) -> str | None:
    """Why a changed knob is refused, in a line that says what to remove; None: it may change."""
    folders = knobs.affected(change.knob, old, new, self._plan)
    extended = [folder for folder in folders if self._extends(folder, change, new)]
    faults = [self._extension_fault(f, change, old, new, same_rates) for f in extended]
    if found := [fault for fault in faults if fault]:
      return f"{change}: {found[0]}"
    changed = [folder for folder in folders if folder not in extended and self.has_begun(folder)]
    made_from = [
      other
      for folder in folders
      for other in knobs.dependents(folder, new, self._plan)
      if other not in folders and self.has_begun(other)
    ]
    if not changed and not made_from:
      return None
    made_from = list(dict.fromkeys(made_from))
    what = " and ".join(filter(None, [_listed(changed), _made_from(made_from, folders)]))
    remove = " ".join(path for folder in [*changed, *made_from] for path in self._output(folder))
    return f"{change} would change what is in {what}; remove {remove}"

  def to_extend(self, changes: Sequence[Change], old: Tree, new: Tree) -> list[str]:
    """The folders of stages that are done, and that a change of these lets run on."""
    return [
      folder
      for change in changes
      for folder in knobs.affected(change.knob, old, new, self._plan)
      if self._extends(folder, change, new) and (self._folder(folder) / "done.json").exists()
    ]

  def has_begun(self, folder: str) -> bool:
    """Whether there is output of the stage that depends on its knobs."""
    patterns = OUTPUT.get(self._plan[folder], ("*",))
    return any(any(self._folder(folder).glob(pattern)) for pattern in patterns)

  def steps_done(self, folder: str) -> int:
    """The step, or rollout, of the last checkpoint of a stage that trains; 0: there is none."""
    found = [path.name for path in self._folder(folder).glob("checkpoints/[0-9]*")]
    return max((int(name) for name in found if name.isdigit()), default=0)

  def _folder(self, folder: str) -> epath.Path:
    path = self._workdir / folder
    return path if path.exists() else self._workdir / self._older.get(folder, folder)

  def _output(self, folder: str) -> list[str]:
    return to_remove(self._folder(folder), self._plan[folder])

  def _extends(self, folder: str, change: Change, new: Tree) -> bool:
    """Whether the change gives a stage that has begun another number of steps."""
    stage = self._plan[folder]
    return (
      knobs.EXTENDED.get(stage) == ".".join(change.knob[1:])
      and all(isinstance(steps, int) and steps > 0 for steps in (change.old, change.new))
      and self.has_begun(folder)
    )

  def _extension_fault(
    self, folder: str, change: Change, old: Tree, new: Tree, same_rates: SameRates | None
  ) -> str | None:
    done, path = self.steps_done(folder), self._folder(folder)
    section = new[knobs.section_name(new, folder, self._plan[folder])]
    unit = knobs.EXTENDED[self._plan[folder]]
    if not done:
      return f"{path} has a model and no checkpoint from which it could go on; remove {path}"
    if change.new < done:
      return f"{path} has {done} {unit} behind it; remove {path}"
    updates = section.get("minibatches", 1) * section.get("epochs", 1)  # of the optimizer
    steps = change.old * updates, change.new * updates
    if same_rates and not same_rates(section["optim"], steps, done * updates):
      name = ".".join((change.knob[0], "optim.decay"))
      return (
        f"some of the {done} {unit} in {path} had a learning rate that falls towards the end of "
        f"{change.old} (config.{name} is {section['optim']['decay']}), as they would not have in a "
        f"run of {change.new}; train on from {path}/model in another --workdir, or remove {path}"
      )
    return None


def to_remove(path: epath.Path, stage: str) -> list[str]:
  """The paths to remove, so that a stage has not begun; what it has asked is kept."""
  if stage not in KEEPS_ANSWERS:
    return [str(path)]
  return [str(path / name) for name in OUTPUT[stage] if (path / name).exists()]


def inputs(workdir: epath.Path, config: Tree, folder: str, stage: str) -> dict[str, str]:
  """{knob: hash of the model or the data that it names} of what a stage reads.

  A folder is known by the files in it, of large files by parts of them. What is not on this disk,
  or is named by more than a path, is left out.
  """
  section = config.get(knobs.section_name(config, folder, stage), {})
  out = {}
  for knob in knobs.READ:
    value = section.get(knob)
    if not isinstance(value, str) or not value:
      continue
    for path in (workdir / value / "model" / "cot_rm.json", workdir / value, epath.Path(value)):
      if path.exists():
        out[knob] = _content(path)
        break
  return out


def other_inputs(
  made_from: Mapping[str, str], workdir: epath.Path, config: Tree, folder: str, stage: str
) -> list[str]:
  """The knobs that name something else than what a stage was made from, by its content."""
  today = inputs(workdir, config, folder, stage)
  return [knob for knob, was in made_from.items() if today.get(knob, was) != was]


def _content(path: epath.Path) -> str:
  if path.is_file():
    return files.content_hash(path)
  if (identity := path / files.IDENTITY).exists():  # its files differ when written again
    return files.content_hash(identity)
  found = sorted(file for file in path.iterdir() if file.is_file())
  if len(found) > MANY:
    return files.digest(*(f"{file.name} {file.stat().length}".encode() for file in found))
  return files.digest(*(f"{file.name} {files.content_hash(file)}".encode() for file in found))


def plan_of(old: Tree, new: Tree, entries: Callable[[Any], Plan], moved: Mapping[str, str]) -> Plan:
  """{folder: stage} of both configs, under the names of today."""
  before = {moved.get(folder, folder): stage for folder, stage in entries(old["stages"]).items()}
  return {**before, **entries(new["stages"])}


def _listed(folders: Sequence[str]) -> str:
  return ", ".join(folders)


def _made_from(folders: Sequence[str], sources: Sequence[str]) -> str:
  return f"{_listed(folders)} (made from {_listed(sources)})" if folders else ""


def _show(value: Any) -> str:
  return "absent" if value is ABSENT else json.dumps(value)
