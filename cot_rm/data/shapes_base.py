"""What the built-in base model reads: judgements of one who sees and can write, but not judge.

Released checkpoints come to reward modelling with eyes and words: they can say what a picture shows
and answer a question about it. The tiny model learns that here: descriptions and answers are true,
the form is the grammar's, and which candidate is better says a coin, with marks, scores and verdict
to suit. So a model that has read them is right half of the time.
"""

import dataclasses
import zlib

import numpy as np

from cot_rm.data import shapes_text


def unschooled(example):
  """The example with such a judgement for its reasoning, the same one each time, and no gold."""
  rng = np.random.default_rng(zlib.crc32(f"base {example.id}".encode()))
  pick = lambda options: options[rng.integers(len(options))]
  shown = [
    tuple(shapes_text.Thing(o["colour"], o["shape"], o["how"]) for o in picture["objects"])
    for picture in example.extra["scene"]["pictures"]
  ]
  verb = pick(shapes_text.VERBS)
  if example.generation:
    text = shapes_text.generation(example.task, pick(shown), shown, verb=verb)
  else:
    text = shapes_text.understanding(
      example.task,
      shown[0],
      example.extra["scene"]["truth"],
      example.responses,
      held_to=shapes_text.plain(pick(example.responses)),
      verb=verb,
      conclusion=pick(shapes_text.CONCLUSIONS),
    )
  return dataclasses.replace(example, reasoning=text, gold=None)
