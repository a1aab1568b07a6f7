"""Reinforcement learning: on policy, the same end after an interruption, groups that agree."""

import json
import shutil
import zlib

import pytest

from cot_rm import metrics, rewards
from cot_rm.stages import rl


def by_chance(completions, examples, grammar):
  """A reward that a random model gets half of the time."""
  return [float(zlib.crc32(completion.text.encode()) % 2) for completion in completions]


@pytest.fixture
def rewarded(monkeypatch):
  monkeypatch.setitem(rewards.REWARDS, "accuracy", by_chance)


def test_an_interrupted_run_goes_on_to_the_same_end(
  workdir, tmp_path, config, rewarded, same, monkeypatch
):
  other = shutil.copytree(workdir, tmp_path / "other")
  rl.run(config, workdir, "rl")
  folder = workdir / "rl"
  curves = metrics.read(folder / "metrics.jsonl")

  # Sampler and trainer agree at every step.
  steps, apart = curves["agree/logp_diff_mean"]
  assert steps == [1, 2, 3, 4] and 0 < max(apart) < 1e-4
  assert max(curves["agree/logp_diff_max"][1]) < 1e-3
  assert max(curves["rl/used_groups"][1]) > 0
  assert len(set(curves["train/loss"][1])) > 1
  assert {"train/kl", "reward/accuracy", "sampler/tokens_per_s", "time/rollout"} <= curves.keys()
  assert curves["check/accuracy"][0] == [4]
  samples = (folder / "samples" / "000004.jsonl").read_text().splitlines()
  assert len(samples) == 8 and json.loads(samples[0])["media"]
  assert json.loads((folder / "training.json").read_text())["steps"] == 4

  real, scored = rewards.score, []

  def score(*args):
    scored.append(args)
    if len(scored) == 4:
      raise RuntimeError("the power went out")
    return real(*args)

  with monkeypatch.context() as patch:
    patch.setattr(rewards, "score", score)
    with pytest.raises(RuntimeError, match="the power went out"):
      rl.run(config, other, "rl")
  assert metrics.read(other / "rl" / "metrics.jsonl")["train/loss"][0] == [1, 2, 3]
  rl.run(config, other, "rl")
  again = metrics.read(other / "rl" / "metrics.jsonl")
  for name in ("train/loss", "reward/total", "rl/mean_length", "agree/logp_diff_max"):
    assert again[name] == curves[name], name
  same(other / "rl" / "model", folder / "model")


def test_groups_that_all_agree_are_counted_and_teach_nothing(workdir, config, same):
  # No answer of 8 tokens is inside the grammar: every reward is 0.
  config.rl.steps, config.rl.settings.kl, config.rl.optim.warmup = 1, 0.0, 0
  rl.run(config, workdir, "rl")
  curves = metrics.read(workdir / "rl" / "metrics.jsonl")
  assert curves["rl/silent_groups"] == ([1], [1.0]) and curves["rl/used_groups"] == ([1], [0.0])
  assert curves["train/loss"] == ([1], [0.0]) and curves["train/lr"][1][0] > 0
  same(workdir / "rl" / "model", workdir / "sft" / "model")


def test_a_group_of_one_names_the_knob(workdir, config):
  config.rl.group = 1
  with pytest.raises(ValueError, match="group of 1 .*config.rl.group"):
    rl.run(config, workdir, "rl")
  assert not (workdir / "rl" / "model").exists()
