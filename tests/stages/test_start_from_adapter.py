"""SFT and RL start from a LoRA adapter as PEFT writes it: from its base with the adapter merged."""

import numpy as np
import pytest

from cot_rm import metrics, stages
from cot_rm.checkpoints import huggingface, model_folder
from cot_rm.stages import preflight
from tests.checkpoints import test_lora as adapters

MODULES = ["model.language_model.layers.1.self_attn.q_proj", "model.visual.blocks.0.attn.qkv"]


@pytest.fixture
def adapter(workdir, config, tmp_path):
  """(folder of an adapter of the world's model, folder of the model that torch has merged)."""
  opened = model_folder.open_model(workdir / "world" / "model")
  base = tmp_path / "base"
  huggingface.save(
    base,
    opened.params,
    family=opened.family,
    config=opened.config,
    files_from=opened.folder,
  )
  tensors, products = adapters.factors(adapters.MODEL.from_pretrained(base), MODULES)
  merged = adapters.merged(base, products, adapters.ALPHA / adapters.R)
  merged.save_pretrained(tmp_path / "merged")
  return adapters.write(tmp_path / "adapter", base, tensors), tmp_path / "merged"


def leaves(folder):
  """{name: array} of the parameters of a folder."""
  return model_folder.orbax_io.by_name(model_folder.open_model(folder).params)


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_stage_starts_from_an_adapter_by_its_folder(adapter, config, workdir, rewarded, stage):
  folder, merged = adapter
  for name in ("model", "checkpoints"):
    if (workdir / stage / name).exists():
      (workdir / stage / name).rmtree()
  config.stages = (stage,)
  config[stage].start, config[stage].optim.lr = str(folder), 0.0
  config[stage].update({"sft": {"steps": 1}, "rl": {"rollouts": 1}}[stage])
  assert preflight.of_stage(config, workdir, stage, stage).faults == []
  stages.get(stage).run(config, workdir, stage)
  found, due = leaves(workdir / stage / "model"), leaves(merged)
  assert found.keys() == due.keys()
  for name, value in due.items():
    np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
  changed = leaves(workdir / "world" / "model")
  assert sum(not np.allclose(changed[name], due[name]) for name in due) == len(MODULES)
  assert metrics.read(workdir / stage / "metrics.jsonl")["train/grad_norm"][1][-1] > 0


def test_an_adapter_without_a_base_is_a_fault_that_names_the_knob(adapter, config, workdir):
  folder, _ = adapter
  nameless = adapters.write(folder.parent / "nameless", "", {})
  config.stages, config.sft.start = ("sft",), str(nameless)
  (fault,) = preflight.of_stage(config, workdir, "sft", "sft").faults
  assert str(nameless) in fault and "config.model.base" in fault
  config.model.base = str(folder.parent / "base")
  assert preflight.of_stage(config, workdir, "sft", "sft").faults == []
