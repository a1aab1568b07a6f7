"""Stages: a run is some of these in order. To add one, write its module and add its line.

A stage module has `run(config, workdir, name)`. It works in `workdir / name` and resumes there
where it was interrupted. It returns its figures (a dict of numbers, which the program logs and
keeps) or None, and is then done; or False, and runs again next time.
"""

import functools
import importlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

import cot_rm.judge  # by its whole name: a stage of this package is called judge too
from cot_rm import files, registry, schema, sharding
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import model_folder
from cot_rm.data import datasets, packing
from cot_rm.sampler import sampling
from cot_rm.toy_world import language

# What a stage returns; False: not done.
Figures = Mapping[str, Any] | Literal[False] | None

STAGES = {
  "world": "cot_rm.stages.world",
  "port": "cot_rm.stages.port",
  "distill": "cot_rm.stages.distill",
  "sft": "cot_rm.stages.sft",
  "reject": "cot_rm.stages.reject",
  "rl": "cot_rm.stages.rl",
  "eval": "cot_rm.stages.eval",
  "judge": "cot_rm.stages.judge",
}


def get(name):
  """The module of a stage. Raises ValueError, with the known names, when there is none."""
  return importlib.import_module(registry.lookup(STAGES, name, "stage"))


def find(workdir, value):
  """What a config names: a stage's model or a file of the workdir if it is there, else a path.

  "sft" is workdir/sft/model where a stage of that name left a model; "world/data" is
  workdir/world/data where it exists; anything else (a path, a hub id) stays what it is.

  Raises:
    ValueError: the config names nothing.
  """
  if not value:
    raise ValueError(
      "a stage was told no model to start from, or no data to read: its knobs `start` "
      "and `data` name an earlier stage's folder, a path, or a hub id"
    )
  for path in (workdir / value / "model", workdir / value):
    if path.exists():
      return str(path)
  return value


def mark(where):
  """What tells a model from others that have been at its place: a checksum of its fingerprint.

  Of a path or a hub id that no stage wrote it is the name itself.
  """
  info = epath.Path(where) / model_folder.INFO
  return f"{zlib.crc32(info.read_bytes()):08x}" if info.exists() else str(where)


def begin(folder, asked, parts):
  """Makes a stage's folder, in which answers are kept; those that were asked otherwise are removed.

  Args:
    folder: which; its asked.json holds what was asked.
    asked: what an answer hangs on, the `mark` of the model among it; a dict for JSON.
    parts: names of the files and folders that hold answers, or what was made of them.
  """
  folder.mkdir(parents=True, exist_ok=True)
  note = folder / "asked.json"
  if jax.process_index() == 0 and (not note.exists() or json.loads(note.read_text()) != asked):
    for old in (epath.Path(folder / part) for part in parts):
      if old.exists():
        logging.warning("%s is of another model, or was asked otherwise: removed", old)
        remove = old.rmtree if old.is_dir() else old.unlink
        remove()
    files.write_atomic(note, json.dumps(asked, indent=2))
  multihost_utils.sync_global_devices(f"{folder} begun")


def tasks(text):
  """The tasks that a knob names, with commas between; none: all are wanted.

  Raises:
    ValueError: one that is unknown: left out silently, a family would be missing.
  """
  names = [name for name in text.split(",") if name]
  if unknown := [name for name in names if name not in schema.TASKS]:
    raise ValueError(
      f"a stage's knob `tasks` names {', '.join(unknown)}; known: {', '.join(schema.TASKS)}"
    )
  return names


def load(config, workdir, start, *, rows, rules="train_rules", max_pixels=None):
  """judge.load of what a config names, as the config's sections say.

  Args:
    start: see `find`.
    rows: prompts that the sampler answers at a time, at most.
    rules: of config.mesh.
    max_pixels: of a picture; None: as config.processor has it.
  """
  processor = config.processor.to_dict()
  if max_pixels is not None:
    processor["max_pixels"] = max_pixels
  return cot_rm.judge.load(
    find(workdir, start),
    mesh=sharding.make_mesh(config.mesh.shape.to_dict()),
    rules=config.mesh[rules].to_dict(),
    sample_mesh=sharding.make_mesh((config.mesh.sample_shape or config.mesh.shape).to_dict()),
    sample_rules=config.mesh.sample_rules.to_dict(),
    buckets=packing.Buckets(**config.buckets),
    rows=rows,
    processor=processor,
    sampler=config.sampler.to_dict(),
    **config.model,
  )


def check(config, workdir):
  """`(judge) -> figures` on the pairs that are asked while training goes on; see pairs.score."""
  return functools.partial(
    pairs.evaluate,
    examples=datasets.first(
      datasets.open(find(workdir, config.eval.data), config.eval.check), config.eval.check_pairs
    ),
    grammar=config.grammar,
    how=sampling.Sampling(max_tokens=config.eval.max_tokens),
    fidelity=language.fidelity,
  )
