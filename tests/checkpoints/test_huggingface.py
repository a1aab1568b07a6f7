"""Hugging Face folders in and out, against transformers."""

import dataclasses
import http.server
import json
import shutil
import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from flax import nnx

from cot_rm import sharding
from cot_rm.checkpoints import huggingface
from cot_rm.models import qwen2_5_vl
from tests.checkpoints.layout import RULES
from tests.models.qwen2_5_vl import oracle

MODEL = transformers.Qwen2_5_VLForConditionalGeneration


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """{head: (torch model, its folder)}; tied in one file, untied in several."""
  made = {}
  for head, config, size in (("untied", oracle.CONFIG, "200KB"), ("tied", oracle.TIED, "1GB")):
    model, folder = oracle.make(config), tmp_path_factory.mktemp(head)
    model.save_pretrained(folder, max_shard_size=size)
    made[head] = model, folder
  return made


@pytest.fixture
def folder(saved, tmp_path):
  """A copy, in one file, to damage."""
  return shutil.copytree(saved["tied"][1], tmp_path / "copy")


def flat(params):
  return {".".join(path): np.asarray(v.get_value()) for path, v in nnx.to_flat_state(params)}


def assert_equal(a, b):
  a, b = flat(a), flat(b)
  assert a.keys() == b.keys()
  for path, x in a.items():
    assert x.dtype == b[path].dtype, path
    np.testing.assert_array_equal(x.view(np.uint8), b[path].view(np.uint8), path)


def rewrite(folder, change):
  """Replaces the folder's one file by `change({name: array})`."""
  file = folder / huggingface.SINGLE
  tensors = {k: np.array(v) for k, v in safetensors.numpy.load_file(file).items()}
  safetensors.numpy.save_file(change(tensors), file)


@pytest.mark.parametrize("head", ["untied", "tied"])
def test_every_weight_of_torch_is_in_its_place(saved, head):
  model, folder = saved[head]
  family, config, params = huggingface.load(folder)
  assert (family, config) == ("qwen2_5_vl", {"untied": oracle.CONFIG, "tied": oracle.TIED}[head])
  found = flat(params)
  keys = qwen2_5_vl.HF_KEYS
  wanted = {keys.canonical(k): v.numpy() for k, v in model.state_dict().items()}
  if head == "tied":
    wanted.pop("lm_head.weight")
  for path, variable in nnx.to_flat_state(params):
    path = ".".join(path)
    names = huggingface.tensor_names(path, variable, keys)
    rows = found[path] if "{layer}" in keys.name(path) else [found[path]]
    for name, row in zip(names, rows, strict=True):
      expected = wanted.pop(name)
      np.testing.assert_array_equal(row.reshape(expected.shape), expected, name)
  assert not wanted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", ["untied", "tied"])
def test_there_and_back_is_equal_bit_for_bit_and_transformers_loads_it(
  saved, tmp_path, head, dtype
):
  _, source = saved[head]
  family, config, params = huggingface.load(source, dtype=dtype)
  size = 200_000 if head == "untied" else 5 << 30
  huggingface.save(tmp_path, params, family=family, config=config, max_shard_bytes=size)
  files = sorted(file.name for file in tmp_path.glob("*.safetensors"))
  assert (len(files) > 1) == (tmp_path / huggingface.INDEX).exists() == (head == "untied")
  again = huggingface.load(tmp_path)
  assert again[1] == config
  assert_equal(again[2], params)
  model, info = MODEL.from_pretrained(tmp_path, output_loading_info=True)
  assert not any(info.values()), info
  assert model.dtype == getattr(torch, dtype)
  original = MODEL.from_pretrained(source, dtype=model.dtype).state_dict()
  for name, value in model.state_dict().items():
    assert torch.equal(value, original[name]), name


def test_the_layout_of_memory_is_read_too(folder):
  """`model.visual.*` and `model.language_model.*`, as transformers 5 names them."""
  wanted = huggingface.load(folder)[2]
  rewrite(
    folder,
    lambda tensors: {
      "model." + k
      if k.startswith("visual.")
      else k.replace("model.", "model.language_model.", 1): v
      for k, v in tensors.items()
    },
  )
  names = safetensors.numpy.load_file(folder / huggingface.SINGLE)
  assert "model.language_model.layers.0.mlp.up_proj.weight" in names
  assert "model.visual.merger.mlp.0.weight" in names
  assert_equal(huggingface.load(folder)[2], wanted)


