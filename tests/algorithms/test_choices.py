"""A wrong name is refused and the right one suggested."""

import pytest

from cot_rm.algorithms import grpo, stable_reinforce


def test_a_wrong_name_names_the_knob_and_the_nearest():
  with pytest.raises(ValueError, match=r"config.rl.settings.grpo.ratio is 'tokn'; .*'token'\?"):
    grpo.Config(ratio="tokn")
  with pytest.raises(ValueError, match="stable_reinforce.filter is 3.*paper, released, none"):
    stable_reinforce.Config(filter=3)
