"""Every algorithm has the members of the interface; a wrong choice is refused with the nearest."""

import dataclasses

import pytest

from cot_rm.algorithms import ALGORITHMS, grpo, interface, stable_reinforce
from tests import defaults


def test_a_wrong_choice_names_the_field_and_the_nearest():
  with pytest.raises(ValueError, match=r"grpo.Config.ratio is 'tokn'; did you mean 'token'\?"):
    defaults.settings(grpo, ratio="tokn")
  with pytest.raises(
    ValueError, match="stable_reinforce.Config.filter is 3; known: paper, released, none"
  ):
    defaults.settings(stable_reinforce, filter=3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_has_the_members_of_the_interface(name):
  algorithm = ALGORITHMS[name]
  fields = {field.name for field in dataclasses.fields(algorithm.Config)}
  assert fields >= {"kl", "aggregate", "max_tokens"}
  assert algorithm.KL_IN in interface.KlIn.__args__
  assert callable(algorithm.loss) and callable(algorithm.advantages)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_checks_its_choices(name):
  with pytest.raises(ValueError, match=f"{name}.Config.aggregate is 'mean'; known: sequence"):
    defaults.settings(ALGORITHMS[name], aggregate="mean")
