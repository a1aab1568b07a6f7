"""Whom reinforcement learning asks whether a verdict follows from its reasoning, and when."""

import threading

import numpy as np
import pytest
from etils import epath

from cot_rm import judge, rewards
from cot_rm.rewards import consistency
from cot_rm.stages import rl
from tests import endpoints
from tests.stages.test_rl import curves_of


def follows(completions, verdicts, examples, grammar, ask):
  """A reward for which the judge is asked about every sample."""
  chats = [[{"role": "user", "content": f"Does it follow? {c.text}"}] for c in completions]
  no_answer = consistency.NO_ANSWER
  return [no_answer if reply is None else consistency.read_reply(reply) for reply in ask(chats, 1)]


@pytest.mark.slow
def test_a_service_is_asked_as_judge_and_its_answers_are_kept(
  workdir, config, rewarded, monkeypatch
):
  monkeypatch.setitem(rewards.REWARDS, "consistent", follows)
  with endpoints.serve(lambda number, body: endpoints.completion(str(number % 2))) as service:
    config.rl.judge.update(by="service", model="m", endpoint=dict(base_url=service.base_url))
    curves = curves_of(workdir, config, rollouts=2, rewards=dict(accuracy=1.0, consistency=0.5))
  asked = [body["messages"][-1]["content"] for body in service.asked]
  assert asked and all("Does it follow?" in str(content) for content in asked)
  assert len(set(map(str, asked))) == len(asked)  # the same text is not asked about twice
  assert (workdir / "rl" / "calls.sqlite").exists()
  assert curves["reward/failed"][1] == [0.0, 0.0] and curves["train/loss"][0] == [1, 2]
  assert 0 < np.mean(curves["reward/consistent"][1]) < 1


def judged_after(happened, workdir, config, monkeypatch, **knobs):
  """The curves of a run whose judge keeps its answers until `happened`, and fails the first call.

  Asserts that it did happen before the first answer: who waits for the judge first waits forever.
  """
  held = []

  def answer(number, body):
    held.append(happened.wait(60))
    return endpoints.failure(400) if number == 0 else endpoints.completion(str(number % 2))

  monkeypatch.setitem(rewards.REWARDS, "consistent", follows)
  with endpoints.serve(answer) as service:
    config.rl.judge.update(by="service", model="m", endpoint=dict(base_url=service.base_url))
    curves = curves_of(workdir, config, rewards=dict(accuracy=1.0, consistent=0.5), **knobs)
  assert held and all(held)
  return curves


@pytest.mark.slow
def test_a_service_judges_while_the_next_rollout_is_sampled(workdir, config, rewarded, monkeypatch):
  real, sampling, calls = judge.Judge.judge, threading.Event(), []

  def sampled(self, *args, **kwargs):
    calls.append(args)
    if len(calls) == 2:
      sampling.set()
    return real(self, *args, **kwargs)

  monkeypatch.setattr(judge.Judge, "judge", sampled)
  curves = judged_after(sampling, workdir, config, monkeypatch, rollouts=2, async_rollouts=1)
  failed = curves["reward/failed/consistent"][1]
  assert failed[0] >= 1 and failed[1] == 0 and curves["train/loss"][0] == [1, 2]


@pytest.mark.slow
def test_a_service_judges_while_the_reference_reads(workdir, config, rewarded, monkeypatch):
  real, reading = rl.train.make_logps, threading.Event()

  def make(graphdef, **how):
    logps = real(graphdef, **how)
    return lambda *args: reading.set() or logps(*args)

  monkeypatch.setattr(rl.train, "make_logps", make)
  config.rl.settings.rloo.kl = 0.01
  curves = judged_after(reading, workdir, config, monkeypatch, rollouts=1, algorithm="rloo")
  assert curves["reward/failed/consistent"][1][0] >= 1 and curves["train/loss"][0] == [1]


@pytest.mark.slow
def test_the_policy_as_it_was_may_be_asked(workdir, config, rewarded, monkeypatch):
  replies = []
  anew = lambda complete: (
    lambda chats, attempt: [group[0].text for group in complete(chats, seed=attempt)]
  )
  monkeypatch.setattr(rl.reward_judge, "of_frozen_policy", anew)

  def kept(completions, verdicts, examples, grammar, ask):
    chat = [{"role": "user", "content": "Does it follow?"}]
    replies.append(ask([chat] * len(completions), 1))
    return [1.0] * len(completions)

  monkeypatch.setitem(rewards.REWARDS, "consistent", kept)
  config.rl.judge.by, config.rl.judge.sampling.max_tokens = "policy", 8
  curves_of(workdir, config, rollouts=3, rewards=dict(accuracy=1.0, consistent=0.0))
  # Weights moved, the judge's did not: the same question and seed have the same answer.
  assert len(replies) == 3 and replies[0] == replies[1] == replies[2] and replies[0][0]


@pytest.mark.parametrize("reward", ["consistent", "consistency", "consistency_released"])
def test_consistency_that_nobody_can_decide_is_an_error_before_anything_else(
  tmp_path, config, reward
):
  config.grammar, config.rl.rewards = "r1_reward", {"accuracy": 1.0, reward: 0.5}
  with pytest.raises(
    ValueError, match="'r1_reward' has no scores .* config.rl.judge.by names no judge"
  ):
    rl.run(config, epath.Path(tmp_path), "rl")
  assert not list(tmp_path.iterdir())


def test_somebody_unknown_to_ask_is_an_error(workdir, config):
  config.rl.judge.by = "oracle"
  with pytest.raises(ValueError, match="config.rl.judge.by is 'oracle'; known: 'service'"):
    rl.run(config, workdir, "rl")
