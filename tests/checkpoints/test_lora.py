"""LoRA adapters in PEFT's layout, written by hand, against models merged by hand."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from flax import nnx

from cot_rm.checkpoints import huggingface, lora, model_folder, weights_files
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from tests.checkpoints.layout import RULES, assert_equal
from tests.models.qwen2_5_vl import oracle

MODEL = transformers.Qwen2_5_VLForConditionalGeneration
R, ALPHA = 4, 6
CONFIG = {
  "peft_type": "LORA",
  "r": R,
  "lora_alpha": ALPHA,
  "target_modules": ["q_proj", "up_proj"],
  "use_rslora": False,
  "init_lora_weights": True,
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
  made = {}
  for head, config in (("untied", oracle.CONFIG), ("tied", oracle.TIED)):
    model, folder = oracle.make(config), tmp_path_factory.mktemp(head)
    model.save_pretrained(folder)
    made[head] = model, folder
  return made


def write(folder, base, tensors, **values):
  """An adapter's folder."""
  folder.mkdir(exist_ok=True)
  config = CONFIG | {"base_model_name_or_path": str(base)} | values
  (folder / lora.CONFIG).write_text(json.dumps(config))
  safetensors.numpy.save_file(
    {f"base_model.model.{name}": np.ascontiguousarray(x) for name, x in tensors.items()},
    folder / lora.WEIGHTS,
  )
  return folder


def factors(model, modules, seed=0, r=R):
  """{name in the file: factor} of modules by transformers 5's names, and {module: B @ A}."""
  rng, tensors, products = np.random.default_rng(seed), {}, {}
  for module in modules:
    shape = model.get_submodule(module).weight.shape
    down = rng.standard_normal((r, math.prod(shape[1:]))).astype(np.float32)
    up = 0.1 * rng.standard_normal((shape[0], r)).astype(np.float32)
    tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    products[module] = up @ down
  return tensors, products


def merged(base, products, scale):
  """A torch model with the products added by hand."""
  model = MODEL.from_pretrained(base)
  with torch.no_grad():
    for module, product in products.items():
      weight = model.get_submodule(module).weight
      weight += scale * torch.tensor(product).reshape(weight.shape)
  return model.eval()


MODULES = [
  *(f"model.language_model.layers.{i}.self_attn.q_proj" for i in range(3)),
  "model.language_model.layers.1.mlp.up_proj",
  "model.visual.blocks.2.attn.qkv",
  "model.visual.patch_embed.proj",
]


def logits_agree(opened, model):
  """Whether log-probabilities of a prompt with a picture are those of a torch model."""
  prompt = oracle.prompt(oracle.PROMPTS["one picture"], model=model)
  buckets = packing.Buckets(tokens=(32,), patches=(64,), answers=())
  batch = packing.prompts([prompt.encoded], buckets, rows=1)
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(opened.config, rngs=nnx.Rngs(0))))[0]
  ours = np.asarray(logprobs.batch_logps(nnx.merge(graphdef, opened.params), batch))[0]
  with torch.no_grad():
    logps = model(**prompt.inputs).logits.log_softmax(-1)[0]
  tokens = prompt.inputs["input_ids"][0]
  theirs = logps[:-1].gather(1, tokens[1:, None])[:, 0].numpy()
  np.testing.assert_allclose(ours[1 : len(tokens)], theirs, atol=3e-5)


@pytest.mark.parametrize(
  "head,names,scaling",
  [
    ("untied", "modern", "alpha / r"),
    ("tied", "released", "rslora"),
    ("tied", "modern", "patterns"),
  ],
)
def test_an_adapter_is_merged_into_its_base(bases, tmp_path, head, names, scaling):
  model, base = bases[head]
  tensors, products = factors(model, MODULES)
  scale, values = ALPHA / R, {}
  if scaling == "rslora":
    scale, values = ALPHA / math.sqrt(R), {"use_rslora": True}
  elif scaling == "patterns":
    scale, values = 2 / R, {"alpha_pattern": {r"q_proj|up_proj|qkv|patch_embed\.proj": 2}}
  if names == "released":
    tensors = {
      name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): x
      for name, x in tensors.items()
    }
  opened = model_folder.open_model(write(tmp_path / "adapter", base, tensors, **values))
  logits_agree(opened, merged(base, products, scale))
  assert opened.config.tie_word_embeddings == (head == "tied")


