"""Log-probabilities of tokens on a CPU, in chunks of the vocabulary and with all logits.

  python bench/token_logps.py [--quick]

Values and both gradients for 4,096 tokens of width 512 and 151,665 words, float32; each in a
process of its own, the best of three after one that compiles. Peak memory is the process's.
--quick: 256 tokens.
"""

import json
import sys
import time
from pathlib import Path

import isolated

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WIDTH, WORDS = 512, 151_665


def measure(how, tokens):
  """{"seconds", "peak" in bytes} of one way."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from cot_rm.kernels import token_logps as kernel

  rng = np.random.default_rng(0)
  some = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32) / WIDTH**0.5)
  ids = jnp.asarray(rng.integers(0, WORDS, (1, tokens)), jnp.int32)
  f = {"chunks": kernel.token_logps, "naive": kernel.token_logps_ref}[how]
  run = jax.jit(jax.value_and_grad(lambda x, w, ids: f(x, w, ids).sum(), (0, 1)))
  given = some(1, tokens, WIDTH), some(WORDS, WIDTH), ids
  once = lambda: jax.block_until_ready(run(*given))
  once()
  times = []
  for _ in range(3):
    start = time.perf_counter()
    once()
    times.append(time.perf_counter() - start)
  return {"seconds": min(times), "peak": isolated.peak()}


def main():
  parser = isolated.parser(__doc__, "256 tokens")
  args = parser.parse_args()
  tokens = 256 if args.quick else 4096
  if args.one:
    sys.stdout.write(json.dumps(measure(args.one, tokens)) + "\n")
    return
  quick = ["--quick"] if args.quick else []
  found = {how: isolated.call(__file__, "--one", how, *quick) for how in ("naive", "chunks")}
  say = lambda line: sys.stdout.write(line + "\n")
  say(f"{'':<10}{'seconds':>10}{'peak, GB':>10}")
  for how, r in found.items():
    say(f"{how:<10}{r['seconds']:>10.2f}{r['peak'] / 1e9:>10.2f}")
  ratio = lambda what: round(found["chunks"][what] / found["naive"][what], 3)
  say(json.dumps({"time_ratio": ratio("seconds"), "memory_ratio": ratio("peak")}))


if __name__ == "__main__":
  main()
