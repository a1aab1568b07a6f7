"""What the built-in base model reads: judgements of one who sees and can write, but not judge.

Released checkpoints come to reward modelling with eyes and words: they can say what a picture
shows, what of it a caption or a question is about, and answer the question. The tiny model learns
that here: descriptions, what is said of each thing and answers are true, and the form is the
grammar's. It is a poor judge all the same. The scores and the verdict of two pictures say a coin.
Of two answers it checks those about a colour or a shape, as released checkpoints are weak where
they count and where they compare places; of the others the marks, too, are a coin's.
"""

import dataclasses
import zlib

import numpy as np

from cot_rm.toy_world import language

CHECKED = "What "  # of a colour or a shape: questions whose answers it can check


def unschooled(example):
  """The example with such a judgement for its reasoning, the same one each time, and no gold."""
  rng = np.random.default_rng(zlib.crc32(f"base {example.id}".encode()))
  pick = lambda options: options[rng.integers(len(options))]
  scene = example.extra["scene"]
  shown = [tuple(map(language.thing_of, picture["objects"])) for picture in scene["pictures"]]
  verb = pick(language.VERBS)
  asked = [*map(language.thing_of, scene["asked"])]
  if example.generation:
    exchanged = bool(rng.integers(2))
    text = language.generation(example.task, asked, shown, verb=verb, exchanged=exchanged)
  else:
    checked = example.question.startswith(CHECKED)
    text = language.understanding(
      example.task,
      shown[0],
      asked,
      scene["truth"],
      example.responses,
      held_to=None if checked else language.plain(pick(example.responses)),
      verb=verb,
      conclusion=pick(language.CONCLUSIONS),
    )
  return dataclasses.replace(example, reasoning=text, gold=None)
