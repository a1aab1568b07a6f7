"""Makes the built-in world: data set, tokenizer, and a small random model to start from.

world/data/       ArrayRecord splits: base, references, train, check, heldout
world/model/      a model folder, as the port stage writes one for a released checkpoint
"""

import dataclasses

import jax
from absl import logging

from cot_rm import metrics, models, sharding, train
from cot_rm.checkpoints import model_folder
from cot_rm.data import array_record
from cot_rm.toy_world import base_judgements, tokenizer
from cot_rm.toy_world import world as toy_world


def run(config, workdir, name):
  """Draws the splits, trains the tokenizer on the texts of the train split, makes the model."""
  folder, knobs = workdir / name, config.world
  world = toy_world.World(**knobs.shapes)
  if not (folder / "data").exists():  # else it is whole, and the run was interrupted later
    with metrics.bar(name, total=sum(knobs.sizes.values())) as bar:
      array_record.write(folder / "data", _splits(world, knobs.sizes, config.seed, bar))

  ids = tokenizer.train(
    toy_world.corpus(world, knobs.corpus, seed=config.seed),
    folder / "tokenizer",
    vocab_size=knobs.vocab_size,
    phrases=toy_world.phrases(world),
  )
  family = models.get(knobs.family)
  model_config = dataclasses.replace(family.PRESETS[knobs.preset], **ids)
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  rules = config.mesh.train_rules.to_dict()
  build = lambda rngs: family.Model(model_config, rngs=rngs)
  params = train.init_params(build, config.seed, mesh, rules)
  model_folder.save_model(
    folder / "model",
    params,
    family=knobs.family,
    config=model_config,
    processor_files=folder / "tokenizer",
  )
  logging.info(
    "a model of %s parameters, a vocabulary of %d",
    f"{sum(x.size for x in jax.tree.leaves(params)):,}",
    model_config.vocab_size,
  )


def _splits(world, sizes, seed, bar):
  """{split: iterator of Example} of the splits that have a size.

  "base" is what gives the model eyes and words; "references" have a reasoning, "train" has labels.
  Raises ValueError on an unknown split.
  """

  def draw(split, start, count):
    for example in toy_world.examples(world, split, seed=seed, start=start, count=count):
      bar.advance()
      yield example

  def bare(examples):
    return (dataclasses.replace(e, reasoning=None) for e in examples)

  behind = sizes.references + sizes.train  # of one stream: no example is in two of its splits
  drawn = {
    "base": lambda count: map(base_judgements.unschooled, draw("train", behind, count)),
    "references": lambda count: draw("train", 0, count),
    "train": lambda count: bare(draw("train", sizes.references, count)),
    "check": lambda count: bare(draw("check", 0, count)),
    "heldout": lambda count: bare(draw("heldout", 0, count)),
  }
  if unknown := set(sizes) - set(drawn):
    raise ValueError(f"config.world.sizes: unknown {sorted(unknown)}; known: {', '.join(drawn)}")
  return {split: drawn[split](count) for split, count in sizes.items()}
