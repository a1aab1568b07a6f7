"""Group rollouts beside transformers' `generate`: tokens per second and peak memory.

  python bench/sampler.py [--quick]

A random Qwen2.5-VL of about 100M parameters with the real vocabulary of 151,665 entries, float32,
on the CPU. Questions of 200 to 800 tokens with one or two pictures, 8 sampled answers each, of 16
to 256 tokens by forced lengths, the same for all. transformers has all answers in one batch, with
its KV cache and num_return_sequences. Each runs in a process of its own, after a short run that
warms and compiles. "no sharing": every answer has its question for itself. "no refill": as many
slots, but a batch of questions is answered to its last token before the next one begins. "int8":
weights of eight bits, and how far the log-probabilities of what they sample lie from those of the
model itself. Peak memory is the whole process's.
"""

import dataclasses
import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import isolated
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


OURS = {  # name: prompts answered at a time, more that wait for slots, what is done otherwise
  "ours": dict(rows=8, extra_prompts=0.5),
  "ours, no refill": dict(rows=8, extra_prompts=0.0, batches=True),
  "ours, no sharing": dict(rows=64, extra_prompts=0.0, alone=True),
  "ours, int8": dict(rows=8, extra_prompts=0.5, weights="int8"),
}


def config(quick):
  from cot_rm.models import qwen2_5_vl

  vision = qwen2_5_vl.VisionConfig(
    depth=4,
    hidden_size=256,
    intermediate_size=768,
    num_heads=4,
    out_hidden_size=512,
    full_attention_blocks=(3,),
  )
  whole = qwen2_5_vl.Config(
    vision=vision,
    vocab_size=151665,
    hidden_size=512,
    intermediate_size=1536,
    num_layers=6,
    num_heads=8,
    num_kv_heads=2,
    head_dim=64,
    mrope_section=(8, 12, 12),
    rope_theta=1e6,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=151645,
  )
  if not quick:
    return whole
  return dataclasses.replace(whole, num_layers=2)


def work(quick):
  """(parts of each question, lengths of its answers)."""
  rng = np.random.default_rng(0)
  questions, group = (4, 4) if quick else (16, 8)
  parts = []
  for _ in range(questions):
    pictures = [
      ("image", (1, 2 * int(rng.integers(4, 9)), 2 * int(rng.integers(4, 9))))
      for _ in range(rng.integers(1, 3))
    ]
    seen = sum(rows * columns // 4 + 2 for _, (_, rows, columns) in pictures)
    text = int(rng.integers(200, 800)) - seen
    parts.append([8, *pictures, max(text, 32)])
  longest = 48 if quick else 256
  return parts, rng.integers(16, longest + 1, (questions, group))


def make(folder, quick):
  """Writes the checkpoint and the questions, in torch's terms and in ours."""
  from tests.models.qwen2_5_vl import oracle

  c = config(quick)
  model = oracle.make(c)
  model.save_pretrained(folder)
  parts, lengths = work(quick)
  prompts = [oracle.prompt(some, model=model, config=c, seed=i) for i, some in enumerate(parts)]
  torch_inputs = [{k: v.numpy() for k, v in p.inputs.items()} for p in prompts]
  with open(f"{folder}/work.pickle", "wb") as file:
    pickle.dump(([p.encoded for p in prompts], torch_inputs, lengths), file)
  return {"parameters": sum(p.numel() for p in model.parameters())}


def in_torch(folder):
  """(model, all questions as one batch, each question alone, lengths, what ends their answers)."""
  import torch
  import transformers

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  _, inputs, lengths = pickle.loads(Path(folder, "work.pickle").read_bytes())
  model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
    folder, dtype=torch.float32
  ).eval()
  inputs = [{name: torch.tensor(x) for name, x in one.items()} for one in inputs]
  longest = max(one["input_ids"].shape[1] for one in inputs)
  # The last token of every prompt must stand at the end.
  padded = lambda x: torch.nn.functional.pad(x, (longest - x.shape[1], 0))
  given = {
    name: torch.cat([padded(one[name]) for one in inputs])
    for name in ("input_ids", "attention_mask", "mm_token_type_ids")
  }
  for name in ("pixel_values", "image_grid_thw"):
    given[name] = torch.cat([one[name] for one in inputs])
  wanted_B = torch.tensor(lengths.reshape(-1))

  class Ends(transformers.StoppingCriteria):
    def __call__(self, input_ids, scores, **_):
      return input_ids.shape[1] - longest >= wanted_B

  return model, given, inputs, lengths, Ends()


