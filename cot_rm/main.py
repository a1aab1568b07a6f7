"""The program: python -m cot_rm.main --config FILE [--config.any.knob=value] [--workdir DIR]."""

import json
import os
import sys
from collections.abc import Mapping, Sequence

import jax
import ml_collections
import numpy as np
from absl import app, logging
from etils import epath
from jax.experimental import multihost_utils

from cot_rm import (
  begun,
  command_line,
  failures,
  files,
  host,
  knobs,
  metrics,
  optim,
  stages,
  workdir,
)
from cot_rm.stages import preflight


def main(argv: Sequence[str]) -> None:
  """Prepares the process as the flags say, and runs the stages."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown: {' '.join(argv[1:])}; knobs are set as --config.seed=1")
  if command_line.CONFIG.value is None:
    raise app.UsageError("no config file is given; for example: --config configs/tiny.py")
  logging.get_absl_handler().addFilter(host.worth_logging)
  host.prepare()
  config = command_line.CONFIG.value
  if config.compile_cache:
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(config.compile_cache))
  devices, why = host.cpu_devices(config.cpu_devices)
  if devices:
    jax.config.update("jax_num_cpu_devices", devices)
    logging.info("%d CPU devices: %s", devices, why)
  folder = epath.Path(command_line.WORKDIR.value or workdir.default(command_line.config_name()))
  try:
    if config.dry_run:
      sys.exit(0 if dry_run(config, folder) else 1)
    run(config, folder, command=sys.argv)
  except Exception as error:  # what is no user's making is raised again
    text = failures.words(error)
    if text is None or command_line.TRACEBACK.value:
      raise
    failures.say(text, error, folder=folder)
    sys.exit(1)
  except KeyboardInterrupt:
    sys.stderr.write("interrupted; the same command continues\n")
    sys.exit(130)


def dry_run(config: ml_collections.ConfigDict, folder: epath.Path) -> bool:
  """Prints what the preflights of all stages find, and runs none; whether they found no fault."""
  plan, faults, extended = workdir.entries(config.stages), [], {}
  try:
    _, extended = workdir.check(folder, json.loads(config.to_json()), optim.same_rates)
  except ValueError as error:
    faults.append(str(error))
  pending = _pending(folder, plan)
  found = preflight.run(
    config, folder, {name: plan[name] for name in plan if name in pending or name in extended}
  )
  preflight.show(found)
  faults = [*preflight.faults_of(found), *faults]
  sys.stderr.write("".join(f"{fault}\n" for fault in faults))
  return not faults


def run(config: ml_collections.ConfigDict, folder: epath.Path, *, command: Sequence[str]) -> None:
  """Runs config.stages in order in the workdir `folder`; a stage that is complete is skipped.

  An entry is the name of a stage, or "folder:stage" to let the stage write into another folder.

  Before the first stage the preflights of all stages look at everything that is there already;
  before each stage its preflight looks at what has been made since.

  Raises:
    ValueError: an unknown stage, two entries with one folder, or a workdir whose stages were made
      with another config.
    preflight.Refused: a preflight found faults; nothing has run since.
  """
  plan = workdir.entries(config.stages)
  modules = {name: stages.get(stage) for name, stage in plan.items()}  # a typo fails here
  first = jax.process_index() == 0
  resolved = json.loads(config.to_json())
  if first:
    workdir.record(folder, resolved, command, optim.same_rates)
  chip = jax.devices()[0].device_kind
  logging.info("%s: %s on %d %s", folder, ", ".join(plan), jax.device_count(), chip)
  found = preflight.run(config, folder, _pending(folder, plan))
  preflight.refuse(found)
  unseen = {checks.name for checks in found if checks.later}
  for i, (name, module) in enumerate(modules.items()):
    done = folder / name / "done.json"
    if _from_first(is_done(folder, name, plan[name])):
      was = json.loads(done.read_text())
      took = metrics.format_duration(was["seconds"]) + headline(was["figures"])
      logging.info(
        "%s was done before, in %s; to run it again, remove %s", name, took, folder / name
      )
      for knob in begun.other_inputs(was.get("inputs", {}), folder, resolved, name, plan[name]):
        logging.warning(
          "%s was made from something else than what its knob %s names today; to make it anew, "
          "remove %s",
          *(name, knob, " ".join(begun.to_remove(folder / name, plan[name]))),
        )
      continue
    logging.info("stage %d of %d: %s", i + 1, len(plan), name)
    if _from_first(name in unseen):
      preflight.refuse([preflight.of_stage(config, folder, name, plan[name])])
    inputs = begun.inputs(folder, resolved, name, plan[name]) if first else {}
    with metrics.timer() as timer:
      figures = module.run(config, folder, name)
    if figures is not False and first:
      entry = {"stage": plan[name], "seconds": timer.seconds, "figures": figures or {}}
      entry |= {"inputs": inputs} if inputs else {}
      files.write_atomic(done, json.dumps(entry, indent=2) + "\n")
    logging.info("%s took %s%s", name, metrics.format_duration(timer.seconds), headline(figures))
  for page in ("summary.json", "report.html"):
    if (folder / page).exists():
      logging.info("see %s", folder / page)


def _pending(folder: epath.Path, plan: Mapping[str, str]) -> dict[str, str]:
  """The entries of the plan that are not done."""
  return {name: stage for name, stage in plan.items() if not is_done(folder, name, stage)}


def is_done(folder: epath.Path, name: str, stage: str) -> bool:
  """Whether a stage of a workdir need not run; one that asks for what has changed always runs."""
  return stage not in knobs.ASKS_AGAIN and (folder / name / "done.json").exists()


def headline(figures: stages.Figures) -> str:
  """A stage's figures for the end of a line: ": accuracy 0.853, n 1000"; "" without figures."""
  if not figures:
    return ""
  return ": " + ", ".join(
    f"{name} {metrics.format_value(value)}" for name, value in figures.items()
  )


def _from_first(flag):
  """The value of `flag` on process 0, so that all processes skip a stage or none does."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))


def start() -> None:
  """Entry point: parses the command line and runs `main`."""
  command_line.prepare()
  app.run(main, flags_parser=command_line.parse)


if __name__ == "__main__":
  start()
