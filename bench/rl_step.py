"""One step of RL beside the same work in transformers and torch: seconds by phase, peak memory.

  python bench/rl_step.py [--quick]

The model and the work of bench/sampler.py: about 100M parameters with the real vocabulary, float32,
on the CPU; 16 questions with pictures, 8 sampled answers each, of 16 to 256 tokens. A step is a
rollout, the old and the reference policy's log-probabilities, GRPO's loss and gradients, and AdamW.

transformers: `generate` with all answers in one batch; then a question at a time, its 8 answers in
one forward of prompt and answer, logits of the answers alone; gradients add up over questions.
Ours: the sampler; its log-probabilities are the old ones, as it samples what the trainer trains; a
prompt and its pictures go once through the model for its 8 answers, forward and backward; layers'
activations are computed again (config.model.remat). Each runs in a process of its own, ours
compiled and torch's `generate` warm. Peak memory is the whole process's.
"""

import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import isolated
import numpy as np
import sampler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LR, CLIP, KL = 1e-6, 0.2, 0.04
PHASES = ("rollout", "old", "reference", "update")


class Clock:
  """Measures the seconds of consecutive phases."""

  def __init__(self):
    self.seconds, self._last = {}, time.perf_counter()

  def __call__(self, phase: str) -> None:
    """Ends a phase."""
    now = time.perf_counter()
    self.seconds[phase], self._last = now - self._last, now


def advantages(lengths: np.ndarray) -> np.ndarray:
  """f32[Q, G] from random rewards: the measurement does not depend on them."""
  rewards = np.random.default_rng(1).integers(0, 2, lengths.shape).astype(np.float32)
  off = rewards - rewards.mean(1, keepdims=True)
  return off / (rewards.std(1, keepdims=True, ddof=1) + 1e-4)


def theirs(folder: str, quick: bool) -> dict[str, float]:
  """Seconds of each phase in transformers and torch."""
  import torch
  import transformers_baseline

  model, given, inputs, lengths, ends = sampler.in_torch(folder)
  group, longest = lengths.shape[1], given["input_ids"].shape[1]
  reference = type(model).from_pretrained(folder, dtype=torch.float32).eval()
  optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
  worth = torch.tensor(advantages(lengths))
  transformers_baseline.generate(model, given, group=group, tokens=2)

  clock = Clock()
  out, _ = transformers_baseline.generate(
    model, given, group=group, tokens=int(lengths.max()), ends=ends
  )
  answers = out[:, longest:].reshape(*lengths.shape, -1)
  clock("rollout")
  answered = lambda q: (inputs[q], answers[q][:, : lengths[q].max()])
  with torch.no_grad():
    old = [transformers_baseline.logps(model, *answered(q)) for q in range(len(inputs))]
    clock("old")
    anchor = [transformers_baseline.logps(reference, *answered(q)) for q in range(len(inputs))]
    clock("reference")
  for q in range(len(inputs)):
    logps = transformers_baseline.logps(model, *answered(q))
    mask = torch.arange(logps.shape[1]) < torch.tensor(lengths[q])[:, None]
    ratio = torch.exp(logps - old[q])
    gain = worth[q][:, None]
    loss = -torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
    apart_by = anchor[q] - logps
    loss = loss + KL * (torch.exp(apart_by) - apart_by - 1)
    loss = ((loss * mask).sum(1) / mask.sum(1)).sum() / lengths.size
    loss.backward()
  torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
  optimizer.step()
  optimizer.zero_grad()
  clock("update")
  return clock.seconds


