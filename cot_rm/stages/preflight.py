"""Checks of a run before its first stage, and of a stage before it runs: nothing is found out late.

Each stage module has preflight(config, workdir, name) -> Checks. It looks at all that the stage
will need and that is there already. What an earlier stage of the plan makes is said, and looked at
when that stage is done.
"""

import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from cot_rm import metrics, optim, prompts, registry, sharding, stages
from cot_rm import workdir as run_folder  # `workdir` is an argument here
from cot_rm.chat import Budget, Endpoint
from cot_rm.checkpoints import huggingface, lora
from cot_rm.data import datasets
from cot_rm.sampler import sampling
from cot_rm.stages import common, preflight_knobs

# Errors that a check may end in: the fault of a knob, a file or an example.
FAULTS = (ValueError, OSError, TypeError, KeyError, AttributeError, ImportError)


class Refused(ValueError):
  """The preflight found faults; the message has all of them."""


@dataclasses.dataclass
class Checks:
  """What the preflight of one stage has looked at.

  Args:
    name: folder of the stage.
  """

  name: str
  found: dict[str, str] = dataclasses.field(default_factory=dict)  # {what was looked at: result}
  faults: list[str] = dataclasses.field(default_factory=list)
  later: list[str] = dataclasses.field(default_factory=list)  # inputs that the plan will make

  @contextlib.contextmanager
  def catching(self) -> Iterator[None]:
    """Turns an error of a check into a fault, so that the other checks are made, too."""
    try:
      yield
    except FAULTS as error:
      self.faults.append(words_of(error))

  def require(self, valid: bool, fault: str) -> None:
    """Adds a fault unless `valid`."""
    if not valid:
      self.faults.append(fault)


def words_of(error: BaseException) -> str:
  """The words of an error; with its type where they would say nothing alone."""
  plain = isinstance(error, (ValueError, OSError)) and str(error)
  return str(error) if plain else f"{type(error).__name__}: {error}"


def run(config: common.Section, workdir: epath.Path, plan: Mapping[str, str]) -> list[Checks]:
  """The preflights of the stages {folder: stage} in order, each with its faults; on process 0.

  A stage whose control is not wanted is left out.
  """
  return [of_stage(config, workdir, name, stage) for name, stage in plan.items()]


def of_stage(config: common.Section, workdir: epath.Path, name: str, stage: str) -> Checks:
  """The preflight of one stage; on other processes than the first it looks at nothing.

  Where a knob that the stage reads is out of its range, this is said, and nothing else is looked
  at: what would be checked depends on the knob.
  """
  if jax.process_index() > 0:
    return Checks(name)
  checks = Checks(name, faults=preflight_knobs.faults(config, name, stage))
  if checks.faults:
    return checks
  with checks.catching():
    checks = stages.get(stage).preflight(config, workdir, name)
  if checks.later:
    facts = "; ".join(dict.fromkeys(checks.later))
    logging.info("%s: looked at when it is there: %s", name, facts)
  return checks


def faults_of(every: Sequence[Checks]) -> list[str]:
  """All faults, each once, with the stages that have it."""
  names: dict[str, list[str]] = {}
  for checks in every:
    for fault in checks.faults:
      names.setdefault(fault, []).append(checks.name)
  return [f"{', '.join(dict.fromkeys(of))}: {fault}" for fault, of in names.items()]


def refuse(every: Sequence[Checks]) -> None:
  """Raises Refused, on all processes, if any stage has a fault."""
  faults = faults_of(every)
  count = len(faults)
  if jax.process_count() > 1:
    count = int(multihost_utils.broadcast_one_to_all(np.asarray(count)))
  if faults:
    words = faults[0] if count == 1 else f"{count} faults:\n" + "\n".join(faults)
    raise Refused(f"nothing was run. {words}")
  if count:
    raise Refused(f"nothing was run: process 0 found {count} faults and names them")


def show(every: Sequence[Checks]) -> None:
  """Prints what was looked at, by stage, without the faults."""
  rows = []
  for checks in every:
    rows += [(checks.name, what, result) for what, result in checks.found.items()]
    rows += [(checks.name, "later", fact) for fact in dict.fromkeys(checks.later)]
    rows.append((checks.name, "faults", f"{len(checks.faults)}" if checks.faults else "none"))
  metrics.listing("preflight; nothing was run", rows)


def planned(config: common.Section, name: str) -> dict[str, str]:
  """{folder: stage} of the stages of the plan that run before the stage in the folder `name`."""
  plan = run_folder.entries(config.stages)
  before = list(plan)[: list(plan).index(name)] if name in plan else list(plan)
  return {folder: plan[folder] for folder in before}


