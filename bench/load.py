"""Time and memory of loading a checkpoint, beside transformers' from_pretrained.

  python bench/load.py [--quick]

Makes a Qwen2.5-VL checkpoint of about 2 GB in bfloat16 (--quick: 200 MB), 5 files, and loads it by turns
in fresh processes, warm in the page cache. Seconds are of the load alone, after imports and the
start of the backend, until every page of every weight has been read. Peak resident memory is the whole
process's, interpreter and libraries included; "over baseline" is without what was resident before.
"""
import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def make(folder, quick):
  """Writes the checkpoint; returns its bytes."""
  import jax
  import ml_dtypes

  from cot_rm.models import hf
  from cot_rm.models.qwen2_5_vl import PRESETS

  c = PRESETS["3b"]
  config = dataclasses.replace(
      c, vision=dataclasses.replace(c.vision, depth=8, full_attention_blocks=(3, 7)), num_layers=8)
  if quick:
    config = dataclasses.replace(
        config, vision=dataclasses.replace(config.vision, depth=1, full_attention_blocks=(0,)),
        num_layers=1, vocab_size=3200, image_token_id=1, video_token_id=2, vision_start_token_id=3,
        vision_end_token_id=4)
  block = (0.02 * np.random.default_rng(0).standard_normal(1 << 20)).astype(ml_dtypes.bfloat16)
  variables = hf.abstract("qwen2_5_vl", config)
  params = hf.tree({path: v.replace(jax.device_put(np.resize(block, v.shape)))
                    for path, v in variables.items()})
  size = sum(2 * v.size for v in variables.values())
  hf.save(folder, params, family="qwen2_5_vl", config=config, max_shard_bytes=size // 5 + (1 << 20))
  return sum(f.stat().st_size for f in Path(folder).glob("*.safetensors"))


def resident():
  return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def touch(array):
  """Reads one byte of every page."""
  return int(array.reshape(-1).view(np.uint8)[::4096].max())


def ours(folder):
  import jax

  from cot_rm.models import hf

  jax.device_put(np.zeros(1)).block_until_ready()
  before = resident()
  start = time.perf_counter()
  _, _, params = hf.load(folder, dtype="bfloat16")
  for x in jax.tree.leaves(params):
    touch(np.asarray(x))
  return time.perf_counter() - start, before


def theirs(folder):
  import torch
  from transformers import Qwen2_5_VLForConditionalGeneration

  before = resident()
  start = time.perf_counter()
  model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
  for x in model.state_dict().values():
    touch(x.view(torch.int16).numpy())
  return time.perf_counter() - start, before


def one(who, folder):
  seconds, before = {"ours": ours, "theirs": theirs}[who](folder)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return {"seconds": seconds, "before": before, "peak": peak}


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--quick", action="store_true", help="200 MB and 2 turns")
  parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.one:
    sys.stdout.write(json.dumps(one(*args.one)) + "\n")
    return
  with tempfile.TemporaryDirectory() as folder:
    size = make(folder, args.quick)
    rows = {"ours": [], "theirs": []}
    for turn in range(3 if args.quick else 6):
      for who in rows:
        out = subprocess.run(
            [sys.executable, __file__, "--one", who, folder], check=True, capture_output=True,
            text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}).stdout
        if turn:  # the first warms the page cache
          rows[who].append(json.loads(out.splitlines()[-1]))
  say = lambda line: sys.stdout.write(line + "\n")
  say(f"{size / 1e9:.2f} GB of bfloat16, {len(rows['ours'])} turns, {os.cpu_count()} cores")
  say(f"{'':<8}{'seconds, median':>16}{'min':>8}{'max':>8}{'peak / file':>13}{'over baseline':>15}")
  figures = {}
  for who, some in rows.items():
    seconds = [r["seconds"] for r in some]
    peak = max(r["peak"] for r in some) / size
    over = max(r["peak"] - r["before"] for r in some) / size
    figures[who] = (float(np.median(seconds)), peak, over)
    say(f"{who:<8}{np.median(seconds):>16.2f}{min(seconds):>8.2f}{max(seconds):>8.2f}"
        f"{peak:>13.2f}{over:>15.2f}")
  say(json.dumps({
      "seconds_ratio": round(figures["ours"][0] / figures["theirs"][0], 3),
      "memory_ratio": round(figures["ours"][1], 3),
      "memory_ratio_over_baseline": round(figures["ours"][2], 3)}))


if __name__ == "__main__":
  main()
