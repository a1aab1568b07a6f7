"""Pre-training targets of the built-in base model: true descriptions, random verdicts.

Released checkpoints can describe a picture, relate it to a caption or a question, and answer the
question before they become reward models. The tiny model learns that from these targets:
descriptions and marks ("correct" or "wrong") of things and answers are true, and the form is that
of the grammar. The targets are poor judgements: the scores and the verdict of two pictures are
random. Of two answers, those about a colour or a shape are marked truly; marks of others are
random, too, as released checkpoints are weak at counting and at comparing places.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from cot_rm.schema import Example
from cot_rm.toy_world import language

TRULY_MARKED = "What "  # the first word of questions about a colour or a shape


def with_base_judgement(example: Example) -> Example:
  """The example without gold, and with a pre-training target as reasoning, seeded by the id."""
  rng = np.random.default_rng(zlib.crc32(f"base {example.id}".encode()))

  def pick(options: Sequence[str]) -> str:
    return options[rng.integers(len(options))]

  scene = example.extra["scene"]
  shown = [tuple(map(language.to_thing, picture["objects"])) for picture in scene["pictures"]]
  verb = pick(language.VERBS)
  asked = [*map(language.to_thing, scene["asked"])]
  if example.generation:
    swap_scores = bool(rng.integers(2))
    text = language.write_generation(example.task, asked, shown, verb=verb, swap_scores=swap_scores)
  else:
    truly = example.question.startswith(TRULY_MARKED)
    text = language.write_understanding(
      example.task,
      shown[0],
      asked,
      scene["truth"],
      example.responses,
      expected=None if truly else language.without_hedge(pick(example.responses)),
      verb=verb,
      conclusion=pick(language.CONCLUSIONS),
    )
  return dataclasses.replace(example, reasoning=text, gold=None)
