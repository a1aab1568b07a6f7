"""Rollouts: groups that are trained on, resampling, both orders for the swap reward."""

import concurrent.futures
import dataclasses
import types

import numpy as np
import pytest

from cot_rm import rewards, rollout, schema
from cot_rm.sampler import sampling, stats

NAN = float("nan")


def rolled(rewards_QG):
  return rollout.Rollout(
    [None] * len(rewards_QG), np.array(rewards_QG, np.float32), parts={}, metrics={}
  )


ROLLED = rolled([[1, 1], [0, 1], [NAN, 1], [NAN, NAN], [0, 2], [1, 0]])


def test_a_group_has_zero_variance_where_all_known_rewards_are_equal():
  np.testing.assert_array_equal(ROLLED.spread_Q, [0, 1, 0, 0, 2, 1])


@pytest.mark.parametrize(
  "zero_variance, most, least, groups",
  [
    ("keep", 3, 1, [0, 1, 2]),
    ("drop", 3, 1, [1, 4, 5]),
    ("drop", 2, 1, [1, 4]),
    ("resample", 3, 1, [1, 4, 5]),
    ("drop", 5, 4, [1, 4, 5, 0]),  # an update each, though the last teach nothing
  ],
)
def test_zero_variance_groups_are_left_out_unless_they_are_kept(zero_variance, most, least, groups):
  assert ROLLED.train_groups(zero_variance, most, least=least).tolist() == groups


def test_an_unknown_zero_variance_is_an_error():
  with pytest.raises(ValueError, match="zero_variance is 'lose'.* known: keep, drop, resample"):
    dataclasses.replace(CONFIG, zero_variance="lose")


class Engine:
  """Counts its work since the last report."""

  def __init__(self):
    self.work = stats.Stats()

  def report(self):
    work, self.work = self.work, stats.Stats()
    return work


class Policy:
  """Answers each example with verdicts by its id: "12" says 1 and then 2."""

  def __init__(self):
    self.seeds, self.engine = [], Engine()

  def judge(self, examples, *, grammar, n, sampling, seed, encoded):
    self.seeds.append(seed)
    self.engine.work += stats.Stats(prompts=1, answer_tokens=1, decode_steps=2)
    assert [*encoded] == [f"prompt {e.id}" for e in examples]
    return [self._one(example, n) for example in examples]

  def _one(self, example, n):
    texts = [f"<think>x</think><answer>{choice}</answer>" for choice in example.id[-n:]]
    tokens = np.arange(3, dtype=np.int32)
    return types.SimpleNamespace(
      example=example,
      prompt=None,
      completions=[schema.Completion(t, tokens, np.zeros(3, np.float32), "stop") for t in texts],
      verdicts=[schema.Verdict(int(choice)) for choice in example.id[-n:]],
    )


CONFIG = rollout.Config(
  grammar="r1_reward",
  group=2,
  sampling=sampling.Sampling(temperature=0.0, max_tokens=64),
  seed=5,
  rewards={"accuracy": 1.0},
  zero_variance="resample",
  resample_by="accuracy",
  train_prompts=1,
  max_resample_rounds=1,
)


def scored(data, policy, i=0, **changed):
  return sample(data, policy, i, **changed).scored()


def sample(data, policy, i=0, scorer=None, **changed):
  config = dataclasses.replace(CONFIG, **changed)
  encode = lambda example: f"prompt {example.id}"
  both = "swap" in config.rewards
  encoded = ([rollout.encoded_prompts(e, encode, both) for e in examples] for examples in data)
  return rollout.sample_rollout(encoded, policy, i, config, None, scorer)


def example(name):
  return schema.Example(name, "s", "image_understanding", "q", (), ("a", "b"), gold=1)


def test_rewards_and_figures_of_a_rollout():
  found = scored([[example("12"), example("11")]], Policy())
  np.testing.assert_array_equal(found.rewards_QG, [[1, 0], [1, 1]])
  np.testing.assert_array_equal(found.lengths_QG, [[3, 3], [3, 3]])
  assert found.metrics["rl/silent_groups"] == 0.5 and found.metrics["rl/first_slot"] == 0.75
  assert found.metrics["reward/accuracy"] == 0.75 and found.metrics["rl/rounds"] == 1


def test_it_resamples_until_enough_groups_vary_with_another_seed():
  data, policy = [[example("11")], [example("22")], [example("12")], [example("21")]], Policy()
  found = scored(data, policy, i=7, max_resample_rounds=4)
  assert len(found.judged) == 3 and found.metrics["rl/rounds"] == 3
  assert policy.seeds[0] == 12 and len(set(policy.seeds)) == 3
  assert found.train_groups("resample", 1, least=1).tolist() == [2]


def test_the_sampler_s_figures_are_of_the_rollout_alone(monkeypatch):
  policy, idle = Policy(), stats.Stats(decode_steps=100)
  policy.engine.work += idle  # a validation before the rollout
  real = rollout.rewards.score

  def score(*args):
    policy.engine.work += idle  # the judge model samples with the same engine
    return real(*args)

  monkeypatch.setattr(rollout.rewards, "score", score)
  found = scored([[example("11")], [example("12")]], policy, max_resample_rounds=2)
  assert found.metrics["rl/rounds"] == 2 and found.metrics["sampler/occupancy"] == 0.5


def test_it_gives_up_after_max_resample_rounds():
  found = scored([[example("11")]] * 9, Policy(), max_resample_rounds=3)
  assert len(found.judged) == 3 and found.metrics["rl/silent_groups"] == 1


