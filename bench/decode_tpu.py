"""What the sampler's program for a TPU moves to make a token, by the TPU compiler.

  python bench/decode_tpu.py [--quick] [--chunk 64]

Needs no TPU: libtpu compiles the program that makes a chunk of tokens of 64 answers, 8 of each of
8 questions of 1,024 tokens, room for 512 in each, bfloat16. Bytes that must move for a token of
each: the decoder and the head once, the questions' keys and values once, the answers' own, half of
their room on average. Bytes moved are those of HBM that the compiled program reads and writes, its
work between chunks shared out; cycles are the compiler's own estimate. --quick: the tiny preset.
"""

import functools
import json
import sys
import time
from pathlib import Path

import apart
import hlo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SEATS, GROUP, PROMPT, ANSWER = 8, 8, 1024, 512
CASES = [("3b", "v5e"), ("3b", "v6e"), ("7b", "v6e")]  # the 7b's weights alone fill a v5e


def compiled(c, chip, chunk):
  """The program of `chunk` tokens, as the engine makes it for a TPU."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  from flax import nnx

  from cot_rm.kernels import chips
  from cot_rm.models import attention, qwen2_5_vl
  from cot_rm.sampler import programs, sampling

  shapes = lambda: jax.tree.map(
    lambda x: x.astype(jnp.bfloat16), nnx.state(qwen2_5_vl.Model(c, rngs=nnx.Rngs(0)))
  )
  graphdef, _ = nnx.split(
    nnx.eval_shape(lambda: qwen2_5_vl.Model(c, rngs=nnx.Rngs(0), dtype=jnp.bfloat16))
  )
  *_, write = programs.make(
    graphdef,
    stop_ids=(c.eos_token_id,),
    banned_ids=(c.image_token_id, c.video_token_id),
    watched_ids=(),
    stacked=True,
  )

  def memory():
    kept = functools.partial(attention.empty_kept, SEATS, c.num_kv_heads, c.head_dim)
    read = kept(PROMPT, jnp.bfloat16, layers=(c.num_layers,))
    return programs.empty(read, seats=SEATS, slots=SEATS * GROUP, parts=(ANSWER,))

  B = SEATS * GROUP
  slots = programs.Slots(np.zeros(B, bool), *[np.zeros(B, np.int32)] * 7)
  slots = slots._replace(seed_B=np.zeros(B, np.uint32))
  seats = programs.Seats(np.zeros((SEATS, PROMPT), bool), np.zeros((SEATS, GROUP), np.int32))
  given = jax.eval_shape(shapes), jax.eval_shape(memory), seats, slots
  how = sampling.Sampling(temperature=1.0, max_tokens=ANSWER)
  layout = chips.one(chip)
  with jax.set_mesh(layout.mesh):
    return write.lower(*chips.on(layout, given), sampling=how, size=chunk).compile()


def needed(c):
  """Bytes that a token of each answer needs."""
  q, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  layer = c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
  weights = c.num_layers * layer + c.vocab_size * c.hidden_size
  positions = SEATS * (PROMPT + GROUP * ANSWER / 2)
  return 2 * (weights + c.kept_numbers * positions)


def measure(preset, chip, chunk):
  from cot_rm.kernels.chips import CHIPS
  from cot_rm.models import qwen2_5_vl

  c = qwen2_5_vl.PRESETS[preset]
  start = time.perf_counter()
  program = compiled(c, chip, chunk)
  seconds = time.perf_counter() - start
  memory, text = program.memory_analysis(), hlo.Program(program.as_text())
  moved, sheet = text.moved(), CHIPS[chip]
  return {
    "compile_s": seconds,
    "needed": needed(c),
    "moved": moved.bytes / chunk,
    "cycles": moved.cycles / chunk,
    "bound_cycles": needed(c) / sheet.bandwidth * sheet.clock,
    "arguments": memory.argument_size_in_bytes,
    "temp": memory.temp_size_in_bytes,
  }


def main():
  parser = apart.parser(__doc__, "the tiny preset, on one chip")
  parser.add_argument("--chunk", type=int, default=64, help="tokens between two looks at ends")
  args = parser.parse_args()
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  heads = ("needed, MB", "moved, MB", "ratio", "cycles", "bound", "args, GB", "temp, GB", "compile")
  say(f"{'':<10}" + "".join(f"{head:>13}" for head in heads))
  found = {}
  for preset, chip in [("tiny", "v5e")] if args.quick else CASES:
    r = measure(preset, chip, args.chunk)
    r["ratio"] = r["moved"] / r["needed"]
    say(
      f"{preset + ' ' + chip:<10}{r['needed'] / 1e6:>13,.1f}{r['moved'] / 1e6:>13,.1f}"
      f"{r['ratio']:>13.3f}{r['cycles']:>13,.0f}{r['bound_cycles']:>13,.0f}"
      f"{r['arguments'] / 1e9:>13.2f}{r['temp'] / 1e9:>13.2f}{r['compile_s']:>11.0f} s"
    )
    found[f"{preset} {chip}"] = {k: round(v, 3) for k, v in r.items()}
  say(json.dumps(found))


if __name__ == "__main__":
  main()
