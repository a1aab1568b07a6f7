"""Group rollouts of the big presets on one GPU, beside transformers' `generate` on the same card.

  python bench/sampler_gpu.py [--quick] [--presets 3b,7b]

Random weights in bfloat16; 8 questions of 1,024 tokens with two pictures of 448 pixels, 8 sampled
answers each, of 512 tokens all. Each side runs in a process of its own, after a call that compiles
and warms. transformers has all answers in one batch, its KV cache, sdpa and num_return_sequences.

"of the bound" is decode's: the bytes that a step must read (decoder and head once, each prompt's
keys and values once, each answer's own, half of their final length on average) over the bandwidth
that a large copy on the card reaches, over what a step took. --quick: the tiny preset, 2
questions, answers of 32 tokens, which a CPU runs too.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pickle
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import isolated
import numpy as np

if TYPE_CHECKING:
  from cot_rm.models.qwen2_5_vl import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

GROUP, PROMPT, SIDE = 8, 1024, 448


def config(preset: str, quick: bool) -> Config:
  """The config of a preset; quick: of the tiny one."""
  from cot_rm.models import qwen2_5_vl

  return qwen2_5_vl.PRESETS["tiny" if quick else preset]


def work(quick: bool) -> tuple[list[Any], int, int]:
  """(parts of a prompt, questions, tokens of an answer)."""
  patches = SIDE // 14
  picture = ("image", (1, patches, patches))
  seen = 2 * (patches**2 // 4 + 2)
  return [16, picture, picture, PROMPT - 16 - seen], 2 if quick else 8, 32 if quick else 512


def make(folder: str, preset: str, quick: bool) -> dict[str, float]:
  """Writes the questions, as inputs of transformers and as Encoded."""
  from tests.models.qwen2_5_vl import oracle

  c = config(preset, quick)
  parts, questions, _ = work(quick)
  small = oracle.make(  # computes positions only
    dataclasses.replace(
      oracle.CONFIG,
      vocab_size=c.vocab_size,
      image_token_id=c.image_token_id,
      video_token_id=c.video_token_id,
      vision_start_token_id=c.vision_start_token_id,
      vision_end_token_id=c.vision_end_token_id,
    )
  )
  prompts = [oracle.prompt(parts, model=small, config=c, seed=i) for i in range(questions)]
  inputs = [{k: v.numpy() for k, v in p.inputs.items()} for p in prompts]
  with open(f"{folder}/work.pickle", "wb") as file:
    pickle.dump(([p.encoded for p in prompts], inputs), file)
  return {}


def theirs(folder: str, preset: str, quick: bool) -> dict[str, Any]:
  """Seconds, peak memory and card of transformers."""
  import torch
  import transformers
  import transformers_baseline

  from cot_rm.models import qwen2_5_vl

  device = "cuda" if torch.cuda.is_available() else "cpu"
  _, inputs = pickle.loads(Path(folder, "work.pickle").read_bytes())
  wanted = transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(config(preset, quick)))
  with torch.device(device):
    model = transformers.Qwen2_5_VLForConditionalGeneration._from_config(
      wanted, dtype=torch.bfloat16, attn_implementation="sdpa"
    ).eval()
  given = {
    k: torch.tensor(np.concatenate([one[k] for one in inputs]), device=device) for k in inputs[0]
  }
  given["pixel_values"] = given["pixel_values"].to(torch.bfloat16)
  _, _, answer = work(quick)

  def run(tokens):
    out, seconds = transformers_baseline.generate(model, given, group=GROUP, tokens=tokens)
    assert out.shape == (len(inputs) * GROUP, PROMPT + tokens)
    return seconds

  run(4)
  prompt_seconds = run(1)
  found = {"seconds": run(answer), "prompt_seconds": prompt_seconds}
  if device == "cuda":
    found["peak"] = torch.cuda.max_memory_allocated()
    del model
    found["bandwidth"] = bandwidth(torch)
    found["card"] = torch.cuda.get_device_name()
  return found


def bandwidth(torch: ModuleType) -> float:
  """Bytes per second, read and written, of a large copy on the card."""
  a = torch.empty(4 << 30, dtype=torch.uint8, device="cuda").random_()
  b = torch.empty_like(a)
  best = 0.0
  for _ in range(6):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    b.copy_(a)
    end.record()
    torch.cuda.synchronize()
    best = max(best, 2 * a.nbytes / (begin.elapsed_time(end) / 1e3))
  return best


def ours(folder: str, preset: str, quick: bool, *, chunk: int) -> dict[str, Any]:
  """Seconds, peak memory and bytes per step of the sampler."""
  import jax
  import jax.numpy as jnp
  from flax import nnx

  from cot_rm.data import packing
  from cot_rm.models import qwen2_5_vl
  from cot_rm.sampler import engine, sampling
  from cot_rm.sampler.limits import Limits

  prompts, _ = pickle.loads(Path(folder, "work.pickle").read_bytes())
  c = config(preset, quick)
  model = nnx.eval_shape(lambda: qwen2_5_vl.Model(c, rngs=nnx.Rngs(0), dtype=jnp.bfloat16))
  graphdef, shapes = nnx.split(model)
  leaves, tree = jax.tree.flatten(shapes)
  draw = jax.jit(
    lambda key, shape: 0.02 * jax.random.normal(key, shape, jnp.bfloat16), static_argnums=1
  )
  keys = jax.random.split(jax.random.key(0), len(leaves))
  params = jax.tree.unflatten(
    tree, [draw(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
  )
  _, _, answer = work(quick)
  buckets = packing.Buckets(tokens=(PROMPT,), patches=(len(prompts[0].patches),), answers=())
  sampler = engine.Engine(
    graphdef,
    sampling.TokenIds(stop=(), banned=(c.image_token_id, c.video_token_id)),
    buckets=buckets,
    pack=functools.partial(packing.prompts, buckets=buckets),
    max_prompts=len(prompts),
    position_bytes=2 * c.kv_numbers_per_token,
    limits=Limits(decode_chunk=min(chunk, answer)),
  )
  how = sampling.Sampling(temperature=1.0, max_tokens=answer)
  seeds = list(range(len(prompts)))

  def run(limit):
    limits = np.full((len(prompts), GROUP), limit)
    start = time.perf_counter()
    out = sampler(params, prompts, seeds, n=GROUP, sampling=how, token_limits=limits)
    seconds = time.perf_counter() - start
    assert all(len(sample.tokens) == limit for group in out for sample in group)
    return seconds

  run(2)
  sampler.report()
  seconds = run(answer)
  stats = sampler.report()
  weights = sum(x.nbytes for x in jax.tree.leaves(params["layers"]))
  weights += 2 * c.vocab_size * c.hidden_size
  position = 2 * c.kv_numbers_per_token
  device = jax.devices()[0].memory_stats() or {}
  return {
    "seconds": seconds,
    "prompt_seconds": stats.prefill_seconds,
    "answer_seconds": stats.decode_seconds,
    "programs": stats.programs,
    "bytes": weights + len(prompts) * position * (PROMPT + GROUP * answer / 2),
    "peak": device.get("peak_bytes_in_use", float("nan")),
  }


def main() -> None:
  parser = isolated.parser(__doc__, "a tiny model, 2 questions, short answers")
  parser.add_argument("--presets", default="3b,7b")
  parser.add_argument("--chunk", type=int, default=128, help="tokens of a chunk")
  args = parser.parse_args()
  if args.one:
    do = {"make": make, "transformers": theirs, "ours": functools.partial(ours, chunk=args.chunk)}
    sys.stdout.write(json.dumps(do[args.one](args.folder, args.presets, args.quick)) + "\n")
    return
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  _, questions, answer = work(args.quick)
  tokens, found = questions * GROUP * answer, {}
  say(
    f"{'':<18}{'seconds':>9}{'tokens/s':>10}{'prompts, s':>12}{'ms a step':>11}"
    f"{'of the bound':>14}{'peak, GB':>10}"
  )
  for preset in args.presets.split(","):
    with tempfile.TemporaryDirectory() as folder:
      quick = ["--quick"] * args.quick
      given = ("--folder", folder, "--presets", preset, "--chunk", str(args.chunk), *quick)
      alone = lambda what, given=given: isolated.call(
        __file__, *given, "--one", what, platforms=None
      )
      alone("make")
      other, own = alone("transformers"), alone("ours")
    for name, r, decode in (
      ("transformers", other, other["seconds"] - other["prompt_seconds"]),
      ("ours", own, own["answer_seconds"]),
    ):
      r["bound"] = own["bytes"] / other.get("bandwidth", float("nan")) / (decode / answer)
      say(
        f"{preset + ' ' + name:<18}{r['seconds']:>9.2f}{tokens / r['seconds']:>10.0f}"
        f"{r['prompt_seconds']:>12.2f}{1e3 * decode / answer:>11.2f}{r['bound']:>14.2f}"
        f"{r.get('peak', float('nan')) / 1e9:>10.1f}"
      )
    found[preset] = {
      "tokens_per_s": round(tokens / own["seconds"], 1),
      "speedup": round(other["seconds"] / own["seconds"], 3),
      "of_the_bound": round(own["bound"], 3),
      "memory_ratio": round(own["peak"] / other.get("peak", float("nan")), 3),
    }
    if "card" in other:
      found |= {"card": other["card"], "copy_gb_per_s": round(other["bandwidth"] / 1e9)}
  say(json.dumps(found))


if __name__ == "__main__":
  main()