def test_resampling_leaves_out_groups_that_are_all_right_or_all_wrong_as_dapo_does():
  """Eq. 11 of arXiv:2503.14476 counts right answers; another reward that varies is no reason."""
  policy, uneven = Policy(), {"accuracy": 1.0, "format": 0.5}
  judge = policy._one

  def one(example, n):  # the second answer of each example is outside the format
    judged = judge(example, n)
    judged.completions[1] = dataclasses.replace(judged.completions[1], text="no tags")
    return judged

  policy._one = one
  data = [[example("11")], [example("22")], [example("12")], [example("21")]]
  found = scored(data, policy, rewards=uneven, max_resample_rounds=4)
  assert found.metrics["rl/rounds"] == 3 and (found.spread_Q > 0).all()
  assert found.train_groups("resample", 4, least=1).tolist() == [2]
  by_total = scored(data, policy, rewards=uneven, max_resample_rounds=4, resample_by="total")
  assert by_total.metrics["rl/rounds"] == 1
  assert by_total.train_groups("resample", 4, least=1).tolist() == [0]


def test_resampling_by_a_reward_that_is_not_there_is_an_error():
  with pytest.raises(ValueError, match="resample_by is 'swap'.*rewards.: accuracy; .*'total'"):
    dataclasses.replace(CONFIG, resample_by="swap")
  assert dataclasses.replace(CONFIG, resample_by="swap", zero_variance="drop").varies_by == "total"


class Later:
  """An Executor that works when it is told to."""

  def __init__(self):
    self.due = []

  def submit(self, work, *args):
    future = concurrent.futures.Future()
    self.due.append(lambda: future.set_result(work(*args)))
    return future


def test_rewards_may_come_later_than_what_is_sampled():
  later = Later()
  found = sample([[example("12")]], Policy(), scorer=later)
  assert len(found.judged) == 1 and not found.rounds[-1].done()
  later.due.pop()()
  np.testing.assert_array_equal(found.scored().rewards_QG, [[1, 0]])


def test_rewards_that_decide_about_another_round_are_waited_for_and_the_last_ones_are_not():
  later, policy = Later(), Policy()
  found = sample(
    [[example("11")], [example("12")], [example("21")]], policy, max_resample_rounds=3, scorer=later
  )
  assert len(policy.seeds) == 2 and not later.due  # the second round has enough
  assert found.scored().metrics["rl/rounds"] == 2
  found = sample([[example("11")], [example("22")]], Policy(), max_resample_rounds=2, scorer=later)
  assert [scores.done() for scores in found.rounds] == [True, False]
  later.due.pop()()
  np.testing.assert_array_equal(found.scored().rewards_QG, [[1, 1], [0, 0]])


class Weights:
  """A policy whose weights are a name."""

  def using(self, params):
    return params


def test_rollouts_are_sampled_when_asked_for_or_one_ahead(monkeypatch):
  monkeypatch.setattr(rollout, "sample_rollout", lambda data, policy, i, *_: (i, policy))
  with rollout.Rollouts(iter([]), Weights(), CONFIG) as rollouts:
    assert rollouts.take(0, "a") == (0, "a")
    rollouts.start(1, "a")
    rollouts.wait()
    assert rollouts.take(1, "b") == (1, "a") and rollouts.take(2, "c") == (2, "c")


def test_waiting_for_a_rollout_raises_what_sampling_raised(monkeypatch):
  def sample(*_):
    raise RuntimeError("no memory")

  monkeypatch.setattr(rollout, "sample_rollout", sample)
  with rollout.Rollouts(iter([]), Weights(), CONFIG) as rollouts:
    rollouts.start(0, None)
    with pytest.raises(RuntimeError, match="no memory"):
      rollouts.wait()


def test_the_swap_reward_asks_each_question_both_ways():
  found = scored(
    [[example("11"), example("12")]], Policy(), rewards={"swap": 1.0}, resample_by="swap"
  )
  assert [j.example.extra.get("swapped", False) for j in found.judged] == [False, True] * 2
  # Who says 1 in both orders contradicts itself; who says 1 and 2 in each is half consistent.
  np.testing.assert_array_equal(found.rewards_QG, [[0, 0], [0, 0], [0.5, 0.5], [0.5, 0.5]])


def test_people_read_what_earned_most_and_least_and_the_first():
  found = scored([[example("12"), example("11"), example("22")]], Policy())
  read = lambda **how: [(r["id"], r["kind"], r["rewards"]["total"]) for r in found.records(**how)]
  # Of a group one judgement at either end: others would say the same again.
  assert read(groups=1, ends=2) == [
    ("12", "best", 1.0),
    ("11", "best", 1.0),
    ("22", "worst", 0.0),
    ("12", "worst", 0.0),
  ]
  assert [kind for _, kind, _ in read(groups=0, ends=9)].count("worst") == 2  # 11 is never wrong
  assert read(groups=2, each=1, ends=1) == [
    ("12", "best", 1.0),
    ("22", "worst", 0.0),
    ("11", "sample", 1.0),
  ]


def test_advantages_go_to_samples_or_to_their_tokens():
  judged = Policy().judge(
    [example("12")], grammar="", n=2, sampling=None, seed=0, encoded=["prompt 12"]
  )[0]
  assert [item.advantage for item in rollout.items(judged, np.array([0.5, -0.5]))] == [0.5, -0.5]
  by_token = rollout.items(judged, np.arange(8.0).reshape(2, 4))
  np.testing.assert_array_equal(by_token[1].advantage, [4, 5, 6])  # as long as the answer
  assert set(rewards.REWARDS) >= {"accuracy", "swap"}
