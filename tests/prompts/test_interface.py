"""What every grammar has."""

import pytest

from cot_rm import prompts
from cot_rm.prompts import interface


@pytest.mark.parametrize("name", [*prompts.PROMPTS, "think:escaped"])
def test_a_grammar_has_the_members_of_the_interface(name):
  wanted = {member for member in vars(interface.Grammar) if not member.startswith("_")}
  wanted -= {"WRITES_SCORES"}
  assert {"render", "invert", "parse", "solution", "unreasoned", "formatted", "answered"} <= wanted
  for member in wanted:
    assert callable(getattr(prompts.get(name), member)), member
