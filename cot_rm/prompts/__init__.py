"""Prompt grammars: the prompt of an example, and the parser of the judge's answer.

To add one: write its module, add its name to `Name`, and add the module to PROMPTS.

The text of a candidate goes into the prompt and nowhere else: parse() reads the model's text alone,
so a candidate that contains tags or control tokens decides nothing. render() passes it on unchanged
in a text part; the processor must not read control tokens out of text parts.
"""

import os
from typing import Literal

from cot_rm import registry
from cot_rm.prompts import brief, direct, r1_reward, think
from cot_rm.prompts.escaping import SUFFIX, Escaped
from cot_rm.prompts.interface import Grammar
from cot_rm.schema import Task

# With ":escaped" behind it, a grammar marks its separators in the texts of a pair, see `escaping`.
Name = Literal[
  "r1_reward",
  "think",
  "direct",
  "brief",
  "r1_reward:escaped",
  "think:escaped",
  "direct:escaped",
  "brief:escaped",
]
DEFAULT: Name = "think"  # the published grammar that takes all tasks and reasons first
PROMPTS: dict[str, Grammar] = {
  "r1_reward": r1_reward,
  "think": think,
  "direct": direct,
  "brief": brief,
}


def get(name: str) -> Grammar:
  """The grammar's module, or an Escaped one. Raises ValueError on an unknown name."""
  if name.endswith(SUFFIX):
    return Escaped(registry.lookup(PROMPTS, name.removesuffix(SUFFIX), "prompt grammar"))
  return registry.lookup(PROMPTS, name, "prompt grammar")


def opening(grammar: Grammar, task: Task) -> str:
  """The text of Grammar.unreasoned up to the digit of the choice: "Image "."""
  return os.path.commonprefix([grammar.unreasoned(task, 1), grammar.unreasoned(task, 2)])
