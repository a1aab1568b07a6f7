"""Reinforcement learning: on policy, the same end after an interruption, zero-variance groups."""

import copy
import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest
from etils import epath

from cot_rm import judge, metrics, rewards
from cot_rm.data import datasets, jsonl
from cot_rm.stages import distill, reject, rl


@pytest.mark.slow
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
  assert max(curves["agree/logp_diff_max"][1]) < 1e-4
  assert max(curves["rl/used_groups"][1]) > 0
  # Against its group's mean, exactly who differs learns.
  effective = np.array(curves["rl/effective_groups"][1])
  zero_variance = np.array(curves["rl/silent_groups"][1])
  np.testing.assert_allclose(effective, 1 - zero_variance)
  assert len(set(curves["train/loss"][1])) > 1
  assert {"train/kl", "reward/accuracy", "sampler/tokens_per_s", "time/rollout"} <= curves.keys()
  assert curves["check/accuracy"][0] == [4]
  samples = (folder / "samples" / "000004.jsonl").read_text().splitlines()
  kinds = [json.loads(line)["kind"] for line in samples]
  assert kinds[:4] == ["best"] * 4 and len(samples) == 8 and json.loads(samples[0])["media"]
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


@pytest.mark.slow
def test_a_checkpoint_does_not_go_on_with_other_pairs(workdir, config, rewarded):
  pairs = list(datasets.open(workdir / "world" / "data", config.rl.split))
  config.rl.data = str(workdir / "own.jsonl")
  jsonl.write(config.rl.data, pairs)
  config.rl.rollouts, config.rl.optim.decay = 2, 0.0
  rl.run(config, workdir, "rl")
  jsonl.write(config.rl.data, pairs[:-1])
  config.rl.rollouts = 4
  with pytest.raises(ValueError, match="12 examples before, 11 now"):
    rl.run(config, workdir, "rl")


@pytest.mark.slow
def test_a_stage_that_is_extended_ends_like_one_that_had_all_its_rollouts(
  workdir, tmp_path, config, rewarded, same
):
  config.rl.optim.decay = 0.0
  other = shutil.copytree(workdir, tmp_path / "other")
  config.rl.rollouts = 2
  rl.run(config, workdir, "rl")
  config.rl.rollouts = 4
  rl.run(config, workdir, "rl")
  rl.run(config, other, "rl")
  same(workdir / "rl" / "model", other / "rl" / "model")


def test_zero_variance_groups_are_counted_and_move_nothing(workdir, config, same):
  # No answer of 8 tokens is inside the grammar: every reward is 0.
  config.rl.rollouts, config.rl.settings.grpo.kl, config.rl.optim.warmup = 1, 0.0, 0
  rl.run(config, workdir, "rl")
  curves = metrics.read(workdir / "rl" / "metrics.jsonl")
  assert curves["rl/silent_groups"] == ([1], [1.0]) and curves["rl/used_groups"] == ([1], [0.0])
  assert curves["rl/effective_groups"] == ([1], [0.0])
  assert curves["train/loss"] == ([1], [0.0]) and curves["train/lr"][1][0] > 0
  same(workdir / "rl" / "model", workdir / "sft" / "model")


@pytest.mark.parametrize("by", ["teacher", pytest.param("both", marks=pytest.mark.slow)])
def test_it_asks_what_the_teacher_found_hard_and_the_policy_too(
  workdir, config, rewarded, monkeypatch, by
):
  config.distill.data = "world/data"
  config.distill.teacher.update(error=0.5, unparsable=0.1)
  distill.run(config, workdir, "distill")
  config.rl.data, config.rl.split, config.rl.min_attempts = "distill/data", "kept+failed", 2
  config.rl.tasks = ""
  pairs = list(datasets.open(workdir / "distill" / "data", "kept+failed"))
  due = {pair.id for pair in pairs if pair.attempts >= 2}
  assert {pair.attempts for pair in pairs} >= {1, 2, 4}  # 4: failed
  if by == "both":
    config.reject.data, config.reject.split = config.rl.data, config.rl.split
    reject.run(config, workdir, "reject")
    config.rl.data, config.rl.split = "reject/data", "hard"
    missed = {pair.id for pair in datasets.open(workdir / "reject" / "data", "hard")}
    assert len(due & missed) < min(len(due), len(missed))
    due &= missed

  real, asked = rl.rollout.encoded_prompts, []

  def notes(example, *how):
    asked.append(example.id)
    return real(example, *how)

  monkeypatch.setattr(rl.rollout, "encoded_prompts", notes)
  config.rl.rollouts = config.rl.eval_every = -(-len(due) // config.rl.prompts)
  rl.run(config, workdir, "rl")
  assert set(asked) == due


def test_a_group_of_one_names_the_knob(workdir, config):
  config.rl.group = 1
  with pytest.raises(ValueError, match="group of 1 .*config.rl.group"):
    rl.run(config, workdir, "rl")
  assert not (workdir / "rl" / "model").exists()


def curves_of(workdir, config, **knobs):
  config.rl.update(knobs)
  rl.run(config, workdir, "rl")
  return metrics.read(workdir / "rl" / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])  # the reference in the loss, in the reward
