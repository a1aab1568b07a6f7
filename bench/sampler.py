"""Group rollouts beside transformers' `generate`: tokens per second and peak memory.

  python bench/sampler.py [--quick]

A random Qwen2.5-VL of about 100M parameters with the real vocabulary of 151,665 entries, float32,
on the CPU. Questions of 200 to 800 tokens with one or two pictures, 8 sampled answers each, of 16
to 256 tokens by forced lengths, the same for all. transformers has all answers in one batch, with
its KV cache and num_return_sequences. Each runs in a process of its own, after a short run that
warms and compiles. "no sharing": every answer has a prompt slot of its own. "no refill": as many
slots, but a batch of questions is answered to its last token before the next one begins. "int8":
weights of eight bits, and the gap between the log-probabilities of their samples and those of the
model itself. Peak memory is that of the whole process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import isolated
import numpy as np

if TYPE_CHECKING:
  import torch
  import transformers
  from flax import nnx

  from cot_rm.batch import Encoded
  from cot_rm.models.qwen2_5_vl import Config
  from cot_rm.sampler.engine import Engine
  from cot_rm.sampler.request import Sample
  from cot_rm.sampler.stats import Stats
  from cot_rm.sampler.weight_sync import WeightFormat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


OURS = {  # name: arguments of `ours`
  "ours": dict(max_prompts=8, extra_prompts=0.5),
  "ours, no refill": dict(max_prompts=8, extra_prompts=0.0, batches=True),
  "ours, no sharing": dict(max_prompts=64, extra_prompts=0.0, alone=True),
  "ours, int8": dict(max_prompts=8, extra_prompts=0.5, weights="int8"),
}


def config(quick: bool) -> Config:
  """The model's config; quick: of 2 layers."""
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


def work(quick: bool) -> tuple[list[list[Any]], np.ndarray]:
  """(parts of each question for oracle.prompt, lengths of its answers int[questions, group])."""
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


def make(folder: str, quick: bool) -> dict[str, int]:
  """Writes the checkpoint and the questions, as inputs of transformers and as Encoded."""
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


def in_torch(
  folder: str,
) -> tuple[
  transformers.PreTrainedModel,
  dict[str, torch.Tensor],
  list[dict[str, torch.Tensor]],
  np.ndarray,
  transformers.StoppingCriteria,
]:
  """(model, all questions as one batch, each question alone, lengths, stopping criterion)."""
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
  given = {
    name: torch.cat(
      [torch.nn.functional.pad(one[name], (longest - one[name].shape[1], 0)) for one in inputs]
    )
    for name in ("input_ids", "attention_mask", "mm_token_type_ids")
  }
  for name in ("pixel_values", "image_grid_thw"):
    given[name] = torch.cat([one[name] for one in inputs])
  wanted_B = torch.tensor(lengths.reshape(-1))

  class Ends(transformers.StoppingCriteria):
    def __call__(self, input_ids, scores, **_):
      return input_ids.shape[1] - longest >= wanted_B

  return model, given, inputs, lengths, Ends()


def theirs(folder: str, quick: bool) -> dict[str, float]:
  """Seconds and tokens of transformers."""
  import transformers_baseline

  model, given, _, lengths, ends = in_torch(folder)
  group = lengths.shape[1]
  transformers_baseline.generate(model, given, group=group, tokens=2)
  _, seconds = transformers_baseline.generate(
    model, given, group=group, tokens=int(lengths.max()), ends=ends
  )
  return {"seconds": seconds, "tokens": int(lengths.sum())}


def loaded(folder: str, *, remat: bool = False) -> tuple[Config, nnx.GraphDef, nnx.State]:
  """(config, graphdef, parameters) of the checkpoint; remat: of the model."""
  from cot_rm import host

  host.keep_memory()
  from flax import nnx

  from cot_rm.checkpoints import huggingface
  from cot_rm.models import qwen2_5_vl

  _, c, params = huggingface.load(folder)
  model = nnx.eval_shape(lambda: qwen2_5_vl.Model(c, rngs=nnx.Rngs(0), remat=remat))
  return c, nnx.split(model)[0], params


