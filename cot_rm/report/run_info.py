"""What a run is: its stages, commands, config, commit and versions, from what it left behind."""

import json
import shlex

from cot_rm import metrics
from cot_rm import workdir as run_folder  # `workdir` is an argument here


def read(path):
  """A JSON file; None where it is not there."""
  return json.loads(path.read_text()) if path.exists() else None


def plan(run):
  """{folder: stage} of a run's config; empty where there is no record of the run."""
  return run_folder.entries(run["config"]["stages"]) if run else {}


def order(workdir, names):
  """The folders below a workdir that hold curves or samples, those of `names` first.

  An eval's folder of a model, eval/<model>, stands behind the model's own.
  """
  found = {path.parent for path in workdir.glob("*/metrics.jsonl")}
  for depth in ("*", "*/*"):  # a stage's own samples, and those of each model that eval scored
    found |= {path.parent.parent for path in workdir.glob(f"{depth}/samples/*.jsonl")}
  place = {name: i for i, name in enumerate(names)}
  key = lambda folder: (place.get(folder.name, len(place)), folder.name, len(folder.parts))
  return sorted(found, key=key)


def stages(workdir, run):
  """[(folder, stage where it is called otherwise, how long it took)] in order."""
  out = []
  for folder, stage in plan(run).items():
    done = read(workdir / folder / "done.json")
    took = metrics.format_duration(done["seconds"]) if done else ""
    out.append((folder, stage if stage != folder else "", took))
  return out


def starts(run):
  """{stage: the stage whose model it started from}, as the config says."""
  out = {}
  for folder, stage in plan(run).items():
    # Control has its knobs under another name: see stages/sft.
    for section in ("more" if folder == "control" else folder, stage):
      knobs = run["config"].get(section)
      if isinstance(knobs, dict):
        out[folder] = knobs.get("start", "")
        break
  return out


def subtitle(run, summary):
  """The words under the title."""
  out = [f"{n:,} pairs" for n in sorted({f["n"] for f in summary.values() if "n" in f})]
  if run:
    last = run["runs"][-1]
    out += [f"seed {run['config']['seed']}", last["devices"]]
    out += [f"commit {(last['commit'] or 'none')[:10]}", last["time"].replace("T", " ")[:16]]
  return out


def commands(run):
  """[(time, commit, command line)], the last one first."""
  return [
    (one["time"], one["commit"] or "no commit", shlex.join(one["command"]))
    for one in reversed(run["runs"] if run else [])
  ]


def machine(run):
  """[(name, text)] of what the run last ran on."""
  if not run:
    return []
  last = run["runs"][-1]
  return [
    ("Seed", run["config"]["seed"]),
    ("Commit", last["commit"] or "none"),
    ("Devices", last["devices"]),
    ("Processes", last.get("processes", 1)),
    ("Versions", ", ".join(f"{k} {v}" for k, v in _versions(last))),
  ]


def _versions(last):
  return [*([("python", last["python"])] if "python" in last else []), *last["versions"].items()]