def test_at_another_temperature_all_log_probabilities_are_those_that_were_sampled_from(
  workdir, config, rewarded, monkeypatch, algorithm
):
  """Policy and sampler agree; the reference is the policy at first; the ratio is 1."""
  config.rl.sampling.temperature = 0.5
  config.rl.settings[algorithm].kl = 0.1
  seen, items = [], rl.rollout.items

  def spy(judgement, *args):
    seen.extend(judgement.completions)
    return items(judgement, *args)

  monkeypatch.setattr(rl.rollout, "items", spy)
  curves = curves_of(workdir, config, algorithm=algorithm, zero_variance="keep", rollouts=1)
  # What was sampled from leaves out the banned tokens; the others are the whole softmax at 0.5.
  for completion in seen:
    off = completion.sampling_logps - completion.logps
    assert (-1e-5 < off).all() and off.max() < 0.1
  assert curves["agree/logp_diff_max"][1][0] < 1e-4
  assert curves["train/ratio_max"][1][0] == pytest.approx(1, abs=1e-3)
  assert abs(curves["train/kl"][1][0]) < 1e-6
  model_temperature = copy.deepcopy(config)
  model_temperature.rl.sampling.logps_temperature = 1.0
  shutil.rmtree(workdir / "rl")
  other = curves_of(
    workdir, model_temperature, algorithm=algorithm, zero_variance="keep", rollouts=1
  )
  assert other["train/entropy_sampled"][1][0] > 1.05 * curves["train/entropy_sampled"][1][0]


def test_reinforcement_without_a_temperature_is_refused(workdir, config):
  config.rl.sampling.temperature = 0.0
  with pytest.raises(ValueError, match="logps_temperature None is out of range; .*above 0"):
    rl.run(config, workdir, "rl")


