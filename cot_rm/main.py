"""The program: python -m cot_rm.main --config FILE [--config.any.knob=value] [--workdir DIR]."""

import ctypes
import datetime
import importlib.metadata
import importlib.util
import json
import logging as python_logging
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
from absl import app, flags, logging
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import config_flags

from cot_rm import files, metrics, stages

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The experiment, a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Everything this run writes goes here; runs/<name of the config> when absent."
)

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "transformers", "numpy")
TPU_CHIPS = ("/dev/accel0", "/dev/vfio/0")
# Knobs that say what more to do, or where compiled programs are kept: what is there stays as it is.
FREE = ("stages", "compile_cache", "control")
FREE_OF_A_STAGE = ("budget", "endpoint", "unanswered")  # so are who is asked, and what it may cost


def parse(argv):
  """absl's flags, where a knob that does not exist ends in a line and not in a traceback."""
  # A tuple is read as Python, to which "base:sft,rl" is no expression; a quoted text is one.
  argv = [re.sub(r"^(--?config\.stages=)([\w:,.-]+)$", r"\1'\2'", arg) for arg in argv]
  try:
    return app.parse_flags_with_usage(argv)
  except AttributeError as error:
    # ml_collections: a KeyError's text, quoted twice, with its suggestion on a second line.
    found = re.fullmatch(
      r"[\"']*(\w+)[\"']*(?:\\n|\n)?(Did you mean .*?)?[\"']*", str(error).replace("\\'", "'")
    )
    if not found:
      raise
    knob, hint = found.groups()
    flag = next(
      (a for a in argv if re.search(rf"^--config\..*\b{knob}\b", a)), f"--config...{knob}"
    )
    sys.stderr.write(f"{flag}: the config has no {knob!r}. {hint or ''}\n".replace(" \n", "\n"))
    sys.exit(1)


def main(argv):
  """Starts what all stages need, and runs them."""
  if len(argv) > 1:
    raise app.UsageError(f"what is {' '.join(argv[1:])}? Knobs are set as --config.seed=1")
  if _CONFIG.value is None:
    raise app.UsageError("which experiment? For example: --config configs/tiny.py")
  logging.get_absl_handler().addFilter(worth_reading)
  if not any(os.path.exists(path) for path in (*TPU_CHIPS, "/dev/nvidia0")):
    keep_memory()
  connect()
  config = _CONFIG.value
  if config.compile_cache:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compile_cache))
  if config.cpu_devices:
    jax.config.update("jax_num_cpu_devices", config.cpu_devices)
  workdir = _WORKDIR.value or default_workdir(
    config_flags.get_config_filename(flags.FLAGS["config"])
  )
  run(config, epath.Path(workdir), command=sys.argv)


def connect():
  """Joins the other processes of the run, where the environment speaks of others.

  Any cluster: COORDINATOR_ADDRESS, and NUM_PROCESSES and PROCESS_ID where jax cannot find them. On
  a TPU host jax knows all by itself.
  """
  env = os.environ
  if "COORDINATOR_ADDRESS" in env:
    number = lambda name: int(env[name]) if name in env else None
    jax.distributed.initialize(
      env["COORDINATOR_ADDRESS"], number("NUM_PROCESSES"), number("PROCESS_ID")
    )
  elif _tpu_host():
    jax.distributed.initialize()


def keep_memory():
  """Tells glibc to keep freed memory for the next step; False where the C library is another one.

  XLA's CPU programs allocate their buffers anew at each call, and by default glibc returns large
  ones to the system, which then zeroes each page again: a third of a small model's step. Nor may
  all threads draw on one arena: what Python leaves in it in small pieces slows XLA's allocations,
  and each waits for the other. To be called before jax starts its threads.
  """
  if not hasattr(libc := ctypes.CDLL(None), "mallopt"):
    return False
  arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # numbers of malloc.h
  return all(
    (
      libc.mallopt(arena_max, os.cpu_count() + 1),
      libc.mallopt(mmap_max, 0),
      libc.mallopt(trim_threshold, -1),
      # A heap of an arena is 64 MiB; where the padding is twice that, an empty one is kept.
      libc.mallopt(top_pad, 128 << 20),
    )
  )


def _tpu_host():
  if jax.config.jax_platforms and "tpu" not in jax.config.jax_platforms:
    return False
  chips = any(os.path.exists(path) for path in TPU_CHIPS)
  return chips and importlib.util.find_spec("libtpu") is not None


def default_workdir(config_file):
  """The run of a config: configs/tiny.py -> runs/tiny, configs/tiny.py:smoke -> runs/tiny-smoke."""
  path, _, argument = config_file.partition(":")
  name = pathlib.PurePath(path).stem
  return f"runs/{name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', argument)}" if argument else f"runs/{name}"


