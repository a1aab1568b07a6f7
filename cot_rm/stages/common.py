"""Functions that the stages share: config sections, paths, loading and saving models, answers."""

import functools
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import files, schema, sharding
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import model_folder
from cot_rm.data import bad_examples, datasets, packing
from cot_rm.sampler import limits, sampling
from cot_rm.toy_world import descriptions


class Section(Protocol):
  """The config, or a section: an ml_collections.ConfigDict, knobs by attribute or by name."""

  def __getattr__(self, name: str) -> Any: ...
  def __getitem__(self, name: str) -> Any: ...
  def __contains__(self, name: str) -> bool: ...
  def keys(self) -> Iterable[str]: ...
  def to_dict(self) -> dict[str, Any]: ...


def section_name(config: Section, name: str, stage: str) -> str:
  """The name of the section of a stage that runs in the folder `name`.

  It is the section of the folder's name, or else the section that every run of the stage shares:
  for the entry "sft2:sft" the section "sft2" where the config has it, else "sft".
  """
  is_section = name in config and hasattr(config[name], "keys")  # "seed" is a knob, no section
  return name if is_section else stage


def section(config: Section, name: str, stage: str) -> Section:
  """The knobs of a stage that runs in the folder `name`, see `section_name`."""
  return config[section_name(config, name, stage)]


def resolve_path(workdir: epath.Path, value: str) -> str:
  """Resolves a knob's value to a path: an earlier stage's model, a file of the workdir, or as is.

  "sft" is workdir/sft/model where a stage of that name left a model; "world/data" is
  workdir/world/data where it exists; any other value (a path, a hub id) is returned unchanged.

  Raises:
    ValueError: the value is empty.
  """
  if not value:
    raise ValueError(
      "a stage was given no model to start from, or no data to read: its knobs `start` and `data` "
      "name an earlier stage's folder, a path, or a hub id"
    )
  for path in (workdir / value / "model", workdir / value):
    if path.exists():
      return str(path)
  return value


def open_examples(
  config: Section, workdir: epath.Path, data: str, split: str
) -> Sequence[schema.Example]:
  """The examples that a stage's knobs `data` and `split` name: the one door of all stages.

  Args:
    config: the whole config.
    workdir: the run's folder.
    data: an earlier stage's folder of examples, or a path; see `resolve_path`.
    split: of a folder of examples, or several ("kept+failed").
  """
  del config
  return datasets.open(resolve_path(workdir, data), split)


def open_skips(config: Section, workdir: epath.Path, name: str) -> bad_examples.Skips:
  """Counts the examples that the stage in the folder `name` leaves out, see config.data.max_bad."""
  return bad_examples.Skips(
    workdir / name, limit=config.data.max_bad, process_index=jax.process_index()
  )


def model_identity(path: str) -> str:
  """A checksum of the model at a path, which tells it from other models at that path.

  It is the CRC of the fingerprint in a model folder; for other paths and hub ids the path itself.
  """
  info = epath.Path(path) / model_folder.INFO
  return f"{zlib.crc32(info.read_bytes()):08x}" if info.exists() else str(path)


def begin_answers(folder: epath.Path, conditions: dict[str, Any], parts: Iterable[str]) -> None:
  """Makes a stage's folder of answers; removes answers sampled under other conditions.

  Args:
    folder: its file asked.json holds the conditions under which its answers were sampled.
    conditions: everything that an answer depends on, such as the model's identity and the sampling
      settings; serializable as JSON.
    parts: names in `folder` of the files and folders to remove: the answers, and data made from
      answers.
  """
  folder.mkdir(parents=True, exist_ok=True)
  note = folder / "asked.json"
  if jax.process_index() == 0 and (not note.exists() or json.loads(note.read_text()) != conditions):
    for old in (epath.Path(folder / part) for part in parts):
      if old.exists():
        logging.warning("%s is from another model or other knobs: removed", old)
        remove = old.rmtree if old.is_dir() else old.unlink
        remove()
    files.write_atomic(note, json.dumps(conditions, indent=2))
  multihost_utils.sync_global_devices(f"{folder} begun")


def parse_tasks(text: str) -> list[str]:
  """The tasks that a knob names, separated by commas; an empty list stands for all tasks.

  Raises:
    ValueError: an unknown task.
  """
  names = [name for name in text.split(",") if name]
  if unknown := [name for name in names if name not in schema.TASKS]:
    raise ValueError(
      f"a stage's knob `tasks` names {', '.join(unknown)}; known: {', '.join(schema.TASKS)}"
    )
  return names


def load_judge(
  config: Section,
  workdir: epath.Path,
  start: str,
  *,
  max_prompts: int,
  rules: str = "train_rules",
  max_pixels: int | None = None,
) -> cot_rm.judge.Judge:
  """Opens the model that a knob names, with the config's model, processor, mesh and sampler.

  Args:
    start: see `resolve_path`.
    max_prompts: prompts that are answered at the same time, at most.
    rules: name of the section of config.mesh with the sharding rules of the parameters.
    max_pixels: largest area of a picture after resizing; None: config.processor.max_pixels.
  """
  processor = config.processor.to_dict()
  if max_pixels is not None:
    processor["max_pixels"] = max_pixels
  return cot_rm.judge.load(
    resolve_path(workdir, start),
    mesh=sharding.make_mesh(config.mesh.shape.to_dict()),
    rules=config.mesh[rules].to_dict(),
    sample_mesh=sharding.make_mesh((config.mesh.sample_shape or config.mesh.shape).to_dict()),
    sample_rules=config.mesh.sample_rules.to_dict(),
    buckets=packing.Buckets(**config.buckets),
    max_prompts=max_prompts,
    sampler=limits.Limits(**config.sampler),
    **processor,
    **config.model,
  )


def make_validation(
  config: Section, workdir: epath.Path
) -> Callable[[cot_rm.judge.Judge], dict[str, Any]]:
  """`validate(judge) -> figures` on the validation pairs of config.eval; see pairs.score."""
  knobs = config.eval
  return functools.partial(
    pairs.evaluate,
    examples=datasets.first(
      open_examples(config, workdir, knobs.data, knobs.val_split), knobs.val_pairs
    ),
    grammar=config.grammar,
    sampling=sampling.Sampling(temperature=0.0, max_tokens=knobs.max_tokens),
    fidelity=descriptions.fidelity,
  )


def save_trained(
  folder: epath.Path, judge: cot_rm.judge.Judge, params: Any, *, steps: int, seconds: float
) -> None:
  """Writes folder/model, and folder/training.json: {"steps": ..., "seconds": ...}.

  Args:
    folder: of the stage.
    judge: the model that training started from.
    params: nnx.State, the trained parameters.
    steps, seconds: of the training.
  """
  model_folder.save_model(
    folder / "model",
    params,
    family=judge.opened.family,
    config=judge.opened.config,
    processor_files=judge.opened.folder,
  )
  if jax.process_index() == 0:
    training = json.dumps({"steps": steps, "seconds": seconds})
    files.write_atomic(folder / "training.json", training)