def test_a_merged_weight_in_bfloat16_is_rounded_once(bases, tmp_path):
  model, base = bases["tied"]
  tensors, products = factors(model, MODULES[:1])
  adapter = lora.open_adapter(write(tmp_path / "adapter", base, tensors))
  found = huggingface.load(base, dtype="bfloat16", adapter=adapter)[2]
  exact = huggingface.load(base, adapter=adapter)[2]
  x, y = (p["layers"]["self_attn"]["q_proj"]["weight"].get_value()[0] for p in (found, exact))
  np.testing.assert_array_equal(np.asarray(x), np.asarray(y.astype("bfloat16")))


def test_shards_of_a_merged_weight_are_those_of_the_whole(bases, tmp_path, mesh):
  model, base = bases["untied"]
  adapter = lora.open_adapter(write(tmp_path / "adapter", base, factors(model, MODULES)[0]))
  found = huggingface.load(base, mesh=mesh, rules=RULES, adapter=adapter)[2]
  wanted = huggingface.load(base, adapter=adapter)[2]
  for x, y in zip(nnx.to_flat_state(found), nnx.to_flat_state(wanted), strict=True):
    np.testing.assert_allclose(np.asarray(x[1][...]), np.asarray(y[1][...]), atol=1e-5)


@pytest.mark.parametrize("spelling", ["lm_head.weight", "lm_head.modules_to_save.default.weight"])
def test_modules_trained_in_full_replace_those_of_the_base(bases, tmp_path, spelling):
  model, base = bases["tied"]
  head = np.random.default_rng(1).standard_normal((160, 64)).astype(np.float32)
  opened = model_folder.open_model(write(tmp_path / "adapter", base, {spelling: head}))
  assert not opened.config.tie_word_embeddings
  np.testing.assert_array_equal(opened.params["lm_head"]["weight"].get_value(), head)


def test_an_adapted_head_of_a_tied_base_leaves_the_embeddings_alone(bases, tmp_path):
  model, base = bases["tied"]
  tensors, products = factors(model, ["lm_head"])
  opened = model_folder.open_model(write(tmp_path / "adapter", base, tensors))
  table = huggingface.load(base)[2]["embed_tokens"]["weight"].get_value()
  np.testing.assert_array_equal(opened.params["embed_tokens"]["weight"].get_value(), table)
  np.testing.assert_allclose(
    opened.params["lm_head"]["weight"].get_value(),
    np.asarray(table) + ALPHA / R * products["lm_head"],
    atol=1e-5,
  )


def test_adapted_embeddings_are_the_transposed_product(bases, tmp_path):
  _, base = bases["untied"]
  rng = np.random.default_rng(2)
  down, up = rng.standard_normal((R, 160)), rng.standard_normal((64, R))
  name = "model.language_model.embed_tokens.lora_embedding_"
  tensors = {f"{name}A": down.astype(np.float32), f"{name}B": up.astype(np.float32)}
  opened = model_folder.open_model(write(tmp_path / "adapter", base, tensors))
  table = huggingface.load(base)[2]["embed_tokens"]["weight"].get_value()
  np.testing.assert_allclose(
    opened.params["embed_tokens"]["weight"].get_value(),
    np.asarray(table) + ALPHA / R * (up @ down).T,
    atol=1e-4,
  )


def test_the_base_is_named_by_an_argument_or_by_the_adapter(bases, tmp_path):
  model, base = bases["tied"]
  tensors, _ = factors(model, MODULES)
  folder = write(tmp_path / "adapter", base, tensors)
  wanted = model_folder.open_model(folder).params
  write(folder, "/nowhere/base", tensors)
  with pytest.raises(FileNotFoundError, match=r"LoRA adapter.*config.model.base.*nowhere"):
    model_folder.open_model(folder)
  assert_equal(model_folder.open_model(folder, base=base).params, wanted)
  write(folder, "", tensors)
  with pytest.raises(ValueError, match="adapter_config.json names none"):
    model_folder.open_model(folder)