def ours(folder: str, quick: bool) -> dict[str, float]:
  """Seconds of each phase in cot_rm."""
  import dataclasses
  import functools

  import jax

  from configs import base
  from cot_rm import optim, sharding, train
  from cot_rm.algorithms import aggregation, grpo
  from cot_rm.data import packing

  prompts, _, lengths = pickle.loads(Path(folder, "work.pickle").read_bytes())
  c, graphdef, params = sampler.loaded(folder, remat=True)
  mesh, rules = sharding.make_mesh({"data": 1}), {}
  knobs = base.get_config()
  given = dict(clip_low=CLIP, clip_high=CLIP, kl=KL, max_tokens=8)
  settings = grpo.Config(**knobs.rl.settings.grpo.to_dict() | given)
  tx, rate = optim.make(**knobs.sft.optim.to_dict() | dict(lr=LR, steps=100, warmup=1))
  reference = jax.tree.map(lambda x: x.copy(), params)
  state, shardings = train.init_state(params, tx, mesh, rules)
  del params
  step = train.make_step(
    graphdef,
    functools.partial(grpo.loss, settings=settings),
    tx,
    shardings,
    token_weights=functools.partial(aggregation.token_weights, aggregate=settings.aggregate),
    frozen=knobs.sft.optim.frozen,
    accumulate=len(prompts),
  )
  engine = sampler.engine(c, graphdef, prompts, **sampler.OURS["ours"])
  buckets = dataclasses.replace(engine.buckets, answers=(int(lengths.max()),))
  worth = advantages(lengths)

  def packed(groups):
    items = [
      [packing.Item(prompt, s.tokens, s.logps, gain) for s, gain in zip(group, gains, strict=True)]
      for prompt, group, gains in zip(prompts, groups, worth, strict=True)
    ]
    return packing.groups(items, buckets, rows=len(prompts))

  # Programs are compiled before the clock starts.
  few = np.full_like(lengths, 2)
  few[0, 0] = lengths.max()
  sample = lambda lengths: sampler.sample(engine, state.params, prompts, lengths)[0]
  batch = packed(sample(few))
  logps = train.jit_logps(graphdef, accumulate=len(prompts)).lower(reference, batch).compile()
  batch = dataclasses.replace(batch, ref_logps=batch.old_logps)
  update = step.lower(state, batch, rate(1)).compile()

  clock = Clock()
  groups = sample(lengths)
  clock("rollout")
  batch = packed(groups)
  clock("old")
  batch = dataclasses.replace(batch, ref_logps=np.asarray(logps(reference, batch)))
  clock("reference")
  state, found = update(state, batch, rate(1))
  train.check_finite(jax.device_get(found), 1)
  clock("update")
  return clock.seconds


def one(who: str, folder: str, quick: bool) -> dict[str, float]:
  """The result of one side, with the peak memory of this process."""
  out = {"transformers": theirs, "ours": ours}[who](folder, quick)
  return out | {"peak": isolated.peak()}


def main() -> None:
  args = isolated.parser(__doc__, "2 layers, 4 questions, 4 answers each").parse_args()
  if args.one:
    do = sampler.make if args.one == "make" else lambda *a: one(args.one, *a)
    sys.stdout.write(json.dumps(do(args.folder, args.quick)) + "\n")
    return
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  with tempfile.TemporaryDirectory() as folder:
    quick = ["--quick"] * args.quick
    alone = lambda what: isolated.call(__file__, "--folder", folder, *quick, "--one", what)
    parts, lengths = sampler.work(args.quick)
    say(
      f"{alone('make')['parameters'] / 1e6:.0f}M parameters, {len(parts)} questions, "
      f"{lengths.shape[1]} answers each, {lengths.sum():,} tokens, "
      f"{len(os.sched_getaffinity(0))} cores"
    )
    say(f"{'seconds':<14}" + "".join(f"{p:>12}" for p in (*PHASES, "whole", "peak, GB")))
    found = {}
    for who in ("transformers", "ours"):
      found[who] = r = alone(who)
      r["whole"] = sum(r[phase] for phase in PHASES)
      say(
        f"{who:<14}"
        + "".join(f"{r[p]:>12.1f}" for p in (*PHASES, "whole"))
        + f"{r['peak'] / 1e9:>12.2f}"
      )
  their, own = found["transformers"], found["ours"]
  ratio = lambda phase: round(their[phase] / own[phase], 3)
  say(
    json.dumps(
      {
        "speedup": ratio("whole"),
        "memory_ratio": round(own["peak"] / their["peak"], 3),
        "speedup_of_rollout": ratio("rollout"),
        "speedup_of_reference": ratio("reference"),
        "speedup_of_update": ratio("update"),
      }
    )
  )


if __name__ == "__main__":
  main()