def run(config, workdir, *, command):
  """Runs config.stages in order in `workdir`; a stage that is complete is skipped.

  An entry is the name of a stage, or "folder:stage" to let the stage write into another folder.

  Raises:
    ValueError: an unknown stage, two entries that would write into one folder, or a workdir whose
      stages were made with another config.
  """
  plan = entries(config.stages)
  modules = {
    name: stages.get(stage) for name, stage in plan.items()
  }  # a typo fails here, not later
  first = jax.process_index() == 0
  if first:
    record(config, workdir, command)
  logging.info(
    "%s: %s on %d %s", workdir, ", ".join(plan), jax.device_count(), jax.devices()[0].device_kind
  )
  for i, (name, module) in enumerate(modules.items()):
    done = workdir / name / "done.json"
    if _from_first(done.exists()):
      was = json.loads(done.read_text())
      logging.info(
        "%s was done before, in %s%s; to run it again, remove %s",
        name,
        metrics.format_duration(was["seconds"]),
        headline(was["figures"]),
        workdir / name,
      )
      continue
    logging.info("stage %d of %d: %s", i + 1, len(plan), name)
    with metrics.timer() as timer:
      figures = module.run(config, workdir, name)
    if figures is not False and first:
      entry = {"stage": plan[name], "seconds": timer.seconds, "figures": figures or {}}
      files.write_atomic(done, json.dumps(entry, indent=2) + "\n")
    logging.info("%s took %s%s", name, metrics.format_duration(timer.seconds), headline(figures))
  for page in ("summary.json", "report.html"):
    if (workdir / page).exists():
      logging.info("see %s", workdir / page)


def entries(names):
  """{folder: stage} of config.stages; one text with commas, as a shell likes it, does as well."""
  plan = {}
  for entry in ",".join([names] if isinstance(names, str) else names).split(","):
    folder, _, stage = entry.strip().partition(":")
    if folder in plan:
      raise ValueError(
        f"config.stages: two stages would write into {folder!r}; "
        f"name a folder for one of them, as in 'again:{stage or folder}'"
      )
    plan[folder] = stage or folder
  return plan


def record(config, workdir, command):
  """Writes workdir/config.json: the resolved config, and a line for each time it was run.

  Raises:
    ValueError: a stage of this workdir has begun with another config; the message names the knobs.
  """
  path = workdir / "config.json"
  resolved = json.loads(config.to_json())
  runs = []
  if path.exists():
    old = json.loads(path.read_text())
    changes = difference(old["config"], resolved)
    if changes and any((workdir / name).exists() for name in entries(old["config"]["stages"])):
      raise ValueError(
        f"{workdir} was begun with another config:\n  "
        + "\n  ".join(changes)
        + "\nuse another --workdir, or remove this one"
      )
    runs = old["runs"]
  runs.append(
    {
      "command": list(command),
      "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "commit": commit(),
      "python": sys.version.split()[0],
      "versions": {name: importlib.metadata.version(name) for name in NOTED},
      "devices": f"{jax.device_count()} {jax.devices()[0].device_kind}",
      "processes": jax.process_count(),
    }
  )
  files.write_atomic(path, json.dumps({"config": resolved, "runs": runs}, indent=2) + "\n")


def difference(old, new):
  """The knobs in which two resolved configs differ: ["config.sft.optim.lr: 0.1 -> 0.2", ...]."""
  absent = object()
  before, after = dict(_leaves(old, "config")), dict(_leaves(new, "config"))
  show = lambda value: "absent" if value is absent else json.dumps(value)
  out = []
  for knob in sorted(before.keys() | after.keys()):
    a, b = before.get(knob, absent), after.get(knob, absent)
    free = knob.split(".")[1] in FREE or set(knob.split(".")[2:]) & set(FREE_OF_A_STAGE)
    if a != b and not free:
      out.append(f"{knob}: {show(a)} -> {show(b)}")
  return out


def _leaves(tree, path):
  if isinstance(tree, dict) and tree:
    for name, value in tree.items():
      yield from _leaves(value, f"{path}.{name}")
  else:
    yield path, tree


def commit():
  """The git commit of this code, "+" after it where files differ from it; None outside a clone."""
  if not (ROOT / ".git").exists():
    return None
  git = lambda *words: subprocess.run(
    ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
  )
  head = git("rev-parse", "HEAD")
  if head.returncode:  # no git, or no commit yet
    return None
  return head.stdout.strip() + ("+" if git("status", "--porcelain").stdout.strip() else "")


def headline(figures):
  """A stage's figures for the end of a line: ": accuracy 0.853, n 1000"; nothing of none."""
  if not figures:
    return ""
  return ": " + ", ".join(
    f"{name} {metrics.format_value(value)}" for name, value in figures.items()
  )


def _from_first(flag):
  """Process 0's answer, on every process: none may skip a stage that another one runs."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))


def worth_reading(entry):
  """A filter for the log: libraries speak of every file they save; from them only warnings."""
  ours = pathlib.PurePath(entry.pathname).is_relative_to(pathlib.PurePath(__file__).parent)
  return ours or entry.levelno > python_logging.INFO


def start():
  """The program from its command line."""
  flags.FLAGS.set_default("verbosity", logging.INFO)
  app.run(main, flags_parser=parse)


if __name__ == "__main__":
  start()