def theirs(folder, quick):
  import transformers_baseline

  model, given, _, lengths, ends = in_torch(folder)
  group = lengths.shape[1]
  transformers_baseline.generate(model, given, group=group, tokens=2)
  _, seconds = transformers_baseline.generate(
    model, given, group=group, tokens=int(lengths.max()), ends=ends
  )
  return {"seconds": seconds, "tokens": int(lengths.sum())}


def loaded(folder, **how):
  """(config, graphdef, parameters) of the checkpoint, as the sampler takes them.

  how: arguments of Model.
  """
  from cot_rm import host

  host.keep_memory()
  from flax import nnx

  from cot_rm.checkpoints import huggingface
  from cot_rm.models import qwen2_5_vl

  _, c, params = huggingface.load(folder)
  model = nnx.eval_shape(lambda: qwen2_5_vl.Model(c, rngs=nnx.Rngs(0), **how))
  return c, nnx.split(model)[0], params


def engine(c, graphdef, prompts, *, rows, extra_prompts):
  """The sampler of so many prompts at a time, and room for the longest of them."""
  import functools

  from cot_rm.data import packing
  from cot_rm.sampler import engine
  from cot_rm.sampler.limits import Limits
  from cot_rm.sampler.sampling import TokenIds

  longest = max(len(p.tokens) for p in prompts)
  buckets = packing.Buckets(
    tokens=(-(-longest // 64) * 64,),
    patches=(max(len(p.patches) for p in prompts),),
    answers=(),
  )
  return engine.Engine(
    graphdef,
    TokenIds(stop=(), banned=(c.image_token_id, c.video_token_id)),
    buckets=buckets,
    pack=functools.partial(packing.prompts, buckets=buckets),
    max_prompts=rows,
    position_bytes=4 * c.kv_numbers_per_token,
    limits=Limits(extra_prompts=extra_prompts),
  )


def sample(made, params, prompts, lengths, *, batches=False, alone=False):
  """(samples, seconds, figures) of answers of these lengths to these prompts.

  batches: a batch of questions, as many as are answered at a time, to its end before the next one;
  alone: every answer has a prompt for itself.
  """
  from cot_rm.sampler import sampling

  seeds, how = (
    list(range(len(prompts))),
    sampling.Sampling(temperature=1.0, max_tokens=int(lengths.max())),
  )
  if alone:
    n = lengths.shape[1]
    prompts, lengths = [one for one in prompts for _ in range(n)], lengths.reshape(-1, 1)
    seeds = list(range(len(prompts)))
  size = made.max_prompts if batches else len(prompts)
  made.report()
  start, out = time.perf_counter(), []
  for at in range(0, len(prompts), size):
    some = slice(at, at + size)
    out += made(
      params,
      prompts[some],
      seeds[some],
      n=lengths.shape[1],
      sampling=how,
      token_limits=lengths[some],
    )
  seconds = time.perf_counter() - start
  assert [[len(s.tokens) for s in group] for group in out] == lengths.tolist()
  return out, seconds, made.report()


def gap(graphdef, params, made, prompts, groups):
  """How far log-probabilities of what was sampled lie from the model's, in nats: mean, largest."""
  import dataclasses

  from cot_rm import train
  from cot_rm.data import packing

  items = [
    [packing.Item(prompt, s.tokens, s.logps) for s in group]
    for prompt, group in zip(prompts, groups, strict=True)
  ]
  longest = max(len(s.tokens) for group in groups for s in group)
  batch = packing.groups(
    items, dataclasses.replace(made.buckets, answers=(longest,)), rows=len(items)
  )
  off = np.abs(train.make_logps(graphdef)(params, batch) - batch.old_logps)
  off = off[batch.mask > 0]
  return {"gap_mean": float(off.mean()), "gap_max": float(off.max())}


def ours(folder, quick, *, rows, extra_prompts, weights="", **how):
  import jax

  from cot_rm import sharding
  from cot_rm.sampler.weight_sync import WeightSync

  prompts, _, lengths = pickle.loads(Path(folder, "work.pickle").read_bytes())
  c, graphdef, whole = loaded(folder)
  params = WeightSync(weights, sharding.make_mesh({"data": 1}, jax.devices()[:1]), {})(whole)
  made = engine(c, graphdef, prompts, rows=rows, extra_prompts=extra_prompts)
  longest = np.full_like(lengths, 2)
  longest[0, 0] = lengths.max()  # the shapes follow from the longest answer
  sample(made, params, prompts, longest, **how)
  groups, seconds, told = sample(made, params, prompts, lengths, **how)
  found = gap(graphdef, whole, made, prompts[:2], groups[:2]) if weights else {}
  return found | {
    "seconds": seconds,
    "tokens": int(lengths.sum()),
    "prompt_seconds": told.prefill_seconds,
    "occupancy": told.answer_tokens / told.decode_steps,
    "programs": told.programs,
  }


def one(who, folder, quick):
  out = theirs(folder, quick) if who == "transformers" else ours(folder, quick, **OURS[who])
  return out | {"peak": isolated.peak()}


def main():
  args = isolated.parser(__doc__, "2 layers, 4 questions, 4 answers each").parse_args()
  if args.one:
    do = make if args.one == "make" else lambda *a: one(args.one, *a)
    sys.stdout.write(json.dumps(do(args.folder, args.quick)) + "\n")
    return
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  with tempfile.TemporaryDirectory() as folder:
    quick = ["--quick"] * args.quick
    alone = lambda what: isolated.call(__file__, "--folder", folder, *quick, "--one", what)
    parts, lengths = work(args.quick)
    cores = len(os.sched_getaffinity(0))
    say(
      f"{alone('make')['parameters'] / 1e6:.0f}M parameters, {len(parts)} questions, "
      f"{lengths.shape[1]} answers each, {lengths.sum():,} tokens, {cores} cores"
    )
    say(
      f"{'':<18}{'seconds':>9}{'tokens/s':>10}{'prompts, s':>12}{'occupancy':>11}{'peak, GB':>10}"
    )
    found = {}
    for who in ("transformers", *OURS):
      found[who] = r = alone(who)
      say(
        f"{who:<18}{r['seconds']:>9.1f}{r['tokens'] / r['seconds']:>10.1f}"
        f"{r.get('prompt_seconds', float('nan')):>12.1f}{r.get('occupancy', float('nan')):>11.2f}"
        f"{r['peak'] / 1e9:>10.2f}"
      )
  ratio = lambda what, who: found[what][who] / found["ours"][who]
  say(
    json.dumps(
      {
        "speedup": round(ratio("transformers", "seconds"), 3),
        "memory_ratio": round(1 / ratio("transformers", "peak"), 3),
        "speedup_of_refill": round(ratio("ours, no refill", "seconds"), 3),
        "speedup_of_sharing": round(ratio("ours, no sharing", "seconds"), 3),
        "speedup_of_int8": round(1 / ratio("ours, int8", "seconds"), 3),
        "int8_gap_mean": found["ours, int8"]["gap_mean"],
        "int8_gap_max": found["ours, int8"]["gap_max"],
      }
    )
  )


if __name__ == "__main__":
  main()