def test_files_of_the_adapter_come_before_those_of_its_base(bases, tmp_path):
  model, source = bases["tied"]
  base = shutil.copytree(source, tmp_path / "base")
  for name in ("tokenizer.json", "merges.txt", "chat_template.json", "preprocessor_config.json"):
    (base / name).write_text("base")
  folder = write(tmp_path / "adapter", base, factors(model, MODULES)[0])
  (folder / "tokenizer.json").write_text("adapter")
  (folder / "chat_template.jinja").write_text("adapter")
  opened = model_folder.open_model(folder)
  texts = {file.name: file.read_text() for file in opened.folder.iterdir()}
  assert texts["tokenizer.json"] == texts["chat_template.jinja"] == "adapter"
  assert texts["preprocessor_config.json"] == "base" and "config.json" in texts
  assert not {"merges.txt", "chat_template.json"} & texts.keys()


@pytest.mark.parametrize(
  "values,words",
  [
    ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ({"use_dora": True}, "use_dora is True"),
    ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights is 'pissa_niter_16'"),
    ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
    ({"lora_bias": True}, "lora_bias is True"),
    ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication is "),
    ({"alora_invocation_tokens": [7]}, "alora_invocation_tokens is .7."),
  ],
)
def test_a_kind_that_is_not_merged_is_named(bases, tmp_path, values, words):
  model, base = bases["tied"]
  folder = write(tmp_path / "adapter", base, factors(model, MODULES)[0], **values)
  with pytest.raises(ValueError, match=f"{words}.*merge_and_unload"):
    model_folder.open_model(folder)


@pytest.mark.parametrize(
  "part, words",
  [("lora_B.bias", "lora_B.bias is of a kind"), ("lora_A.other.weight", "is a second lora_A")],
)
def test_a_part_of_an_adapter_is_never_left_out(bases, tmp_path, part, words):
  model, base = bases["tied"]
  tensors, _ = factors(model, MODULES[:1])
  extra = {f"{MODULES[0]}.{part}": tensors[f"{MODULES[0]}.lora_A.weight"] + 1}
  with pytest.raises(ValueError, match=words):
    model_folder.open_model(write(tmp_path / "adapter", base, tensors | extra))


@pytest.mark.parametrize("pattern", [rf"^{re.escape(MODULES[0])}", "q_proj", r".*\.0\..*q_proj"])
def test_a_pattern_of_alpha_is_searched_in_the_name_without_peft_s_prefix(bases, tmp_path, pattern):
  model, base = bases["untied"]
  tensors, products = factors(model, MODULES[:1])
  folder = write(tmp_path / "adapter", base, tensors, alpha_pattern={pattern: 2})
  logits_agree(model_folder.open_model(folder), merged(base, products, 2 / R))


def test_a_rank_that_the_config_does_not_state_is_named(bases, tmp_path):
  model, base = bases["untied"]
  tensors, products = factors(model, MODULES[:1])
  folder = write(tmp_path / "adapter", base, tensors, r=8)
  with pytest.raises(ValueError, match=f"q_proj has rank {R}, and adapter_config.json says 8"):
    model_folder.open_model(folder)
  folder = write(tmp_path / "adapter", base, tensors, r=8, rank_pattern={"q_proj": R})
  logits_agree(model_folder.open_model(folder), merged(base, products, ALPHA / R))


def test_an_adapter_of_another_model_is_named(bases, tmp_path):
  model, base = bases["tied"]
  tensors, _ = factors(model, MODULES[:1])
  folder = write(
    tmp_path / "a", base, {k.replace("layers.0", "layers.7"): x for k, x in tensors.items()}
  )
  with pytest.raises(ValueError, match="the base has no model.layers.7.self_attn.q_proj.weight"):
    model_folder.open_model(folder)
  folder = write(
    tmp_path / "b", base, {k: x[:, :-1] if "_A" in k else x for k, x in tensors.items()}
  )
  with pytest.raises(ValueError, match=r"q_proj.weight is \(64, 64\) in the base, \(64, 63\) here"):
    model_folder.open_model(folder)


def test_an_adapter_without_its_weights_and_one_beside_a_model_are_named(bases, tmp_path):
  model, base = bases["tied"]
  folder = write(tmp_path / "adapter", base, factors(model, MODULES)[0])
  (folder / lora.WEIGHTS).rename(folder / "adapter_model.bin")
  with pytest.raises(FileNotFoundError, match="adapter_model.safetensors: missing, but .*bin"):
    model_folder.open_model(folder)
  shutil.copy(base / weights_files.SINGLE, folder)
  with pytest.raises(ValueError, match="both a model and an adapter"):
    model_folder.open_model(folder)