def test_mixed_dtypes_are_cast_or_kept(folder):
  wanted = huggingface.load(folder, dtype="bfloat16")[2]
  rewrite(
    folder,
    lambda tensors: {
      k: v if "norm" in k else v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()
    },
  )
  kept = flat(huggingface.load(folder)[2])
  assert kept["norm.weight"].dtype == np.float32
  assert kept["layers.mlp.up_proj.weight"].dtype == ml_dtypes.bfloat16
  assert_equal(huggingface.load(folder, dtype="bfloat16")[2], wanted)


def test_a_stack_of_mixed_dtypes_takes_the_wider(folder):
  name = "model.layers.1.mlp.up_proj.weight"
  rewrite(folder, lambda tensors: tensors | {name: tensors[name].astype(ml_dtypes.bfloat16)})
  assert flat(huggingface.load(folder)[2])["layers.mlp.up_proj.weight"].dtype == np.float32


def test_a_tied_head_that_is_there_is_let_be(folder):
  wanted = huggingface.load(folder)[2]
  embedded = "model.embed_tokens.weight"
  rewrite(folder, lambda tensors: tensors | {"lm_head.weight": tensors[embedded]})
  assert_equal(huggingface.load(folder)[2], wanted)


def test_an_untied_head_that_is_missing_is_named(saved, tmp_path):
  copy = shutil.copytree(saved["tied"][1], tmp_path / "copy")
  values = json.loads((copy / "config.json").read_text())
  (copy / "config.json").write_text(json.dumps(values | {"tie_word_embeddings": False}))
  with pytest.raises(ValueError, match="tie_word_embeddings false, and the files have no lm_head"):
    huggingface.load(copy)


def test_missing_unexpected_and_misshapen_tensors_are_all_named(folder):
  def damage(tensors):
    del tensors["model.norm.weight"], tensors["visual.blocks.2.attn.qkv.bias"]
    tensors["visual.patch_embed.proj.weight"] = np.zeros((48, 1176), np.float32)
    return tensors | {"model.layers.3.mlp.up_proj.weight": np.zeros((1, 1), np.float32)}

  rewrite(folder, damage)
  with pytest.raises(ValueError) as error:
    huggingface.load(folder)
  text = str(error.value)
  assert "missing (2): visual.blocks.2.attn.qkv.bias, model.norm.weight" in text or (
    "missing (2): model.norm.weight, visual.blocks.2.attn.qkv.bias" in text
  )
  assert "unexpected (1): model.layers.3.mlp.up_proj.weight" in text
  assert "visual.patch_embed.proj.weight (48, 1176), not (48, 3, 2, 14, 14)" in text


def test_a_tensor_under_two_names_is_an_error(folder):
  rewrite(
    folder,
    lambda tensors: tensors | {"model.language_model.norm.weight": tensors["model.norm.weight"]},
  )
  with pytest.raises(ValueError, match="model.norm.weight is in model.safetensors and again"):
    huggingface.load(folder)


def test_half_a_shard_is_named(saved, tmp_path):
  copy = shutil.copytree(saved["untied"][1], tmp_path / "copy")
  shard = sorted(copy.glob("*.safetensors"))[1]
  shard.write_bytes(shard.read_bytes()[:1000])
  with pytest.raises(ValueError, match=rf"{shard.name}: cut short"):
    huggingface.load(copy)


def test_a_missing_shard_is_named(saved, tmp_path):
  copy = shutil.copytree(saved["untied"][1], tmp_path / "copy")
  shard = sorted(copy.glob("*.safetensors"))[1]
  shard.unlink()
  with pytest.raises(FileNotFoundError, match=shard.name):
    huggingface.load(copy)


