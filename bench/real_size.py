"""A checkpoint of true size: written, ported, loaded, a pair judged, and held against transformers.

  python bench/real_size.py --folder DIR [--tokenizer tokenizer.json] [--preset 3b] [--quick]

Needs disk for three times the checkpoint (3b: 25 GB), which is removed at the end (--keep: not).
Each step is a process of its own; its peak memory is the resident set that the kernel records for
it, interpreter, libraries and pages of files included.

  write   a random checkpoint at the release's sizes, in its shards and bfloat16, tensor by tensor
  port    `cot_rm.main`, stage port: to a model folder
  export  stage port, target hf: back to a Hugging Face folder, whose tensors must be equal
  judge   opens the model folder, judges a pair with a picture, and scores an answer
  torch   transformers' model in bfloat16 scores the same answer to the same chat, by its processor
  exact   the same in float32, with one layer in memory at a time

Ours is right if its log-probabilities are as near to the exact ones as those of transformers in
bfloat16 are: at most 1.5 times as far in the mean, and everywhere within 4 times its largest.
"""

import argparse
import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

QUESTION = "What is in the picture?"
RESPONSES = ("A gradient from dark to light.", "Two dogs on a beach.")
ANSWER = "The picture shows colours that change from the left to the right, and nothing else."
CHUNK = 1 << 22  # random numbers made at once
SPREAD = 0.02  # standard deviation of the weights


def main() -> None:
  args = _arguments()
  if args.step:
    STEPS[args.step](args)
    return
  folder = Path(args.folder)
  if folder.exists() and any(folder.iterdir()):
    raise SystemExit(
      f"--folder {folder} is not empty, and it is removed at the end; name a new one"
    )
  folder.mkdir(parents=True, exist_ok=True)
  found: dict[str, dict[str, float]] = {}
  try:
    for step in ("write", "port", "export", "judge", "torch", "exact"):
      found[step] = _run(step, args)
      print(
        f"{step:7s} {found[step]['seconds']:8.1f} s {found[step]['peak_gb']:7.2f} GB", flush=True
      )
    figures = _figures(folder, found)
  finally:
    if not args.keep:
      shutil.rmtree(folder)
  _print_table(figures, found)
  print(json.dumps({**figures, "steps": found}))
  if not (figures["right"] and figures["export_equal"]):
    raise SystemExit("the numbers do not agree")


def _arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--folder", required=True, help="for the files; made, then removed")
  parser.add_argument(
    "--tokenizer", default="", help="tokenizer.json; without: a small one is made"
  )
  parser.add_argument("--preset", default="3b", choices=("3b", "7b"))
  parser.add_argument("--quick", action="store_true", help="two layers of an eighth of the width")
  parser.add_argument("--keep", action="store_true", help="leave the files")
  parser.add_argument("--step", default="", help=argparse.SUPPRESS)
  return parser.parse_args()