def engine(
  c: Config,
  graphdef: nnx.GraphDef,
  prompts: list[Encoded],
  *,
  max_prompts: int,
  extra_prompts: float,
) -> Engine:
  """An engine with one bucket, which holds the longest of the prompts."""
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
    max_prompts=max_prompts,
    position_bytes=4 * c.kv_numbers_per_token,
    limits=Limits(extra_prompts=extra_prompts),
  )


def sample(
  sampler: Engine,
  params: nnx.State,
  prompts: list[Encoded],
  lengths: np.ndarray,
  *,
  batches: bool = False,
  alone: bool = False,
) -> tuple[list[list[Sample]], float, Stats]:
  """(samples, seconds, stats) of answers of given lengths.

  Args:
    sampler: the engine.
    params: of the model.
    prompts: Encoded.
    lengths: int[prompts, group], tokens of each answer.
    batches: finish each batch of max_prompts prompts before the next one begins.
    alone: every answer has a prompt slot of its own.
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
  size = sampler.max_prompts if batches else len(prompts)
  sampler.report()
  start, out = time.perf_counter(), []
  for at in range(0, len(prompts), size):
    some = slice(at, at + size)
    out += sampler(
      params,
      prompts[some],
      seeds[some],
      n=lengths.shape[1],
      sampling=how,
      token_limits=lengths[some],
    )
  seconds = time.perf_counter() - start
  assert [[len(s.tokens) for s in group] for group in out] == lengths.tolist()
  return out, seconds, sampler.report()


def gap(
  graphdef: nnx.GraphDef,
  params: nnx.State,
  sampler: Engine,
  prompts: list[Encoded],
  groups: list[list[Sample]],
) -> dict[str, float]:
  """Mean and largest gap of the samples' log-probabilities to those of the model, in nats."""
  import dataclasses

  from cot_rm import train
  from cot_rm.data import packing

  items = [
    [packing.Item(prompt, s.tokens, s.logps) for s in group]
    for prompt, group in zip(prompts, groups, strict=True)
  ]
  longest = max(len(s.tokens) for group in groups for s in group)
  batch = packing.groups(
    items, dataclasses.replace(sampler.buckets, answers=(longest,)), rows=len(items)
  )
  off = np.abs(train.make_logps(graphdef)(params, batch) - batch.old_logps)
  off = off[batch.mask > 0]
  return {"gap_mean": float(off.mean()), "gap_max": float(off.max())}


def ours(
  folder: str,
  quick: bool,
  *,
  max_prompts: int,
  extra_prompts: float,
  weights: WeightFormat = "",
  batches: bool = False,
  alone: bool = False,
) -> dict[str, float]:
  """Seconds, tokens and stats of the sampler; see `sample`."""
  import jax

  from cot_rm import sharding
  from cot_rm.sampler.weight_sync import WeightSync

  prompts, _, lengths = pickle.loads(Path(folder, "work.pickle").read_bytes())
  c, graphdef, trained = loaded(folder)
  params = WeightSync(weights, sharding.make_mesh({"data": 1}, jax.devices()[:1]), {})(trained)
  sampler = engine(c, graphdef, prompts, max_prompts=max_prompts, extra_prompts=extra_prompts)
  how = dict(batches=batches, alone=alone)
  longest = np.full_like(lengths, 2)
  longest[0, 0] = lengths.max()  # the shapes follow from the longest answer
  sample(sampler, params, prompts, longest, **how)
  groups, seconds, stats = sample(sampler, params, prompts, lengths, **how)
  found = gap(graphdef, trained, sampler, prompts[:2], groups[:2]) if weights else {}
  return found | {
    "seconds": seconds,
    "tokens": int(lengths.sum()),
    "prompt_seconds": stats.prefill_seconds,
    "occupancy": stats.answer_tokens / stats.decode_steps,
    "programs": stats.programs,
  }


def one(who: str, folder: str, quick: bool) -> dict[str, float]:
  """The result of one side, with the peak memory of this process."""
  out = theirs(folder, quick) if who == "transformers" else ours(folder, quick, **OURS[who])
  return out | {"peak": isolated.peak()}


def main() -> None:
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
