"""Prompt grammars: how a judge is asked, and how its answer is read.

To add one: write the module, add the line.

A grammar is a module with

    render(example) -> messages           one user turn, media first; ValueError on a bad example
    parse(text, task) -> schema.Verdict   strict; outside the grammar: no answer, and an error
    solution(task, choice) -> str         the verdict for candidate 1 or 2 as the grammar writes it
    formatted(text) -> bool               what the published format reward accepts
    answered(text, task) -> int | None    what the published accuracy reward reads

A candidate's text goes into the prompt and nowhere else: parse() reads the model's text alone, so a
candidate that contains tags or control tokens decides nothing. render() hands it on as it is, in a
text part; the processor must not read control tokens out of text parts.
"""

import importlib

from cot_rm import registry

PROMPTS = {
  "r1_reward": "cot_rm.prompts.r1_reward",
  "think": "cot_rm.prompts.think",
  "direct": "cot_rm.prompts.direct",
  "brief": "cot_rm.prompts.brief",
}


def get(name):
  """The grammar's module. Raises ValueError on an unknown name."""
  return importlib.import_module(registry.lookup(PROMPTS, name, "prompt grammar"))
