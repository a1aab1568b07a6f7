"""Functions that the stages share: config sections, paths, loading and saving models, answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import distributed, files, media, registry, schema, sharding
from cot_rm.checkpoints import identity, model_folder
from cot_rm.data import answer_log, bad_examples, datasets, packing, pipeline
from cot_rm.data import identity as data_identity
from cot_rm.sampler import limits

LOOKED_UP = ("model", "base", "files")  # conditions of answers that are None if not to be had
# Conditions that older versions did not write down, and what held in them.
UNWRITTEN = {
  "base": "",
  "pictures": {"turn_exif": True, "over_white": True, "scale_depth": True},
  "repetition_penalty": 1.0,
  "read": "text",
}
CHANGED = ("stop", "continue")  # when examples are others than those of a checkpoint


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


def resolve_data(workdir: epath.Path, value: str) -> str:
  """`resolve_path` of data, which may have the name of their layout before the path."""
  name, path = datasets.name_and_path(value)
  resolved = resolve_path(workdir, path)
  return f"{name}:{resolved}" if name else resolved


def open_examples(
  config: Section, workdir: epath.Path, data: str, split: str
) -> Sequence[schema.Example]:
  """The examples that a stage's knobs `data` and `split` name: the one door of all stages.

  Args:
    config: the whole config.
    workdir: the run's folder.
    data: an earlier stage's folder of examples, or what `datasets.open` takes; see `resolve_data`.
    split: of a folder of examples, or several ("kept+failed").
  """
  knobs = config.data
  return datasets.open(
    resolve_data(workdir, data),
    split,
    seed=config.seed,
    ties=knobs.ties,
    pairs=knobs.pairs,
    max_bad=knobs.max_bad,
  )


def check_continued(
  config: Section,
  folder: epath.Path,
  extra: Mapping[str, Any],
  examples: Mapping[str, Any],
  source: Sequence[schema.Example],
) -> None:
  """Checks that a stage goes on with the examples that its checkpoint was trained on.

  Args:
    config: its knob data.changed says what to do with other ones.
    folder: of the stage.
    extra: of the checkpoint; its "examples" are the description of those that it was trained on.
    examples: data_identity.describe of `source`.
    source: the examples of today.

  Raises:
    ValueError: they are others, and the knob is "stop"; names the difference.
  """
  if config.data.changed not in CHANGED:
    hint = registry.hint(config.data.changed, CHANGED)
    raise ValueError(f"config.data.changed is {config.data.changed!r}; {hint}")
  if "examples" not in extra:
    logging.warning(
      "%s: the checkpoint of an older version does not say which examples it was trained on; it "
      "goes on with those of today",
      folder,
    )
    return
  found = data_identity.difference(extra["examples"], examples, source)
  if not found:
    return
  if config.data.changed == "stop":
    raise ValueError(
      f"{folder} was begun with other examples ({found}), and its position in them says nothing "
      f"about these. Put the data back, or remove {folder}, or set config.data.changed='continue' "
      f"to train on with these examples from the same position"
    )
  logging.warning("%s goes on with other examples: %s", folder, found)


def media_options(config: Section) -> media.Options:
  """How the stages of a config open media: the knobs of config.data that media.Options has."""
  knobs = config.data
  return media.Options(
    http=knobs.http,
    http_timeout=knobs.http_timeout,
    http_bytes=knobs.http_bytes,
    turn_exif=knobs.turn_exif,
    over_white=knobs.over_white,
    scale_depth=knobs.scale_depth,
    max_file_pixels=knobs.max_file_pixels,
  )


def open_skips(config: Section, workdir: epath.Path, name: str) -> bad_examples.Skips:
  """Counts the examples that the stage in the folder `name` leaves out, see config.data.max_bad."""
  return bad_examples.Skips(
    workdir / name, limit=config.data.max_bad, process_index=jax.process_index()
  )


def count_bad_records(
  source: Sequence[schema.Example], skips: bad_examples.Skips
) -> Sequence[schema.Example]:
  """The source; the records that were left out when it was opened are counted, in one process."""
  if jax.process_index() == 0:
    for reason in datasets.what_was_found(source).bad:
      skips.add(reason.partition(": ")[0], schema.BadRecord(reason))
  return source


def training_position(
  data: pipeline.ResumableIterator, skips: bad_examples.Skips, examples: Mapping[str, Any]
) -> dict[str, Any]:
  """The position in the data of every process, and what they left out, for a checkpoint.

  Args:
    data: the iterator of this process.
    skips: what this process left out.
    examples: data_identity.describe of the examples.
  """
  return {
    "examples": examples,
    "data": distributed.gather_json(data.get_state()),
    "skipped": distributed.gather_json(skips.get_state()),
  }


def restore_position(
  extra: Mapping[str, Any], data: pipeline.ResumableIterator, skips: bad_examples.Skips
) -> None:
  """Continues from `training_position`, or from the one position that older versions wrote.

  Raises:
    ValueError: another number of processes has written it.
  """
  states = extra["data"]
  if isinstance(states, dict):
    data.set_state(states)
    return
  if len(states) != jax.process_count():
    raise ValueError(
      f"the checkpoint is of {len(states)} processes, each with its part of the data, and now "
      f"there are {jax.process_count()}; continue with as many, or in another --workdir"
    )
  data.set_state(states[jax.process_index()])
  skips.set_state(extra["skipped"][jax.process_index()])


def conditions(config: Section, path: str) -> dict[str, Any]:
  """What every answer depends on, but for the question and the sampling; see `begin_answers`.

  Args:
    config: the whole config.
    path: of the model. Weights, tokenizer and processor files are known by their content; they are
      None where the model cannot be looked at.
  """
  base = config.model.base
  return {
    "model": identity.model_identity(path),
    "base": identity.model_identity(base) if base else "",
    "files": identity.processor_identity(path),
    "grammar": config.grammar,
    "seed": config.seed,
    "dtype": config.model.dtype,
    "compute_dtype": config.model.compute_dtype or config.model.dtype,
    "weights": config.sampler.weights,
    "processor": config.processor.to_dict(),
    "pictures": {name: config.data[name] for name in ("turn_exif", "over_white", "scale_depth")},
  }


def bounds(config: Section) -> dict[str, Any]:
  """What decides whether an example can be asked, but for `conditions`; see `begin_answers`."""
  knobs = config.data
  fetching = {name: knobs[name] for name in ("http", "http_timeout", "http_bytes")}
  largest = {name: max(config.buckets[name], default=0) for name in ("tokens", "patches")}
  return {**fetching, **largest, "max_file_pixels": knobs.max_file_pixels}


def begin_answers(
  folder: epath.Path,
  conditions: dict[str, Any],
  parts: Iterable[str],
  *,
  bounds: Mapping[str, Any] | None = None,
  legacy: Mapping[str, Any] | None = None,
) -> None:
  """Makes a stage's folder of answers; answers sampled under other conditions are moved aside.

  They go to folder/earlier/<number> with the conditions that they were sampled under: nothing that
  was paid for is deleted. A model that cannot be looked at (LOOKED_UP), and a condition that an
  older version did not write down (but for UNWRITTEN), change nothing.

  Args:
    folder: its file asked.json holds the conditions under which its answers were sampled.
    conditions: everything that an answer depends on, such as the model's identity and the sampling
      settings; serializable as JSON. What is asked is not among them: each answer carries its hash.
    parts: names in `folder` of the files and folders to move: the answers, and data made from
      answers.
    bounds: see `bounds`. Where they have changed, examples that could not be asked are tried again.
      None: nothing is known about them.
    legacy: values that older versions wrote for some of the conditions; they are accepted once.
      With a mapping, answers without any conditions are accepted, too.
  """
  folder.mkdir(parents=True, exist_ok=True)
  if jax.process_index() == 0:
    note = folder / "asked.json"
    conditions = json.loads(json.dumps(conditions))
    old = json.loads(note.read_text()) if note.exists() else None
    changes = _changed_conditions(old, conditions, legacy or {})
    found = [part for part in parts if (folder / part).exists()]
    if old is None and legacy is None:
      changes = ["no record of the conditions they were sampled under"]
    if changes and found:
      aside = epath.Path(answer_log.earlier_folder(folder))
      aside.mkdir(parents=True)
      for part in found + (["asked.json"] if old is not None else []):
        (folder / part).rename(aside / part)
      logging.warning(
        "%s: the answers were sampled under other conditions (%s): they are moved to %s, and asked "
        "anew",
        *(folder, "; ".join(changes), aside),
      )
    elif old is not None:
      conditions = {
        name: old.get(name) if value is None else value for name, value in conditions.items()
      }
      if bounds is not None and old.get("bounds") != bounds:
        again = sum(answer_log.drop_errors(folder / part) for part in found if "." in part)
        if again:
          logging.info("%s: %d times an example could not be asked: tried again", folder, again)
    known = {} if bounds is None else {"bounds": bounds}
    files.write_atomic(note, json.dumps({**conditions, **known}, indent=2))
  multihost_utils.sync_global_devices(f"{folder} begun")


def _changed_conditions(
  old: Mapping[str, Any] | None, new: Mapping[str, Any], legacy: Mapping[str, Any]
) -> list[str]:
  """The conditions that differ, in words: ["model: 1a2b -> 3c4d"]."""
  out, old = [], old or {}
  for name, value in new.items():
    was = old.get(name, UNWRITTEN.get(name, value))
    unknown = name in LOOKED_UP and None in (was, value)
    if unknown or _agree(was, value):
      continue
    if was == legacy.get(name):
      logging.warning("%s: known by %r alone until now; taken for the %s of today", name, was, name)
    else:
      out.append(f"{name}: {was} -> {value}")
  return out


def _agree(old: Any, new: Any) -> bool:
  """Whether two conditions are equal, but for knobs that only one version has; see UNWRITTEN."""
  if isinstance(old, dict) and isinstance(new, dict):
    return all(
      _agree(old.get(name, UNWRITTEN.get(name, value)), value) for name, value in new.items()
    )
  if isinstance(old, list) and isinstance(new, list):
    return len(old) == len(new) and all(map(_agree, old, new))
  return old == new


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


def processor_knobs(config: Section, max_pixels: int | None = None) -> dict[str, Any]:
  """The section processor, for a stage with a bound of its own.

  Args:
    config: the whole config.
    max_pixels: largest area of a picture, and of a frame of a video, after resizing; None: those of
      the section.
  """
  knobs = config.processor.to_dict()
  if max_pixels is not None:
    of_frames = knobs["video"]["max_pixels"] or max_pixels
    knobs["max_pixels"], knobs["video"]["max_pixels"] = max_pixels, min(of_frames, max_pixels)
  return knobs


def buckets(config: Section) -> packing.Buckets:
  """The shapes to which batches are padded."""
  return packing.Buckets(**config.buckets)


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
    max_pixels: see `processor_knobs`.
  """
  return cot_rm.judge.load(
    resolve_path(workdir, start),
    mesh=sharding.make_mesh(config.mesh.shape.to_dict()),
    rules=config.mesh[rules].to_dict(),
    sample_mesh=sharding.make_mesh((config.mesh.sample_shape or config.mesh.shape).to_dict()),
    sample_rules=config.mesh.sample_rules.to_dict(),
    buckets=buckets(config),
    max_prompts=max_prompts,
    sampler=limits.Limits(**config.sampler),
    **processor_knobs(config, max_pixels),
    options=media_options(config),
    **config.model,
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
