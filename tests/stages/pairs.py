"""Pairs of the built-in world for tests of stages, good and bad ones, as files and folders."""

import dataclasses

from cot_rm.data import array_record, jsonl
from cot_rm.schema import Media
from cot_rm.toy_world import world as toy_world

WORLD = toy_world.World(side=56, objects=(1, 1), video_understanding=0, video_generation=0)


def pairs(count, *, reasoning=False, **changes):
  """Pairs with gold; `reasoning` keeps the reference judgements."""
  found = toy_world.examples(WORLD, "train", count=count)
  kept = {} if reasoning else {"reasoning": None}
  return [dataclasses.replace(e, id=f"p-{i}", **kept, **changes) for i, e in enumerate(found)]


def spoilt(example):
  """The pair with pictures that are none."""
  media = tuple(Media("image", b"no picture") for _ in example.media)
  return dataclasses.replace(example, media=media)


def damaged(example):
  """The pair with pictures whose headers are right and whose pixels are not there."""
  media = tuple(Media("image", medium.source[:60]) for medium in example.media)
  return dataclasses.replace(example, media=media)


def wordy(example, words=200):
  """The pair with a question that fits no bucket."""
  return dataclasses.replace(example, question=f"{example.question} " * words)


def as_jsonl(path, examples):
  """Writes a JSONL file; its path as text."""
  jsonl.write(path, examples)
  return str(path)


def as_folder(path, examples):
  """Writes a data set with the split "train"; its path as text."""
  array_record.write(path, {"train": examples})
  return str(path)
