"""Log-probabilities of tokens on a CPU, in chunks of the vocabulary and with all logits.

  python bench/token_logps.py [--quick]

Values and both gradients of 4,096 tokens of width 512 under 151,665 words, float32. Each variant
runs in a process of its own; the time is the best of three runs after one that compiles, the memory
is the peak of the process. --quick: 256 tokens.
"""

import json
import sys
import time
from pathlib import Path
from typing import Literal

import isolated
import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WIDTH, WORDS = 512, 151_665

Variant = Literal["naive", "chunks"]
VARIANTS: tuple[Variant, ...] = ("naive", "chunks")


def measure(variant: Variant, tokens: int) -> dict[str, float]:
  """{"seconds", "peak" in bytes} of a variant."""
  from cot_rm.kernels import token_logps as kernel

  rng = np.random.default_rng(0)

  def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32) / WIDTH**0.5)

  ids = jnp.asarray(rng.integers(0, WORDS, (1, tokens)), jnp.int32)
  logps = {"chunks": kernel.token_logps, "naive": kernel.token_logps_ref}[variant]

  def total(x, w, ids):
    return logps(x, w, ids).sum()

  run = jax.jit(jax.value_and_grad(total, (0, 1)))
  inputs = normal(1, tokens, WIDTH), normal(WORDS, WIDTH), ids
  jax.block_until_ready(run(*inputs))
  times = []
  for _ in range(3):
    start = time.perf_counter()
    jax.block_until_ready(run(*inputs))
    times.append(time.perf_counter() - start)
  return {"seconds": min(times), "peak": isolated.peak()}


def main() -> None:
  """Prints seconds and peak memory of both variants, and the ratios as JSON."""
  parser = isolated.parser(__doc__, "256 tokens")
  args = parser.parse_args()
  if args.one:
    sys.stdout.write(json.dumps(measure(args.one, 256 if args.quick else 4096)) + "\n")
    return
  quick = ["--quick"] if args.quick else []
  found = {variant: isolated.call(__file__, "--one", variant, *quick) for variant in VARIANTS}
  sys.stdout.write(f"{'':<10}{'seconds':>10}{'peak, GB':>10}\n")
  for variant, r in found.items():
    sys.stdout.write(f"{variant:<10}{r['seconds']:>10.2f}{r['peak'] / 1e9:>10.2f}\n")
  ratios = {
    f"{name}_ratio": round(found["chunks"][key] / found["naive"][key], 3)
    for name, key in (("time", "seconds"), ("memory", "peak"))
  }
  sys.stdout.write(json.dumps(ratios) + "\n")


if __name__ == "__main__":
  main()
