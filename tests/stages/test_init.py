"""The table of stages."""

import pytest

from cot_rm import stages


def test_an_unknown_stage_fails_with_a_suggestion():
  with pytest.raises(ValueError, match="unknown stage 'evl'; did you mean 'eval'"):
    stages.get("evl")


@pytest.mark.parametrize("name", stages.STAGES)
def test_every_stage_has_a_run(name):
  assert callable(stages.get(name).run)