@pytest.mark.slow
def test_a_rollout_may_be_sampled_in_several_calls(workdir, config, rewarded):
  whole = curves_of(workdir, config, rollouts=1)
  shutil.rmtree(workdir / "rl")
  parts = curves_of(workdir, config, rollouts=1, max_prompts=config.rl.prompts // 2)
  for name in ("reward/total", "rl/mean_length", "train/loss"):
    np.testing.assert_allclose(parts[name], whole[name], atol=1e-5)


def test_blank_pictures_make_a_difference_and_it_is_logged(workdir, config, rewarded):
  curves = curves_of(workdir, config, rollouts=2, vision_check_every=1)
  steps, shift = curves["vision/logp_shift"]
  assert steps == [1, 2] and min(shift) > 1e-6


def test_its_pictures_have_a_bound_of_their_own(workdir, config, monkeypatch):
  def loads(*_, max_pixels, **knobs):
    raise RuntimeError(f"pictures of {max_pixels} pixels")

  monkeypatch.setattr(rl.common, "load_judge", loads)
  config.rl.max_pixels = 28 * 28
  with pytest.raises(RuntimeError, match="pictures of 784 pixels"):
    rl.run(config, workdir, "rl")


def test_a_training_forward_that_reads_no_pictures_is_an_error(
  workdir, config, rewarded, monkeypatch
):
  real = rl.train.make_logps

  def blind(graphdef, **how):
    logps = real(graphdef, **how)
    return lambda params, batch: logps(
      params,
      dataclasses.replace(batch, prompts=dataclasses.replace(batch.prompts, pictures=None)),
    )

  monkeypatch.setattr(rl.train, "make_logps", blind)
  with pytest.raises(RuntimeError, match="blanking the pictures .* does not read them"):
    rl.run(config, workdir, "rl")


@pytest.mark.slow
def test_a_rollout_trains_in_minibatches_and_more_than_once(workdir, config, rewarded):
  curves = curves_of(workdir, config, rollouts=2, minibatches=2, epochs=2, zero_variance="keep")
  # The rate falls over rollouts * minibatches * epochs optimizer steps; the last one is logged.
  assert curves["train/loss"][0] == [1, 2]
  assert json.loads((workdir / "rl" / "training.json").read_text())["steps"] == 2
  # What a later pass sees is off policy; what is compared with the sampler is the first update.
  assert max(curves["agree/logp_diff_mean"][1]) < 1e-4 < max(curves["train/ratio_max"][1]) - 1


@pytest.mark.slow
def test_async_rollouts_resume_to_the_same_end(workdir, tmp_path, config, rewarded, same):
  other = shutil.copytree(workdir, tmp_path / "other")
  config.rl.async_rollouts = 1
  rl.run(config, workdir, "rl")
  curves = metrics.read(workdir / "rl" / "metrics.jsonl")
  # Behind a checkpoint sampling starts afresh; the others are by weights one step old. (The first
  # step, at a rate of 0, moves nothing.)
  apart = curves["train/ratio_max"][1]
  assert max(apart[0], apart[2]) < 1 + 1e-3 < apart[3]

  config.rl.rollouts = 4
  real = rl.train.check_finite

  def stop(found, i):
    real(found, i)
    if i == 2:
      raise RuntimeError("the power went out")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(rl.train, "check_finite", stop)
    with pytest.raises(RuntimeError, match="the power went out"):
      rl.run(config, other, "rl")
  rl.run(config, other, "rl")
  same(other / "rl" / "model", workdir / "rl" / "model")


def test_no_rollout_is_sampled_while_validation_pairs_are_asked(
  workdir, config, rewarded, monkeypatch
):
  real, wait, inside, overlaps, started = judge.Judge.sample, rl.rollout.Rollouts.wait, [], [], []
  validating = threading.Semaphore(0)  # released where the validation waits, or begins

  def sample(self, *args, **how):
    inside.append(threading.current_thread())
    if inside[-1] is not threading.main_thread():
      started.append(inside[-1])
      validating.acquire(timeout=60)
    elif len(inside) > 1:
      validating.release()
    overlaps.extend(inside[1:])
    try:
      return real(self, *args, **how)
    finally:
      inside.remove(threading.current_thread())

  monkeypatch.setattr(judge.Judge, "sample", sample)
  monkeypatch.setattr(rl.rollout.Rollouts, "wait", lambda self: validating.release() or wait(self))
  config.rl.rollouts = 3
  curves = curves_of(workdir, config, async_rollouts=1, eval_every=1, save_every=9)
  assert len(started) == 2 and curves["check/accuracy"][0] == [1, 2, 3]
  assert not overlaps


def test_async_rollouts_are_refused_on_several_processes(workdir, config, monkeypatch):
  monkeypatch.setattr(rl.jax, "process_count", lambda: 2)
  config.rl.async_rollouts = 1
  with pytest.raises(ValueError, match="config.rl.async_rollouts is 1 on 2 processes"):
    rl.run(config, workdir, "rl")


@pytest.mark.parametrize(
  "algorithm, kl",
  [
    ("stable_reinforce", 0.0),
    pytest.param("reinforce_pp", 0.01, marks=pytest.mark.slow),
    pytest.param("rloo", 0.0, marks=pytest.mark.slow),
  ],
)
def test_other_algorithms_run_with_and_without_a_reference(
  workdir, config, rewarded, algorithm, kl
):
  config.rl.settings[algorithm].kl, config.rl.optim.warmup = kl, 0
  curves = curves_of(workdir, config, algorithm=algorithm, zero_variance="keep", rollouts=2)
  assert len(curves["train/loss"][1]) == 2 and curves["train/grad_norm"][1][0] > 0
  assert curves["rl/filtered"][0] == [1, 2]
  # At first the policy is its reference; without one nothing is known.
  assert ("train/kl" in curves) == bool(kl)
  if kl:
    steps, (first, second) = curves["train/kl"]
    assert steps == [1, 2] and 0 <= first < 1e-6 < second


@pytest.mark.slow
def test_a_correction_weighs_by_the_trainer_s_own_probabilities(workdir, config, rewarded):
  config.rl.correction.cap = 2.0
  curves = curves_of(workdir, config, rollouts=1)
  assert curves["correction/factor_mean"][1][0] == pytest.approx(1, abs=1e-3)
  assert curves["agree/logp_diff_mean"][1][0] < 1e-4


def test_the_figures_of_a_correction_are_of_all_minibatches(workdir, config, rewarded, monkeypatch):
  real, made = rl.importance_correction.importance_weights, []

  def factors(batch, settings):
    made.append(batch)
    factors_BT, found = real(batch, settings)
    return factors_BT, found | {"correction/factor_mean": float(len(made))}

  monkeypatch.setattr(rl.importance_correction, "importance_weights", factors)
  config.rl.correction.cap = 2.0
  curves = curves_of(workdir, config, rollouts=1, minibatches=2, zero_variance="keep")
  assert len(made) == 2 and curves["correction/factor_mean"][1] == [1.5]


def test_both_orders_are_asked_for_the_swap_reward(workdir, config, rewarded):
  curves = curves_of(workdir, config, rollouts=1, rewards=dict(accuracy=1.0, swap=0.5))
  # Answers of 8 tokens are outside the grammar: no order has a verdict to agree with.
  assert curves["reward/failed/swap"][1] == [8.0] and curves["reward/failed"][1] == [8.0]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_stage_where_that_is_wanted(
  workdir, config, rewarded, monkeypatch
):
  real = rl.train.make_step

  def falls(*args, **kwargs):
    step = real(*args, **kwargs)

    def at_third(*args):
      state, found = step(*args)
      return state, found | ({"train/loss": float("nan")} if int(state.step) == 3 else {})

    return at_third

  monkeypatch.setattr(rl.train, "make_step", falls)
  other = config.copy_and_resolve_references()
  curves = curves_of(workdir, config, on_nonfinite="end")
  assert curves["train/lr"][0] == [1, 2, 3] and curves["check/accuracy"][0] == [3]
  assert json.loads((workdir / "rl" / "training.json").read_text())["steps"] == 3
  # Killed before it was marked done and run again, it stays where it fell.
  assert curves_of(workdir, config, on_nonfinite="end")["train/lr"][0] == [1, 2, 3]
  shutil.rmtree(workdir / "rl")
  with pytest.raises(FloatingPointError, match="step 2: train/loss is nan"):
    rl.run(other, workdir, "rl")


@pytest.mark.slow
def test_few_groups_take_a_smaller_batch_to_the_same_end(
  workdir, tmp_path, config, rewarded, parameters, monkeypatch
):
  other = shutil.copytree(workdir, tmp_path / "other")
  real, taken = rl.packing.groups, []

  def groups(grouped, buckets, *, rows):
    taken.append((len(grouped), rows))
    return real(grouped, buckets, rows=rows)

  monkeypatch.setattr(rl.packing, "groups", groups)
  rl.run(config, workdir, "rl")
  assert {2, 4} == {size for _, size in taken}
  assert all(size == (2 if count <= 2 else 4) for count, size in taken)
  monkeypatch.setattr(rl, "_batch_sizes", lambda groups, shards: (groups,))
  taken.clear()
  rl.run(config, other, "rl")
  assert {4} == {size for _, size in taken}
  a, b = parameters(workdir / "rl" / "model"), parameters(other / "rl" / "model")
  for name, value in a.items():
    np.testing.assert_allclose(value, b[name], atol=1e-5, err_msg=name)


def test_a_batch_is_halved_only_where_it_can_be_shared():
  assert rl._batch_sizes(16, 2) == (8, 16) and rl._batch_sizes(16, 16) == (16,)
  assert rl._batch_sizes(5, 1) == (5,) and rl._batch_sizes(12, 4) == (12,)


def test_minibatches_of_unequal_size_are_an_error(workdir, config):
  config.rl.minibatches = 3
  with pytest.raises(ValueError, match="train_prompts is 4, which .* 3 equal minibatches"):
    rl.run(config, workdir, "rl")


def test_a_repetition_penalty_stops_before_the_model_is_loaded(config, tmp_path):
  config.rl.sampling.repetition_penalty = 1.05
  message = r"1.05 \(config.rl.sampling.repetition_penalty\); RL needs 1"
  with pytest.raises(ValueError, match=message):
    rl.run(config, epath.Path(tmp_path), "rl")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"rl.on_nonfinite": "ends"}, "config.rl.on_nonfinite is 'ends'; known: 'raise', 'end'"),
    ({"rl.algorithm": "grp"}, "unknown algorithm 'grp'; did you mean 'grpo'"),
    ({"rl.rewards": {"acuracy": 1.0}}, "unknown reward 'acuracy'; did you mean 'accuracy'"),
  ],
)
def test_a_misspelt_choice_stops_before_the_model_is_loaded(config, tmp_path, change, message):
  for knob, value in change.items():
    setattr(config.rl, knob.removeprefix("rl."), value)
  with pytest.raises(ValueError, match=message):
    rl.run(config, epath.Path(tmp_path), "rl")
  assert not list(tmp_path.iterdir())
