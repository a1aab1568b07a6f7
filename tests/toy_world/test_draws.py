"""Looks of objects and the splits that they belong to."""

import pytest

from cot_rm.toy_world import draws
from cot_rm.toy_world import world as toy_world

WORLD = toy_world.World()


def test_the_look_of_an_object_belongs_to_one_split():
  looks = {}
  for split in draws.SPLITS:
    for seed in (0, 1):
      for example in toy_world.examples(WORLD, split, count=700, seed=seed):
        for picture in example.extra["scene"]["pictures"]:
          for record in picture["objects"]:
            look = (record["shape"], *record["rgb"], record["radius"])
            assert looks.setdefault(look, split) == split
  assert len(looks) > 5000


def test_every_class_of_looks_belongs_to_exactly_one_split():
  assert sorted(part for parts in draws.SPLITS.values() for part in parts) == [*range(8)]


def test_an_unknown_split_names_the_known_ones():
  with pytest.raises(ValueError, match="unknown split 'dev'; known: train, heldout, hard, check"):
    toy_world.example(WORLD, "dev", 0)