def _run(step: str, args: argparse.Namespace) -> dict[str, float]:
  """Runs a step as a process; its seconds and peak resident memory."""
  folder = Path(args.folder)
  if step in ("port", "export"):
    source = folder / "hf" if step == "port" else folder / "run/port/model"
    command = ["-m", "cot_rm.main", "--config", str(ROOT / "configs/port.py")]
    command += [f"--config.port.source={source}", "--workdir", str(folder / "run")]
    command += ["--config.cpu_devices=1"]
    if step == "export":
      command[-2] = str(folder / "run_export")
      command += ["--config.port.target=hf"]
  else:
    command = [__file__, "--step", step, "--folder", str(folder), "--preset", args.preset]
    command += ["--tokenizer", args.tokenizer] + ["--quick"] * args.quick
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  began = time.monotonic()
  with (folder / f"{step}.log").open("w") as log:
    process = subprocess.Popen(
      [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log
    )
    _, status, usage = os.wait4(process.pid, 0)
  if status:
    log = (folder / f"{step}.log").read_text()[-3000:]
    raise SystemExit(f"step {step} ended with status {os.waitstatus_to_exitcode(status)}:\n{log}")
  return {"seconds": time.monotonic() - began, "peak_gb": usage.ru_maxrss * 1024 / 1e9}


def _config(args: argparse.Namespace) -> Any:
  """Sizes of the model; its special tokens are the release's."""
  from cot_rm.models.qwen2_5_vl import PRESETS

  config = PRESETS[args.preset]
  if not args.quick:
    return config
  eighth = lambda part, *names: {name: -(-getattr(part, name) // 8) for name in names}
  vision = eighth(config.vision, "hidden_size", "intermediate_size", "num_heads", "out_hidden_size")
  decoder = eighth(config, "hidden_size", "intermediate_size", "num_heads", "num_kv_heads")
  tower = dataclasses.replace(config.vision, depth=2, full_attention_blocks=(1,), **vision)
  return dataclasses.replace(config, vision=tower, num_layers=2, **decoder)


def write(args: argparse.Namespace) -> None:
  """Writes folder/hf, one tensor in memory at a time."""
  import ml_dtypes

  from cot_rm.checkpoints import huggingface
  from cot_rm.models import qwen2_5_vl

  folder = Path(args.folder) / "hf"
  folder.mkdir(parents=True, exist_ok=True)
  config = dataclasses.replace(_config(args), **_write_processor(args, folder))
  keys = qwen2_5_vl.HF_KEYS
  entries = {
    name: (np.dtype(ml_dtypes.bfloat16), huggingface.tensor_shape(path, variable, keys, config))
    for path, variable in huggingface.abstract_params("qwen2_5_vl", config).items()
    for name in huggingface.tensor_names(path, variable, keys)
  }
  tensors = _tensors(entries, np.random.default_rng(0))
  huggingface.write_shards(folder, entries, tensors, max_shard_bytes=4_000_000_000)
  values = qwen2_5_vl.to_hf(config, dtype="bfloat16")
  (folder / "config.json").write_text(json.dumps(values, indent=2))


def _tensors(entries: dict[str, Any], rng: np.random.Generator) -> Iterator[np.ndarray]:
  """Random tensors: norms about 1, all others about 0."""
  for name, (dtype, shape) in entries.items():
    out = np.empty(math.prod(shape), dtype)
    mean = 1.0 if "norm" in name or "ln_q" in name else 0.0
    for start in range(0, len(out), CHUNK):
      part = out[start : start + CHUNK]
      part[:] = mean + SPREAD * rng.standard_normal(len(part), np.float32)
    yield out.reshape(shape)


def _write_processor(args: argparse.Namespace, folder: Path) -> dict[str, int]:
  """Tokenizer and processor files; returns the special tokens' ids, {}: the release's."""
  from cot_rm.toy_world import tokenizer

  texts = [QUESTION, *RESPONSES, ANSWER] * 3
  ids = tokenizer.train(texts, folder, vocab_size=300)
  if not args.tokenizer:
    return {name: value for name, value in ids.items() if name != "vocab_size"}
  shutil.copyfile(args.tokenizer, folder / "tokenizer.json")
  values = {
    "tokenizer_class": "Qwen2Tokenizer",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "chat_template": tokenizer.CHAT_TEMPLATE,
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(values))
  return {}


def picture() -> np.ndarray:
  """u8[H, W, 3]: 476 x 364 pixels, 221 visual tokens."""
  rows, columns = np.mgrid[0:364, 0:476]
  return np.stack([columns % 256, rows % 256, (rows + columns) % 256], -1).astype(np.uint8)


def judge(args: argparse.Namespace) -> None:
  """Opens the model folder, judges a pair, and scores the answer."""
  import cot_rm

  times, began = {}, time.monotonic()
  opened = cot_rm.load(Path(args.folder) / "run/port/model", dtype="bfloat16", max_prompts=1)
  times["load"] = time.monotonic() - began
  chat = chat_of(picture())
  began = time.monotonic()
  logps = opened.logps(chat, answer_of(args))
  times["score"] = time.monotonic() - began
  began = time.monotonic()
  pair = cot_rm.Example.answers(QUESTION, *RESPONSES, media=picture())
  verdict = opened.compare(pair, grammar="brief", both_orders=False, max_tokens=16)
  times["judge"] = time.monotonic() - began
  prompt = opened.processor(chat, id="chat")
  tokens = [*prompt.tokens.tolist(), *opened.processor.encode(answer_of(args))]
  _save(args, "judge", logps, tokens, times=times, answer=verdict.answer)


def chat_of(image: object) -> list[dict[str, object]]:
  """The chat whose answer is scored."""
  content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
  return [{"role": "user", "content": content}]


def _save(
  args: argparse.Namespace, step: str, logps: np.ndarray, tokens: Sequence[int], **more: Any
) -> None:
  values = {"logps": np.asarray(logps, float).tolist(), "tokens": list(map(int, tokens)), **more}
  (Path(args.folder) / f"{step}.json").write_text(json.dumps(values))


def torch_step(args: argparse.Namespace) -> None:
  """transformers' model in bfloat16."""
  import real_size_torch

  _save(
    args, "torch", *real_size_torch.score(Path(args.folder) / "hf", "bfloat16", example_of(args))
  )


def exact_step(args: argparse.Namespace) -> None:
  """transformers' model in float32, a layer at a time."""
  import real_size_torch

  _save(
    args, "exact", *real_size_torch.score(Path(args.folder) / "hf", "float32", example_of(args))
  )


def example_of(args: argparse.Namespace) -> tuple[np.ndarray, str, str]:
  """(picture, question, answer) that transformers scores."""
  return picture(), QUESTION, answer_of(args)


def answer_of(args: argparse.Namespace) -> str:
  """The answer that is scored; with --quick it is long, so that chance decides less."""
  return " ".join([ANSWER] * (12 if args.quick else 1))


STEPS = {"write": write, "judge": judge, "torch": torch_step, "exact": exact_step}


def _figures(folder: Path, found: dict[str, dict[str, float]]) -> dict[str, Any]:
  """The comparison of log-probabilities, and memory by the size of the files."""
  ours, theirs, exact = (
    json.loads((folder / f"{step}.json").read_text()) for step in ("judge", "torch", "exact")
  )
  assert ours["tokens"] == theirs["tokens"] == exact["tokens"], "the processors differ"
  off = np.abs(np.array(ours["logps"]) - exact["logps"])
  their_off = np.abs(np.array(theirs["logps"]) - exact["logps"])
  size = sum(file.stat().st_size for file in (folder / "hf").glob("*.safetensors"))
  return {
    "files_gb": size / 1e9,
    "answer_tokens": len(off),
    "prompt_tokens": len(ours["tokens"]) - len(off),
    "off_mean": float(off.mean()),
    "off_max": float(off.max()),
    "transformers_off_mean": float(their_off.mean()),
    "transformers_off_max": float(their_off.max()),
    "right": bool(off.mean() <= 1.5 * their_off.mean() and off.max() <= 4 * their_off.max()),
    "export_equal": _equal(folder / "hf", folder / "run_export/port/model"),
    "inside": ours["times"],
    "peak_by_files": {step: x["peak_gb"] * 1e9 / size for step, x in found.items()},
  }


def _equal(first: Path, second: Path) -> bool:
  """Whether two folders hold the same tensors, byte for byte."""
  places: list[dict[str, Any]] = []
  from cot_rm.checkpoints import safetensors_io

  for folder in (first, second):
    files = folder.glob("*.safetensors")
    places.append({k: t for file in files for k, t in safetensors_io.header(file).items()})
  if places[0].keys() != places[1].keys():
    return False
  return all(np.array_equal(_bytes(x), _bytes(places[1][name])) for name, x in places[0].items())


def _bytes(tensor: Any) -> np.ndarray:
  """The bytes of a tensor in its file."""
  count = math.prod(tensor.shape) * tensor.dtype.itemsize
  return np.fromfile(tensor.file, np.uint8, count, offset=tensor.offset)


def _print_table(figures: dict[str, Any], found: dict[str, dict[str, float]]) -> None:
  print(f"\nfiles: {figures['files_gb']:.2f} GB\n\n| step | seconds | peak, GB | peak / files |")
  print("|---|---|---|---|")
  for step, x in found.items():
    ratio = figures["peak_by_files"][step]
    print(f"| {step} | {x['seconds']:.0f} | {x['peak_gb']:.2f} | {ratio:.2f} |")
  inside = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in figures["inside"].items())
  print(f"\ninside judge: {inside}")


if __name__ == "__main__":
  main()
