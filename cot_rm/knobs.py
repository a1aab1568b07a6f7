"""What each knob decides: the stages whose output depends on it, so what may change in a begun run.

A knob that is in no table here and in no section of a stage is taken to decide everything.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Tree = dict[str, Any]  # a resolved config, or a section
Path = tuple[str, ...]  # of a knob: ("rl", "optim", "lr")
Plan = Mapping[str, str]  # {folder: stage}, of config.stages

# Names of stages.STAGES; a stage that is not here depends on all that any stage depends on.
STAGES = ("import", "world", "port", "distill", "sft", "reject", "rl", "eval", "judge")
# Stages whose output depends on a knob that is in no section of a stage. The longest row that fits
# holds. Eval and judge are in no row: their answers carry the conditions under which they were
# sampled, and they ask anew where these have changed. So does reject until it is done.
SHARED: dict[str, tuple[str, ...]] = {
  "buckets.answers": (),  # padding
  "buckets.patches": ("import", "sft"),  # its largest, see LARGEST
  "buckets.tokens": ("import", "sft"),
  "compile_cache": (),
  "control": (),
  "cpu_devices": (),
  "data": ("import", "distill", "sft", "reject", "rl"),
  "data.changed": (),
  "data.http": (),
  "data.http_bytes": (),
  "data.http_timeout": (),
  "data.max_bad": (),
  "data.max_file_pixels": (),
  "dry_run": (),
  "grammar": ("import", "distill", "sft", "reject", "rl"),
  "mesh": (),
  "model": ("sft", "reject", "rl"),
  "model.remat": (),
  "processor": ("import", "sft", "reject", "rl"),
  "sampler": (),  # memory and the order of work
  "sampler.weights": ("reject", "rl"),
  "seed": ("import", "world", "distill", "sft", "reject", "rl"),
  "stages": (),
}
# Of these tuples only the largest number decides: rows of SFT are packed up to it, and examples
# that are longer are no examples. The others are padding.
LARGEST = ("buckets.patches", "buckets.tokens")
# Knobs in the section of a stage on which the stage's output does not depend.
FREE: dict[str, tuple[str, ...]] = {
  "import": ("shard_mb", "threads"),
  "distill": ("budget", "cache", "endpoint", "unanswered"),
  "sft": ("accumulate", "control", "eval_every", "save_every"),
  "reject": ("max_prompts",),
  "rl": (
    *("accumulate", "eval_every", "save_every", "samples_every", "vision_check_every"),
    *("judge.budget", "judge.endpoint", "max_prompts", "on_nonfinite"),
  ),
}
# Stages that are never done: they run each time, and ask for the answers that are missing, which
# are those to what has changed. Their knobs may all change.
ASKS_AGAIN = ("eval", "judge")
EXTENDED = {"sft": "steps", "rl": "rollouts"}  # knobs that extend a stage, also one that is done
# Knobs whose values name folders of other stages, from which a stage is made.
SOURCES = ("start", "data", "minutes_of", "speed_of", "source")
READ = ("start", "data", "source")  # knobs that name what a stage reads, also by a path
SECTION_OF = {"import": "importing"}  # the others have the name of the stage


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
  """(path, value) of each knob; an empty section is a leaf."""
  for name, value in tree.items():
    if isinstance(value, dict) and value:
      yield from leaves(value, (*path, name))
    else:
      yield (*path, name), value


def section_name(config: Tree, folder: str, stage: str) -> str:
  """The section of a stage that runs in `folder`: that of the folder's name, or of the stage."""
  return folder if isinstance(config.get(folder), dict) else SECTION_OF.get(stage, stage)


def affected(knob: Path, old: Tree, new: Tree, plan: Plan) -> list[str]:
  """The folders of stages whose output depends on a knob that differs between two configs."""
  name = ".".join(knob)
  for length in range(len(knob), 0, -1):
    if (row := ".".join(knob[:length])) in SHARED:
      if row in LARGEST and _largest(old, knob) == _largest(new, knob):
        return []
      readers = (*SHARED[row], *(set(plan.values()) - {*STAGES})) if SHARED[row] else ()
      return [folder for folder, stage in plan.items() if stage in readers]
  in_section = {
    folder: stage
    for folder, stage in plan.items()
    if knob[0] in (section_name(old, folder, stage), section_name(new, folder, stage))
  }
  if not in_section and not _is_stage_section(knob[0], new, old):
    return list(plan)
  inner = name.partition(".")[2]
  return [folder for folder, stage in in_section.items() if not _is_free(stage, inner)]


def dependents(folder: str, config: Tree, plan: Plan) -> list[str]:
  """The folders of stages that are made from a stage's output, directly or by way of others."""
  found = [folder]
  for one in found:
    for other, stage in plan.items():
      if other not in found and one in _sources(config, other, stage):
        found.append(other)
  return found[1:]


def _is_free(stage: str, inner: str) -> bool:
  rows = FREE.get(stage, ())
  return stage in ASKS_AGAIN or any(inner == row or inner.startswith(f"{row}.") for row in rows)


def _is_stage_section(name: str, *configs: Tree) -> bool:
  """Whether the section is of a stage, or a copy of one, which no stage of the plan reads."""
  known = {SECTION_OF.get(stage, stage) for stage in STAGES}
  copies = (
    isinstance(config.get(name), dict)
    and any(
      isinstance(config.get(one), dict) and config[one].keys() == config[name].keys()
      for one in known
    )
    for config in configs
  )
  return name in known or any(copies)


def _sources(config: Tree, folder: str, stage: str) -> set[str]:
  """The folders that a stage's knobs name."""
  section = config.get(section_name(config, folder, stage), {})
  values = [
    section[knob]
    for knob in SOURCES
    if isinstance(section.get(knob), str)
    and not (knob in ("minutes_of", "speed_of") and section.get("steps"))
  ]
  return {part.strip().partition("/")[0] for value in values for part in value.split(",")}


def _largest(config: Tree, knob: Path) -> Any:
  value: Any = config
  for name in knob:
    value = value.get(name) if isinstance(value, dict) else None
  numbers = isinstance(value, list) and all(isinstance(one, int | float) for one in value)
  return max(value) if value and numbers else value  # what is no number is refused elsewhere
