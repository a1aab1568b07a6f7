"""The validation pairs of a stage that trains, each read before its first step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import logging
from etils import epath

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import schema
from cot_rm.benchmarks import pairs
from cot_rm.data import bad_examples, selection
from cot_rm.sampler import sampling
from cot_rm.stages import common
from cot_rm.toy_world import descriptions


def make(
  config: common.Section, workdir: epath.Path, name: str, judge: cot_rm.judge.Judge
) -> Callable[[cot_rm.judge.Judge], dict[str, Any]]:
  """`validate(judge) -> figures` on the validation pairs of config.eval; see pairs.evaluate.

  Pairs that cannot be judged are left out, up to config.data.max_bad of them, and listed in the
  skipped.jsonl of the stage; a validation after many steps is too late to find them.

  Args:
    config, workdir: of the run.
    name: folder of the stage.
    judge: its processor and buckets read the pairs.

  Raises:
    TooManyBad: more pairs cannot be judged.
    ValueError: no pair can be judged.
  """
  knobs = config.eval
  source = common.open_examples(config, workdir, knobs.data, knobs.val_split)
  chosen = selection.first(source, knobs.val_pairs)
  skips = common.open_skips(config, workdir, name)
  return functools.partial(
    pairs.evaluate,
    examples=_usable(chosen, judge, config.grammar, skips),
    grammar=config.grammar,
    sampling=sampling.Sampling(
      temperature=0.0, max_tokens=knobs.max_tokens, repetition_penalty=knobs.repetition_penalty
    ),
    fidelity=descriptions.fidelity,
  )


def _usable(
  source: Sequence[schema.Example],
  judge: cot_rm.judge.Judge,
  grammar: str,
  skips: bad_examples.Skips,
) -> list[schema.Example]:
  """The pairs with a gold answer that can be asked in both orders.

  All processes read all pairs, and so leave out the same ones.
  """
  out, bad = [], 0
  for i in range(len(source)):
    id = f"row {i + 1}"
    try:
      example = source[i]
      id = example.id
      if example.gold is None:
        raise schema.BadExample(f"example {id!r} has no gold answer to score against")
      for order in (example, example.swapped()):
        judge.encode(order, grammar=grammar)
    except schema.BadExample as error:
      bad += 1
      skips.add(f"validation: {id}", error)
    else:
      out.append(example)
  if bad and jax.process_index() == 0:
    logging.warning("%d of %d validation pairs are left out; see %s", bad, len(source), skips.path)
  if not out:
    raise ValueError(f"none of {len(source):,} validation pairs can be judged; see {skips.path}")
  return out