def planned_data(
  checks: Checks, config: common.Section, workdir: epath.Path, knob: str, value: str
) -> bool:
  """Whether an earlier stage of the plan will make the data set that a knob names.

  Raises:
    ValueError: the knob is empty, or nothing is there and nothing will be.
  """
  if not value:
    raise ValueError(f"{knob} is empty; set it to an earlier stage's folder or a path")
  path = datasets.path_of(value)
  if (workdir / path).exists() or epath.Path(path).exists():
    return False
  maker = path.split("/")[0]
  if maker in planned(config, checks.name):
    checks.later.append(f"{knob} is {value!r}, which the stage {maker!r} makes")
    return True
  return False  # a name that only the opener knows, such as that of a layout


def find_model(
  checks: Checks, config: common.Section, workdir: epath.Path, knob: str, value: str
) -> str | None:
  """The folder that has the processor of the model that a knob names.

  Of a model that an earlier stage will make it is the folder of the model from which that stage
  starts, and so on. None: the processor is not there either.

  Raises:
    ValueError, FileNotFoundError: the knob is empty, or there is no such model and there will not
      be one.
  """
  if not value:
    raise ValueError(f"{knob} is empty; set it to an earlier stage's folder, a path, or a hub id")
  if (workdir / value / "model").exists():
    return _model_folder(workdir / value / "model", config)
  before = planned(config, checks.name)
  if value not in before:
    with _naming(knob, value):
      return _model_folder(common.resolve_path(workdir, value), config)
  stage = before[value]
  if stage not in ("world", "port", "sft", "rl"):
    raise ValueError(f"{knob} is {value!r}: the stage {stage!r} makes no model")
  checks.later.append(f"{knob} is {value!r}, the model that this stage will make")
  section = common.section_name(config, value, stage)
  if stage == "world":
    return None
  inner = "source" if stage == "port" else "start"
  of_maker, knob = Checks(value), f"config.{section}.{inner}"
  try:  # its own faults are those of the preflight of that stage
    return find_model(of_maker, config, workdir, knob, config[section][inner])
  except (ValueError, OSError):
    return None


@contextlib.contextmanager
def _naming(knob: str, value: str) -> Iterator[None]:
  try:
    yield
  except FileNotFoundError as error:
    raise FileNotFoundError(f"{knob} is {value!r}: {error}") from error
  except ValueError as error:
    raise ValueError(f"{knob} is {value!r}: {error}") from error


def _model_folder(path: epath.PathLike, config: common.Section) -> str:
  """The folder of a model's config and processor; of an adapter the folder of its base."""
  folder = huggingface.resolve(path, weights=False)
  if lora.is_adapter(folder):
    base = config.model.base or lora.open_adapter(folder).base
    if not base:
      raise ValueError(
        f"{folder} is a LoRA adapter that names no base; set config.model.base to it"
      )
    folder = huggingface.resolve(base, weights=False)
  huggingface.read_config(folder)
  return str(folder)


def check_service(
  checks: Checks, knobs: common.Section, where: str, *, needs_model: bool = True
) -> None:
  """Endpoint, budget, key and model name of a chat service; `where` names the section."""
  with checks.catching():
    endpoint = Endpoint(**knobs.endpoint)
    Budget(**knobs.budget)
    checks.require(
      endpoint.local or bool(os.environ.get(endpoint.key)),
      f"{where}.endpoint.base_url is {endpoint.base_url!r}, and the environment variable "
      f"{endpoint.key!r}, which {where}.endpoint.key names, holds no key",
    )
    checks.require(
      bool(knobs.model) or not needs_model, f"{where}.model is empty; name the service's model"
    )
    checks.found["service"] = f"{knobs.model} at {endpoint.base_url}"


def check_grammar(checks: Checks, config: common.Section) -> None:
  """The prompt grammar's name."""
  with checks.catching():
    prompts.get(config.grammar)


def check_mesh(checks: Checks, config: common.Section, *, rules: str) -> int:
  """Number of shards of the batch under the config's mesh; 1 if the mesh is at fault."""
  with checks.catching():
    mesh = sharding.make_mesh(config.mesh.shape.to_dict())
    sample_mesh = sharding.make_mesh((config.mesh.sample_shape or config.mesh.shape).to_dict())
    for of_rules, table in ((mesh, "train_rules"), (sample_mesh, "sample_rules")):
      sharding.check_rules(of_rules, config.mesh[table].to_dict(), f"config.mesh.{table}")
    shards = sharding.num_batch_shards(mesh, config.mesh[rules].to_dict())
    checks.found["devices"] = f"{mesh.size}; a batch has {shards} shards"
    return shards
  return 1