def test_a_folder_without_weights_or_config_says_what_is_missing(folder):
  (folder / huggingface.SINGLE).unlink()
  with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
    huggingface.load(folder)
  (folder / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json: not JSON"):
    huggingface.load(folder)
  (folder / "config.json").unlink()
  with pytest.raises(FileNotFoundError, match=r"config\.json: missing"):
    huggingface.load(folder)


def test_the_folder_of_a_stage_or_a_run_says_where_its_models_are(tmp_path):
  model = tmp_path / "sft" / "model"
  model.mkdir(parents=True)
  (model / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
  with pytest.raises(FileNotFoundError, match=f"missing; a stage's model is in {model}"):
    huggingface.read_config(model.parent)
  (tmp_path / "config.json").write_text('{"config": {}}')
  with pytest.raises(ValueError, match="no model_type. In the workdir .* are in <stage>/model"):
    huggingface.read_config(tmp_path)


def test_another_family_is_named(folder):
  values = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps(values | {"model_type": "qwen2_vl"}))
  with pytest.raises(ValueError, match=r"qwen2_vl.*did you mean 'qwen2_5_vl'"):
    huggingface.load(folder)


def test_weights_go_straight_to_their_shards(saved):
  folder = saved["untied"][1]
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  params = huggingface.load(folder, mesh=mesh, rules=RULES)[2]
  assert_equal(params, huggingface.load(folder)[2])
  up = params["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert up.sharding.spec == sharding.spec(("layers", "mlp", "embed"), RULES)
  assert up.addressable_shards[0].data.shape == (3, 48, 16)


def test_tokenizer_and_processor_files_come_along(folder, tmp_path):
  for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja", "notes.md"):
    (folder / name).write_text(name)
  family, config, params = huggingface.load(folder)
  huggingface.save(tmp_path / "out", params, family=family, config=config, files_from=folder)
  names = {file.name for file in (tmp_path / "out").iterdir()}
  assert {"tokenizer.json", "preprocessor_config.json", "chat_template.jinja"} <= names
  assert "notes.md" not in names
  with pytest.raises(FileNotFoundError, match="nowhere"):
    huggingface.copy_files(tmp_path / "nowhere", tmp_path / "out")


def test_a_second_save_leaves_no_old_shard(saved, tmp_path):
  family, config, params = huggingface.load(saved["untied"][1])
  huggingface.save(tmp_path, params, family=family, config=config, max_shard_bytes=100_000)
  huggingface.save(tmp_path, params, family=family, config=config)
  assert [file.name for file in tmp_path.glob("*.safetensors*")] == [huggingface.SINGLE]


def test_a_path_that_is_not_there_is_no_hub_id(tmp_path):
  for source in (tmp_path / "none", "./none/model", "runs/none/model", "~/none"):
    with pytest.raises(FileNotFoundError, match="no folder"):
      huggingface.resolve(source)
  assert huggingface.resolve(tmp_path) == tmp_path


def test_a_hub_id_without_a_hub_says_so():
  with pytest.raises(FileNotFoundError, match="no folder .*hub did not give 'nobody/nothing'"):
    huggingface.resolve("nobody/nothing")  # the tests run with the hub offline


class Hub(http.server.BaseHTTPRequestHandler):
  """As much of a hub as a download asks for."""

  files = {}

  def log_message(self, *_):
    pass

  def do_HEAD(self):  # noqa: N802
    self.answer(body=False)

  def do_GET(self):  # noqa: N802
    self.answer(body=True)

  def answer(self, *, body):
    path = self.path.split("?")[0]
    commit = "0" * 40
    headers = {}
    if "/resolve/" in path:
      name = path.rsplit("/", 1)[1]
      data = self.files[name]
      headers = {"ETag": f'"{hash(name)}"', "X-Repo-Commit": commit}
    elif "/tree/" in path:
      data = json.dumps(
        [
          {"type": "file", "path": name, "size": len(x), "oid": name}
          for name, x in self.files.items()
        ]
      ).encode()
    elif path.startswith("/api/models/me/tiny"):
      siblings = [{"rfilename": name} for name in self.files]
      data = json.dumps({"id": "me/tiny", "sha": commit, "siblings": siblings}).encode()
    else:
      self.send_error(404)
      return
    self.send_response(200)
    for key, value in (headers | {"Content-Length": str(len(data))}).items():
      self.send_header(key, value)
    self.end_headers()
    if body:
      self.wfile.write(data)


def test_a_hub_id_is_fetched(folder, tmp_path):
  files = {file.name: file.read_bytes() for file in folder.iterdir()} | {"readme.bin": b"no"}
  handler = type("Handler", (Hub,), {"files": files})
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    out = subprocess.run(
      [
        sys.executable,
        "-c",
        f"from {huggingface.__name__} import resolve; print(resolve('me/tiny'))",
      ],
      capture_output=True,
      text=True,
      timeout=100,
      env={
        "PATH": "",
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(huggingface.epath.Path(huggingface.__file__).parents[2]),
      },
    )
    server.shutdown()
  assert out.returncode == 0, out.stderr
  fetched = huggingface.epath.Path(out.stdout.strip().splitlines()[-1])
  assert {file.name for file in fetched.iterdir()} == files.keys() - {"readme.bin"}
  assert_equal(huggingface.load(fetched)[2], huggingface.load(folder)[2])


def test_a_prefix_that_the_table_lacks_is_an_error():
  keys = dataclasses.replace(qwen2_5_vl.HF_KEYS, prefixes={"norm.": "model.norm."})
  with pytest.raises(KeyError, match="embed_tokens.weight"):
    keys.name("embed_tokens.weight")
