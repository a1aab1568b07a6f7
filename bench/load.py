"""Time and memory of loading a checkpoint, beside transformers' from_pretrained.

  python bench/load.py [--quick]

Makes a Qwen2.5-VL checkpoint of about 2 GB in bfloat16 (--quick: 0.3 GB), 5 files, and loads it by
turns in fresh processes, with the files out of the page cache ("cold") and in it ("warm"). Seconds
are of the load, after imports and the start of the backend, until every byte of every weight has
been read: from_pretrained maps the files and reads none of them, so its weights are read through
once behind it; ours are in their place when the load returns. Peak resident memory is the whole
process's, interpreter and libraries included; "over start" is without what was resident before.
`seconds_ratio` is that of the cold loads; `memory_ratio` is the whole process's peak by the files'.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import isolated
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def make(folder, quick):
  """Writes the checkpoint; says how many bytes."""
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


def resident():
  return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def prepare(folder, cache):
  """Brings the page cache into its state, and free memory into the machine.

  A virtual machine gives free memory back to its host, and getting it again can take longer than
  the load: a process that takes as much as the load will, and ends, spares both sides that.
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
  take = f"import numpy; numpy.empty({size}, numpy.uint8).fill(1)"
  subprocess.run([sys.executable, "-c", take], check=True)


def ours(folder, cache):
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


def theirs(folder, cache):
  import torch
  from transformers import Qwen2_5_VLForConditionalGeneration

  prepare(folder, cache)
  before = resident()
  start = time.perf_counter()
  model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
  for x in model.state_dict().values():
    x.view(torch.int16).reshape(-1).numpy().view(np.uint64).sum()
  return time.perf_counter() - start, before


def one(who, cache, folder):
  seconds, before = {"ours": ours, "theirs": theirs}[who](folder, cache)
  return {"seconds": seconds, "before": before, "peak": isolated.peak()}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--quick", action="store_true", help="0.3 GB and 2 turns")
  parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.one:
    out = make(args.folder, args.quick) if args.one == ["make"] else one(*args.one, args.folder)
    sys.stdout.write(json.dumps(out) + "\n")
    return
  with tempfile.TemporaryDirectory() as folder:
    quick = ["--quick"] * args.quick
    alone = lambda *what: isolated.call(__file__, "--folder", folder, *quick, "--one", *what)
    size = alone("make")["size"]
    rows = {(who, cache): [] for cache in ("cold", "warm") for who in ("ours", "theirs")}
    for _ in range(2 if args.quick else 5):
      for who, cache in rows:
        rows[who, cache].append(alone(who, cache))
  say = lambda line: sys.stdout.write(line + "\n")
  say(f"{size / 1e9:.2f} GB of bfloat16, {2 if args.quick else 5} turns, {os.cpu_count()} cores")
  say(f"{'':<14}{'seconds, median':>16}{'min':>8}{'max':>8}{'peak / file':>13}{'over start':>12}")
  figures = {}
  for (who, cache), some in rows.items():
    seconds = [r["seconds"] for r in some]
    peak = max(r["peak"] for r in some) / size
    over = max(r["peak"] - r["before"] for r in some) / size
    figures[who, cache] = (float(np.median(seconds)), peak, over)
    say(
      f"{who + ', ' + cache:<14}{np.median(seconds):>16.2f}{min(seconds):>8.2f}"
      f"{max(seconds):>8.2f}{peak:>13.2f}{over:>12.2f}"
    )
  ratio = lambda cache: round(figures["ours", cache][0] / figures["theirs", cache][0], 3)
  say(
    json.dumps(
      {
        "seconds_ratio": ratio("cold"),
        "seconds_ratio_warm": ratio("warm"),
        "memory_ratio": round(max(figures["ours", c][1] for c in ("cold", "warm")), 3),
        "memory_ratio_over_start": round(max(figures["ours", c][2] for c in ("cold", "warm")), 3),
      }
    )
  )


if __name__ == "__main__":
  main()