def check_divides(
  checks: Checks, knob: str, value: int, parts: int, why: str, *, per: int = 1
) -> None:
  """Adds a fault unless `parts` divides the values of all processes together.

  Args:
    checks: of the stage.
    knob: the knob's name.
    value: the knob's value, of each process.
    parts: number that must divide.
    why: what the parts are.
    per: equal portions of the value, each of which must be divided.
  """
  step = parts // math.gcd(parts, jax.process_count()) * per
  if value % step:
    low, high = value // step * step, -(-value // step) * step
    near = f"{low} or {high}" if low else f"{high}"
    total = f" on each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    portions = f" in {per} portions" if per > 1 else ""
    checks.faults.append(
      f"{knob} is {value}{total}{portions}, which {parts} {why} cannot share equally; set it to "
      f"{near}"
    )


def check_processes(checks: Checks, count: int, name: str) -> None:
  """Adds a fault unless each process gets an example."""
  checks.require(
    count >= jax.process_count(),
    f"{name}: {count:,} examples cannot be shared by {jax.process_count()} processes; use fewer",
  )


def check_sampling(
  checks: Checks,
  where: str,
  knobs: Mapping[str, Any],
  *,
  n: int,
  n_knob: str,
  temperature: str = "sampling.temperature",
) -> None:
  """Sampling knobs; several samples need a temperature.

  Args:
    checks: of the stage.
    where: the stage's section.
    knobs: of sampling.Sampling.
    n: samples of a prompt.
    n_knob: the knob of `n`.
    temperature: the knob of the temperature.
  """
  if knobs["temperature"] == 0 and n > 1:
    checks.faults.append(
      f"{where}.{n_knob} is {n}, and all samples would be the same; set {where}.{temperature} "
      f"above 0"
    )
    return
  with checks.catching():
    sampling.Sampling(**knobs)


def check_disk(
  checks: Checks, workdir: epath.Path, needed: int, what: str, *, at_least: bool = False
) -> None:
  """Adds a fault where the disk of the workdir has fewer than `needed` bytes."""
  folder = os.path.abspath(workdir)
  while not os.path.isdir(folder):
    folder = os.path.dirname(folder)
  free = shutil.disk_usage(folder).free
  least = "at least " if at_least else ""
  checks.found["disk"] = f"{what}: {least}{size(needed)} of {size(free)} free"
  checks.require(
    needed <= free,
    f"{what} needs {least}{size(needed)} on disk, and {folder} has {size(free)} free; make room, "
    f"or set another --workdir",
  )


def size(count: int) -> str:
  """Bytes in words: "1.4 GB"."""
  value, unit = float(count), "bytes"
  for bigger in ("kB", "MB", "GB", "TB"):
    if value < 1000:
      break
    value, unit = value / 1000, bigger
  return f"{value:.3g} {unit}"


def num_parameters(folder: str) -> int:
  """Number of parameters of the model in a folder, by its config.json."""
  family, config = huggingface.read_config(folder)
  return sum(math.prod(v.shape) for v in huggingface.abstract_params(family, config).values())


def check_start(
  checks: Checks, config: common.Section, workdir: epath.Path, section: str
) -> str | None:
  """The model that a stage trains: its folder as `find_model` says, frozen parameters, disk.

  The disk has room for the model and two checkpoints: while one is written, the one before it is
  kept. A checkpoint has the parameters, and two numbers of the optimizer for each.
  """
  knobs, folder = config[section], None
  with checks.catching():
    folder = find_model(checks, config, workdir, f"config.{section}.start", knobs.start)
  if folder is None:
    return None
  with checks.catching():
    parameters = huggingface.abstract_params(*huggingface.read_config(folder))
    optim.frozen_names(parameters, knobs.optim.frozen)
  with checks.catching():
    each = np.dtype("float32").itemsize if config.model.dtype == "float32" else 2
    check_disk(checks, workdir, num_parameters(folder) * each * 7, "checkpoints and model")
  return folder


def check_tasks(checks: Checks, knobs: common.Section) -> Sequence[str]:
  """The tasks that a stage's knob names; all where it is at fault."""
  with checks.catching():
    return common.parse_tasks(knobs.tasks)
  return []


def check_choice(checks: Checks, knob: str, value: str, known: Sequence[str]) -> None:
  """Adds a fault unless `value` is one of `known`."""
  if value not in known:
    checks.faults.append(f"{knob} is {value!r}; {registry.hint(value, known)}")
