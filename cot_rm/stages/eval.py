"""Scores what every stage made on held-out pairs, in both orders, and writes the summary."""

import json

from absl import logging

from cot_rm import judge, metrics, report, sharding, stages
from cot_rm.benchmarks import pairs
from cot_rm.data import packing, samples, shapes, shapes_text, sources
from cot_rm.sampler import sampling


def run(config, workdir, name):
  """summary.json: {stage: figures}. A model that was scored is not scored again."""
  knobs, folder = config.eval, workdir / name
  folder.mkdir(parents=True, exist_ok=True)
  summary = {}
  for start in knobs.models.split(","):
    if "/" not in start and not (workdir / start / "model").exists():
      logging.info("%s: there is no model of %r to score", name, start)
      continue
    label = start.strip("/").replace("/", "--")
    kept = folder / f"{label}.json"
    if not kept.exists():
      part = folder / f"{label}.part"
      part.write_text(json.dumps(_score(config, workdir, start, folder / label)))
      part.replace(kept)  # a run that is killed leaves no half of it
    summary[label] = json.loads(kept.read_text())
    training = workdir / start / "training.json"
    if training.exists():
      summary[label] |= json.loads(training.read_text())
  (workdir / "summary.json").write_text(json.dumps({"stages": summary}, indent=2))
  metrics.table("held-out pairs, both orders", summary)
  report.write(workdir, summary)
  return False  # a model that comes later is scored by the same command


def _score(config, workdir, start, folder):
  knobs = config.eval
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  policy = judge.load(
    stages.find(workdir, start),
    mesh=mesh,
    rules=config.mesh.sample_rules.to_dict(),
    buckets=packing.Buckets(**config.buckets),
    rows=knobs.rows,
    processor=config.processor.to_dict(),
    **config.model,
  )
  examples = sources.first(sources.open(stages.find(workdir, knobs.data), knobs.split), knobs.pairs)
  how = sampling.Sampling(max_tokens=knobs.max_tokens)
  ask = dict(grammar=config.grammar, n=1, how=how, seed=config.seed)
  with metrics.bar(f"eval {folder.name}", total=2 * len(examples)) as bar:
    given, swapped = policy.both(examples, progress=bar.advance, **ask)
  figures = pairs.score(given, swapped, fidelity=shapes_text.fidelity)
  with metrics.Writer(folder) as writer:
    writer.samples(
      0,
      [
        samples.record(j.example, j.completions[0], j.verdicts[0], {})
        for j in given[: knobs.samples]
      ],
    )
  if knobs.blank_pairs:
    # A judge that looks cannot tell without the picture.
    blanked = [shapes.blank(e) for e in examples[: knobs.blank_pairs]]
    blind = pairs.score(*policy.both(blanked, **ask))
    figures |= {
      "blank_accuracy": blind["accuracy"],
      "blank_accuracy_parsed": blind["accuracy_parsed"],
    }
  logging.info("%s: %s", folder.name, pairs.line(figures))
  return figures
