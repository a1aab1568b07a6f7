"""Time and memory of loading a checkpoint, compared with transformers' from_pretrained.

  python bench/load.py [--quick]

Makes a Qwen2.5-VL checkpoint of about 2 GB in bfloat16 (--quick: 0.3 GB), 5 files, and loads it
alternately with both loaders, each time in a new process, with the files out of the page cache
("cold") and in it ("warm"). Seconds are those of the load, after imports and the start of the
backend, until every byte of every weight has been read: from_pretrained maps the files without
reading them, so its weights are read once afterwards; ours are in place when the load returns. Peak
resident memory is that of the whole process, interpreter and libraries included; "over start" is
without the memory resident before the load. `seconds_ratio` is that of the cold loads;
`memory_ratio` is the peak of the whole process divided by the size of the files.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import isolated
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CACHES = ("cold", "warm")  # states of the page cache
sys.path.insert(0, str(ROOT))


def make(folder: str, quick: bool) -> dict[str, int]:
  """Writes the checkpoint; returns its size in bytes."""
  import jax
  import ml_dtypes

  from cot_rm.checkpoints import huggingface
  from cot_rm.models.qwen2_5_vl import PRESETS

  c = PRESETS["3b"]
  config = dataclasses.replace(
    c, vision=dataclasses.replace(c.vision, depth=8, full_attention_blocks=(3, 7)), num_layers=8
  )
  if quick:
    config = dataclasses.replace(
      config,
      vision=dataclasses.replace(config.vision, depth=1, full_attention_blocks=(0,)),
      num_layers=1,
      vocab_size=3200,
      image_token_id=1,
      video_token_id=2,
      vision_start_token_id=3,
      vision_end_token_id=4,
    )
  block = (0.02 * np.random.default_rng(0).standard_normal(1 << 20)).astype(ml_dtypes.bfloat16)
  variables = huggingface.abstract_params("qwen2_5_vl", config)
  params = huggingface.to_state(
    {path: v.replace(jax.device_put(np.resize(block, v.shape))) for path, v in variables.items()}
  )
  size = sum(2 * v.size for v in variables.values())
  huggingface.save(
    folder, params, family="qwen2_5_vl", config=config, max_shard_bytes=size // 5 + (1 << 20)
  )
  return {"size": sum(f.stat().st_size for f in Path(folder).glob("*.safetensors"))}


def resident() -> int:
  """Resident memory of this process in bytes."""
  return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def prepare(folder: str, cache: str) -> None:
  """Puts the page cache into the state "cold" or "warm", and takes memory from the host.

  A virtual machine returns free memory to its host, and getting it back can take longer than the
  load: a process that allocates as much as the load, and ends, does it for both loaders.
  """
  files = sorted(Path(folder).glob("*.safetensors"))
  for file in files:
    with file.open("rb") as opened:
      if cache == "cold":
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
      while cache == "warm" and opened.read(1 << 24):
        pass
  size = sum(file.stat().st_size for file in files)
  allocate = f"import numpy; numpy.empty({size}, numpy.uint8).fill(1)"
  subprocess.run([sys.executable, "-c", allocate], check=True)


def ours(folder: str, cache: str) -> tuple[float, int]:
  """(seconds of cot_rm's load, bytes resident before it)."""
  import jax

  from cot_rm.checkpoints import huggingface
  from cot_rm.models import qwen2_5_vl  # noqa: F401, else the load would import the family

  jax.device_put(np.zeros(1)).block_until_ready()
  prepare(folder, cache)
  before = resident()
  start = time.perf_counter()
  _, _, params = huggingface.load(folder, dtype="bfloat16")
  jax.block_until_ready(params)
  return time.perf_counter() - start, before


def theirs(folder: str, cache: str) -> tuple[float, int]:
  """(seconds of from_pretrained and of reading its weights, bytes resident before it)."""
  import torch
  from transformers import Qwen2_5_VLForConditionalGeneration

  prepare(folder, cache)
  before = resident()
  start = time.perf_counter()
  model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
  for x in model.state_dict().values():
    x.view(torch.int16).reshape(-1).numpy().view(np.uint64).sum()
  return time.perf_counter() - start, before


def measure(loader: str, cache: str, folder: str) -> dict[str, float]:
  """One load in this process: seconds, and bytes resident before it and at the peak."""
  seconds, before = {"ours": ours, "theirs": theirs}[loader](folder, cache)
  return {"seconds": seconds, "before": before, "peak": isolated.peak()}


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--quick", action="store_true", help="0.3 GB and 2 turns")
  parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.one:
    made = args.one == ["make"]
    out = make(args.folder, args.quick) if made else measure(*args.one, args.folder)
    sys.stdout.write(json.dumps(out) + "\n")
    return
  turns = 2 if args.quick else 5
  with tempfile.TemporaryDirectory() as folder:
    size, loads = _measure_all(folder, turns, ["--quick"] * args.quick)
  say = lambda line: sys.stdout.write(line + "\n")
  say(f"{size / 1e9:.2f} GB of bfloat16, {turns} turns, {os.cpu_count()} cores")
  say(f"{'':<14}{'seconds, median':>16}{'min':>8}{'max':>8}{'peak / file':>13}{'over start':>12}")
  seconds, peaks, over_start = {}, {}, {}
  for key, runs in loads.items():
    seconds[key] = [run["seconds"] for run in runs]
    peaks[key] = max(run["peak"] for run in runs) / size
    over_start[key] = max(run["peak"] - run["before"] for run in runs) / size
    say(
      f"{', '.join(key):<14}{np.median(seconds[key]):>16.2f}{min(seconds[key]):>8.2f}"
      f"{max(seconds[key]):>8.2f}{peaks[key]:>13.2f}{over_start[key]:>12.2f}"
    )

  def ratio(cache: str) -> float:
    return round(float(np.median(seconds["ours", cache]) / np.median(seconds["theirs", cache])), 3)

  say(
    json.dumps(
      {
        "seconds_ratio": ratio("cold"),
        "seconds_ratio_warm": ratio("warm"),
        "memory_ratio": round(max(peaks["ours", cache] for cache in CACHES), 3),
        "memory_ratio_over_start": round(max(over_start["ours", cache] for cache in CACHES), 3),
      }
    )
  )


def _measure_all(
  folder: str, turns: int, flags: Sequence[str]
) -> tuple[int, dict[tuple[str, str], list[dict[str, float]]]]:
  """(bytes of the checkpoint, loads by loader and state of the page cache)."""

  def in_new_process(*task: str) -> dict[str, float]:
    return isolated.call(__file__, "--folder", folder, *flags, "--one", *task)

  size = in_new_process("make")["size"]
  loads = {(loader, cache): [] for cache in CACHES for loader in ("ours", "theirs")}
  for _ in range(turns):
    for key in loads:
      loads[key].append(in_new_process(*key))
  return size, loads


if __name__ == "__main__":
  main()
