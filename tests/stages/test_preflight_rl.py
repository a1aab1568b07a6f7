"""Sizes of a rollout against each other, and against the devices."""

import pytest
from etils import epath

from cot_rm.stages import preflight_rl
from tests.stages.pairs import as_jsonl, pairs


def faults(config, workdir):
  config.stages = ("rl",)
  return preflight_rl.check(config, epath.Path(workdir), "rl").faults


def test_an_odd_number_of_prompts_cannot_be_asked_in_both_orders(config, workdir):
  config.rl.rewards = dict(accuracy=1.0, swap=1.0)
  config.rl.prompts = 5
  (fault,) = faults(config, workdir)
  assert "config.rl.prompts is 5" in fault and "set it to 4 or 6" in fault


@pytest.mark.parametrize("weight", ["1.0", float("nan"), None])
def test_the_weight_of_a_reward_is_a_number(config, workdir, weight):
  config.rl.rewards = dict(accuracy=1.0, format=weight)
  (fault,) = faults(config, workdir)
  assert f"config.rl.rewards.format is {weight!r}" in fault


def test_microbatches_divide_each_minibatch(config, workdir):
  config.rl.prompts = 8
  config.rl.train_prompts, config.rl.minibatches, config.rl.accumulate = 6, 2, 2
  (fault,) = faults(config, workdir)
  assert "config.rl.train_prompts is 6" in fault and "set it to 4 or 8" in fault
  config.rl.train_prompts = 8
  assert faults(config, workdir) == []


def test_pairs_without_any_gold_are_a_fault_where_a_reward_needs_one(config, workdir):
  config.rl.data = as_jsonl(workdir / "no_gold.jsonl", pairs(3, gold=None))
  (fault,) = faults(config, workdir)
  assert "none of 3 examples" in fault and "gold" in fault
  config.rl.rewards = dict(format=1.0)
  assert faults(config, workdir) == []


@pytest.mark.parametrize("knob", ["judge.by", "on_nonfinite"])
def test_an_unknown_choice_names_those_that_are_known(config, workdir, knob):
  config.rl.update_from_flattened_dict({knob: "maybe"})
  (fault,) = faults(config, workdir)
  assert f"config.rl.{knob} is 'maybe'; known:" in fault


def test_more_groups_to_train_on_than_a_rollout_has_are_a_fault(config, workdir):
  config.rl.prompts, config.rl.train_prompts = 4, 8
  (fault,) = faults(config, workdir)
  assert "config.rl.train_prompts is 8" in fault and "set it to 4 or less" in fault
  config.rl.zero_variance, config.rl.max_resample_rounds = "resample", 2  # sampled in two rounds
  assert faults(config, workdir) == []
  config.rl.train_prompts = 12
  (fault,) = faults(config, workdir)
  assert "4 prompts in each of 2 rounds" in fault and "set it to 8 or less" in fault


def test_one_sample_per_prompt_has_no_variance_to_choose_groups_by(config, workdir):
  config.rl.group, config.rl.algorithm = 1, "reinforce_pp"
  (fault,) = faults(config, workdir)
  assert "config.rl.group is 1" in fault and "zero_variance is 'drop'" in fault
  config.rl.zero_variance = "keep"
  assert faults(config, workdir) == []


@pytest.mark.parametrize(
  "change, words",
  [
    ({"rewards": {"accuracy": 0.0}}, "config.rl.rewards has no weight other than 0"),
    ({"sampling.temperature": 0.0, "sampling.logps_temperature": 1.0}, "would be the same"),
    ({"correction.low": 2.0}, "must be below and above 1"),
  ],
)
def test_settings_under_which_nothing_is_learnt_are_a_fault(config, workdir, change, words):
  if "rewards" in change:
    config.rl.rewards = change["rewards"]
  else:
    config.rl.update_from_flattened_dict(change)
  (fault,) = faults(config, workdir)
  assert words in fault
