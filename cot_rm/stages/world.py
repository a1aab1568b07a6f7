"""Makes the built-in world: data set, tokenizer, and a small model with random weights to start from.

world/data/       ArrayRecord splits: references, train, check, heldout
world/model/      a model folder, as the port stage writes one for a released checkpoint
"""

import dataclasses

import jax
from absl import logging
from flax import nnx

from cot_rm import checkpoint, models, sharding, train
from cot_rm.data import shapes, store
from cot_rm.models import tiny_tokenizer


def run(config, workdir, name):
  folder = workdir / name
  section = config.world.to_dict()
  world = shapes.World(**section["shapes"])
  seed = config.seed

  def unlabelled(examples):
    return (dataclasses.replace(e, reasoning=None) for e in examples)

  sizes = section["sizes"]
  draw = lambda split, start, count: shapes.examples(
    world, split, seed=seed, start=start, count=count
  )
  if not (folder / "data").exists():  # else it is whole, and the run was interrupted later
    store.write(
      folder / "data",
      {
        "references": draw("train", 0, sizes["references"]),
        # Pairs that RL sees have a gold answer and no reasoning.
        "train": unlabelled(draw("train", sizes["references"], sizes["train"])),
        "check": unlabelled(draw("check", 0, sizes["check"])),
        "heldout": unlabelled(draw("heldout", 0, sizes["heldout"])),
      },
    )

  family = models.get(section["family"])
  ids = tiny_tokenizer.train(
    shapes.corpus(world, section["corpus"]),
    folder / "tokenizer",
    vocab_size=section["vocab_size"],
    phrases=shapes.phrases(world),
  )
  model_config = dataclasses.replace(family.PRESETS[section["preset"]], **ids)
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  rules = config.mesh.train_rules.to_dict()
  build = lambda rngs: family.Model(model_config, rngs=rngs)
  params = train.init_params(build, seed, mesh, rules)
  count = sum(x.size for x in jax.tree.leaves(nnx.to_pure_dict(params)))
  checkpoint.save_model(
    folder / "model",
    params,
    family=section["family"],
    config=model_config,
    processor_files=folder / "tokenizer",
  )
  logging.info(
    "a model of %s parameters, a vocabulary of %d", f"{count:,}", model_config.vocab_size
  )
