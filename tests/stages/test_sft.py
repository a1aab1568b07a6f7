"""Supervised fine-tuning: what it writes, what an interruption costs (nothing), its control."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from cot_rm import metrics
from cot_rm.data import datasets, jsonl, packing
from cot_rm.stages import sft


def poison(monkeypatch, at):
  """The pictures of the `at`-th batch become NaN."""
  real, packed = packing.pack, []

  def pack(*args, **named):
    batch = real(*args, **named)
    packed.append(batch)
    if len(packed) != at:
      return batch
    pictures = dataclasses.replace(batch.pictures, patches=np.nan * batch.pictures.patches)
    return dataclasses.replace(batch, pictures=pictures)

  monkeypatch.setattr(packing, "pack", pack)


def test_sft_writes_curves_a_checkpoint_and_a_model(trained, parameters):
  folder = trained / "sft"
  curves = metrics.read(folder / "metrics.jsonl")
  steps, losses = curves["train/loss"]
  assert steps == [1, 2, 3, 4] and losses[-1] < losses[0]
  assert curves["train/lr"][1] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4])  # a warm-up of 1 step
  assert curves["check/accuracy"][0] == [4] and curves["check/n"][1] == [4]
  assert list((folder / "tb").iterdir())
  training = json.loads((folder / "training.json").read_text())
  assert training["steps"] == 4 and training["seconds"] > 0
  before, after = parameters(trained / "world" / "model"), parameters(folder / "model")
  still = [n for n in before if np.array_equal(before[n], after[n]) and "k_proj.bias" not in n]
  assert not still  # the vision tower too


@pytest.mark.slow
def test_a_loss_that_is_nan_raises_and_the_stage_continues_to_the_same_model(
  workdir, trained, config, same, monkeypatch
):
  shutil.rmtree(workdir / "sft")
  with monkeypatch.context() as patch:
    poison(patch, at=4)
    with pytest.raises(FloatingPointError, match="step 3: train/loss is nan"):
      sft.run(config, workdir, "sft")
  folder = workdir / "sft"
  assert metrics.read(folder / "metrics.jsonl")["train/loss"][0] == [1, 2, 3]
  assert not (folder / "model").exists() and not (folder / "training.json").exists()
  assert [path.name for path in (folder / "checkpoints").iterdir()] == ["2"]

  sft.run(config, workdir, "sft")  # from step 2, with the data that followed it
  curves = metrics.read(folder / "metrics.jsonl")
  whole = metrics.read(trained / "sft" / "metrics.jsonl")
  assert curves["train/loss"] == whole["train/loss"]
  same(folder / "model", trained / "sft" / "model")


def test_a_checkpoint_does_not_go_on_with_other_examples_unless_that_is_wanted(workdir, config):
  shutil.rmtree(workdir / "sft")
  references = list(datasets.open(workdir / "world" / "data", config.sft.split))
  config.sft.data = str(workdir / "own.jsonl")
  jsonl.write(config.sft.data, references)
  config.sft.steps, config.sft.optim.decay = 2, 0.0
  sft.run(config, workdir, "sft")
  references[3] = dataclasses.replace(references[3], question="Which?")
  jsonl.write(config.sft.data, references)
  config.sft.steps = 3
  other = f"difference: example '{references[3].id}' .number 3. has another content"
  with pytest.raises(ValueError, match=other):
    sft.run(config, workdir, "sft")
  config.data.changed = "continue"
  sft.run(config, workdir, "sft")
  curves = metrics.read(workdir / "sft" / "metrics.jsonl")
  assert curves["train/loss"][0] == [1, 2, 3]


@pytest.mark.slow
def test_a_stage_that_is_extended_ends_like_one_that_had_all_its_steps(
  workdir, tmp_path, config, same
):
  shutil.rmtree(workdir / "sft")
  config.sft.optim.decay = 0.0
  other = shutil.copytree(workdir, tmp_path / "other")
  sft.run(config, workdir, "sft")
  config.sft.steps = 7
  sft.run(config, workdir, "sft")
  sft.run(config, other, "sft")
  curves = [metrics.read(run / "sft" / "metrics.jsonl")["train/loss"] for run in (workdir, other)]
  assert curves[0] == curves[1] and curves[0][0] == [1, 2, 3, 4, 5, 6, 7]
  same(workdir / "sft" / "model", other / "sft" / "model")


def test_a_step_trains_on_the_configured_number_of_references(workdir, config, monkeypatch):
  real, packed = packing.pack, []

  def pack(batch, *args, **named):
    packed.append(sum(map(len, batch)))
    return real(batch, *args, **named)

  monkeypatch.setattr(packing, "pack", pack)
  shutil.rmtree(workdir / "sft")
  config.sft.steps, config.sft.examples = 2, 3
  sft.run(config, workdir, "sft")
  assert packed == [3, 3]


def test_an_example_without_a_reference_is_an_error_that_names_it(workdir, config):
  shutil.rmtree(workdir / "sft")
  config.sft.split = "train"
  with pytest.raises(ValueError, match=r"example 'shapes-train-0-\d+' has no reasoning"):
    sft.run(config, workdir, "sft")


def test_the_control_runs_only_with_its_knob(workdir, config):
  assert sft.run(config, workdir, "control_sft") is False
  assert not (workdir / "control_sft").exists()


def test_the_control_takes_as_many_steps_as_fit_into_the_time_of_other_stages(
  workdir, config, parameters
):
  config.control = True
  config.control_sft.minutes_of = "reject,rl"
  before = json.loads((workdir / "sft" / "training.json").read_text())
  # Together they took one and a tenth of the seconds that the SFT took.
  for name, file, share in (("reject", "done", 0.3), ("rl", "training", 0.8)):
    (workdir / name).mkdir()
    told = {"seconds": share * before["seconds"]}
    (workdir / name / f"{file}.json").write_text(json.dumps(told))
  assert sft.run(config, workdir, "control_sft") is None
  assert json.loads((workdir / "control_sft" / "training.json").read_text())["steps"] == 4
  started, ended = (parameters(workdir / name / "model") for name in ("sft", "control_sft"))
  far = max(np.abs(started[name] - ended[name]).max() for name in started)
  assert 0 < far < 0.02  # from where SFT ended, not from random weights


def test_the_reference_of_a_time_budget_is_the_knob_and_no_folder_name(workdir, config):
  shutil.move(workdir / "sft", workdir / "first")
  told = json.loads((workdir / "first" / "training.json").read_text())
  (workdir / "rl").mkdir()
  (workdir / "rl" / "training.json").write_text(json.dumps(told | {"steps": 9}))
  assert sft._steps_in_time_of(workdir, "rl", "first") == told["steps"]


def test_a_stage_named_control_is_a_control_only_by_its_knob(workdir, config, monkeypatch):
  monkeypatch.setattr(sft.common, "load_judge", lambda *_, **__: 1 / 0)
  with pytest.raises(ZeroDivisionError):  # it runs
    sft.run(config, workdir, "control")


def test_no_steps_and_no_time_to_fill_is_an_error(workdir):
  with pytest.raises(ValueError, match="steps=0 and no `minutes_of`"):
    sft._steps_in_time_of(workdir, "", "sft")
