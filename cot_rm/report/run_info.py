"""Facts about a run, read from its folder: stages, commands, config, commit and versions."""

import json
import shlex
from collections.abc import Collection, Mapping, Sequence

from etils import epath

from cot_rm import metrics
from cot_rm import workdir as run_folder  # `workdir` is an argument here
from cot_rm.report import tables

Run = Mapping[str, object]  # a run's config.json: {"config": ..., "runs": [one entry per command]}


def read_json(path: epath.Path) -> dict | None:
  """The content of a JSON file; None if there is no such file."""
  return json.loads(path.read_text()) if path.exists() else None


def plan(run: Run | None) -> dict[str, str]:
  """{folder: stage} in the order of config.stages; empty without a record of the run."""
  return run_folder.entries(run["config"]["stages"]) if run else {}


def result_folders(
  workdir: epath.Path, names: Sequence[str], scored: Collection[str]
) -> list[epath.Path]:
  """The folders of a workdir that hold curves or samples; those of `names` first, in their order.

  eval/<model>, the samples that eval took of a model, follows the folder of the model. Of models
  that are not among `scored` there may be samples of an earlier command: about other pairs, or in
  another mode.
  """
  found = {path.parent for path in workdir.glob("*/metrics.jsonl")}
  found |= {path.parent.parent for path in workdir.glob("*/samples/*.jsonl")}
  of_models = {path.parent.parent for path in workdir.glob("*/*/samples/*.jsonl")}
  found |= {folder for folder in of_models if folder.name in scored}
  position = {name: i for i, name in enumerate(names)}

  def sort_key(folder: epath.Path):
    return position.get(folder.name, len(position)), folder.name, len(folder.parts)

  return sorted(found, key=sort_key)


def stages(workdir: epath.Path, run: Run | None) -> list[tuple[str, str, str]]:
  """(folder, stage if its name differs, duration or "not run") of each stage in the plan."""
  out = []
  for folder, stage in plan(run).items():
    done = read_json(workdir / folder / "done.json")
    duration = "" if (workdir / folder).exists() else "not run"
    if done:
      duration = metrics.format_duration(done["seconds"])
    out.append((folder, stage if stage != folder else "", duration))
  return out


def start_models(run: Run | None) -> dict[str, str]:
  """{folder of a stage: the model that it started from}, by the config."""
  out = {}
  for folder, stage in plan(run).items():
    # Runs of earlier versions have the knobs of the folder "control" in the section "more".
    for section in (folder, "more" if folder == "control" else stage, stage):
      knobs = run["config"].get(section)
      if isinstance(knobs, dict):
        out[folder] = knobs.get("start", "")
        break
  return out


def subtitle(run: Run | None, summary: tables.Summary) -> list[str]:
  """The parts of the line below the title: pairs, seed, devices, commit, time."""
  out = [f"{n:,} pairs" for n in sorted({f["n"] for f in summary.values() if "n" in f})]
  if run:
    last = run["runs"][-1]
    out += [f"seed {run['config']['seed']}", last["devices"]]
    out += [f"commit {(last['commit'] or 'none')[:10]}", last["time"].replace("T", " ")[:16]]
  return out


def reproduction_cards(
  workdir: epath.Path, scored: Collection[str]
) -> dict[str, list[tuple[str, str]]]:
  """{model: (name, text) of each line of its reproduction card}, of the models `scored`."""
  out = {}
  for path in sorted(workdir.glob("*/*/card.json")):
    if path.parent.name not in scored:
      continue
    content = read_json(path) or {}
    out[path.parent.name] = [
      (name, value if isinstance(value, str) else json.dumps(value))
      for name, value in content.items()
    ]
  return out


def commands(run: Run | None) -> list[tuple[str, str, str]]:
  """(time, commit, command line) of each start of the run, newest first."""
  return [
    (entry["time"], entry["commit"] or "no commit", shlex.join(entry["command"]))
    for entry in reversed(run["runs"] if run else [])
  ]


def machine(run: Run | None) -> list[tuple[str, str]]:
  """(name, text) of the seed, commit, devices and versions of the newest start."""
  if not run:
    return []
  last = run["runs"][-1]
  versions = [("python", last["python"])] if "python" in last else []
  versions += last["versions"].items()
  return [
    ("Seed", str(run["config"]["seed"])),
    ("Commit", last["commit"] or "none"),
    ("Devices", last["devices"]),
    ("Processes", str(last.get("processes", 1))),
    ("Versions", ", ".join(f"{name} {version}" for name, version in versions)),
  ]
