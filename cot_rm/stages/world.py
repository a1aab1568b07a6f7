"""Makes the built-in preference world: data set, tokenizer, and a small random model.

world/data/    ArrayRecord splits: base, references, train, check, heldout
world/model/   a model folder, as the stage port writes it for a released checkpoint
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
from absl import logging
from etils import epath

from cot_rm import metrics, models, registry, schema, sharding, stages, train
from cot_rm.checkpoints import model_folder
from cot_rm.data import array_record
from cot_rm.stages import common
from cot_rm.stages import preflight as checking
from cot_rm.toy_world import base_judgements, tokenizer
from cot_rm.toy_world import world as toy_world


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes the splits, trains the tokenizer on texts of the train split, and makes the model."""
  folder, section = workdir / name, common.section_name(config, name, "world")
  knobs = config[section]
  world = toy_world.World(**knobs.shapes)
  if not (folder / "data").exists():  # else it is complete, and a later step was interrupted
    with metrics.bar(name, total=sum(knobs.sizes.values())) as bar:
      splits = _splits(
        world, knobs.sizes.to_dict(), config.seed, bar.advance, f"config.{section}.sizes"
      )
      array_record.write(folder / "data", splits)

  ids = tokenizer.train(
    toy_world.corpus(world, knobs.corpus, seed=config.seed),
    folder / "tokenizer",
    vocab_size=knobs.vocab_size,
    phrases=toy_world.phrases(world),
  )
  family = models.get(knobs.family)
  preset = registry.lookup(family.PRESETS, knobs.preset, f"preset of {knobs.family}")
  model_config = dataclasses.replace(preset, **ids)
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  params = train.init_params(
    lambda rngs: family.Model(model_config, rngs=rngs),
    config.seed,
    mesh,
    config.mesh.train_rules.to_dict(),
  )
  model_folder.save_model(
    folder / "model",
    params,
    family=knobs.family,
    config=model_config,
    processor_files=folder / "tokenizer",
  )
  count = sum(x.size for x in jax.tree.leaves(params))
  logging.info("%s: %s parameters, %d words", name, f"{count:,}", model_config.vocab_size)
  return None


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the sizes of the world and of its splits, the family and the preset."""
  section, checks = common.section_name(config, name, "world"), checking.Checks(name)
  knobs = config[section]
  with checks.catching():
    world = toy_world.World(**knobs.shapes)
    sizes = knobs.sizes.to_dict()
    _splits(world, sizes, config.seed, lambda: None, f"config.{section}.sizes")
    for split, count in sizes.items():
      knob = f"config.{section}.sizes.{split}"
      checks.require(count >= 1, f"{knob} is {count}; it must be 1 or more")
    checks.found["examples"] = f"{sum(sizes.values()):,} to be made"
  with checks.catching():
    registry.lookup(models.get(knobs.family).PRESETS, knobs.preset, f"preset of {knobs.family}")
  checking.check_mesh(checks, config, rules="train_rules")
  return checks


def _splits(
  world: toy_world.World,
  sizes: Mapping[str, int],
  seed: int,
  advance: Callable[[], None],
  where: str,
) -> dict[str, Iterator[schema.Example]]:
  """{split: its examples} of the splits in `sizes`.

  "base" has true descriptions and random verdicts, for a base model. "references" have a reference
  judgement, "train", "check" and "heldout" have labels alone.

  Args:
    world: of the scenes.
    sizes: {split: number of examples}.
    seed: of the examples.
    advance: called for each example.
    where: the knob of `sizes`, for the error message.

  Raises:
    ValueError: an unknown split.
  """

  def draw(split, start, count):
    for example in toy_world.examples(world, split, seed=seed, start=start, count=count):
      advance()
      yield example

  def without_reasoning(examples):
    return (dataclasses.replace(e, reasoning=None) for e in examples)

  # References, train and base are parts of one stream: no example is in two splits.
  references = sizes.get("references", 0)
  train_end = references + sizes.get("train", 0)
  drawn = {
    "base": lambda count: map(base_judgements.with_base_judgement, draw("train", train_end, count)),
    "references": lambda count: draw("train", 0, count),
    "train": lambda count: without_reasoning(draw("train", references, count)),
    "check": lambda count: without_reasoning(draw("check", 0, count)),
    "heldout": lambda count: without_reasoning(draw("heldout", 0, count)),
  }
  if unknown := set(sizes) - set(drawn):
    raise ValueError(f"{where}: unknown {sorted(unknown)}; known: {', '.join(drawn)}")
  return {split: drawn[split](count) for split, count in sizes.items()}
