"""What the sampler's program for a TPU moves to make a token, by the TPU compiler.

  python bench/decode_tpu.py [--quick] [--chunk 64]

Needs no TPU: libtpu compiles the program that makes a chunk of tokens of 64 answers, 8 of each of
8 questions of 1,024 tokens, room for 512 in each, bfloat16. Bytes that must move for a token of
each: the decoder and the head once, the questions' keys and values once, the answers' own, half of
their room on average. Bytes moved are those of HBM that the compiled program reads and writes, its
work between chunks shared out; cycles are the compiler's own estimate. Of several chips all is one
chip's. --quick: the tiny preset.
"""

import json
import sys
import time
from pathlib import Path

import compile as pod
import isolated
from tpu import hlo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PROMPTS, GROUP, PROMPT, ANSWER = 8, 8, 1024, 512
# Several chips share weights, keys and values over "tensor": the 7b's weights alone fill a v5e.
CASES = [("3b", "v5e:1x1"), ("7b", "v5e:2x2"), ("3b", "v6e:1x1"), ("7b", "v6e:1x1")]
RULES = {axis: "tensor" for axis in ("vocab", "heads", "kv_heads", "mlp")}


def compiled(c, topology, chunk):
  """(the program of `chunk` tokens, as the engine makes it for TPUs; how many chips it is for)."""
  from tpu import chips

  from cot_rm import sharding

  how = {"chips_per_host_bounds": [1, 1, 1]} if topology.endswith(":1x1") else {}
  mesh = sharding.make_mesh({"tensor": -1}, chips.devices(topology, **how))
  with sharding.use(mesh, RULES):
    lowered = pod.lower_decode_chunk(
      pod.Placement(c, mesh, RULES),
      prompts=PROMPTS,
      group=GROUP,
      prompt=PROMPT,
      answer=ANSWER,
      chunk=chunk,
    )
    return lowered.compile(), mesh.size


def needed(c):
  """Bytes that a token of each answer needs."""
  q, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  layer = c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
  weights = c.num_layers * layer + c.vocab_size * c.hidden_size
  positions = PROMPTS * (PROMPT + GROUP * ANSWER / 2)
  return 2 * (weights + c.kv_numbers_per_token * positions)


def measure(preset, topology, chunk):
  from tpu.chips import CHIPS

  from cot_rm.models import qwen2_5_vl

  c = qwen2_5_vl.PRESETS[preset]
  start = time.perf_counter()
  program, count = compiled(c, topology, chunk)
  seconds = time.perf_counter() - start
  memory, text = program.memory_analysis(), hlo.Program(program.as_text())
  moved, sheet = text.moved(), CHIPS[topology.partition(":")[0]]
  return {
    "compile_s": seconds,
    "needed": needed(c) / count,
    "moved": moved.bytes / chunk,
    "cycles": moved.cycles / chunk,
    "bound_cycles": needed(c) / count / sheet.bandwidth * sheet.clock,
    "arguments": memory.argument_size_in_bytes,
    "temp": memory.temp_size_in_bytes,
  }


def main():
  parser = isolated.parser(__doc__, "the tiny preset, on one chip")
  parser.add_argument("--chunk", type=int, default=64, help="tokens between two looks at ends")
  args = parser.parse_args()
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  heads = ("needed, MB", "moved, MB", "ratio", "cycles", "bound", "args, GB", "temp, GB", "compile")
  say(f"{'':<14}" + "".join(f"{head:>13}" for head in heads))
  found = {}
  for preset, topology in [("tiny", "v5e:1x1")] if args.quick else CASES:
    r = measure(preset, topology, args.chunk)
    r["ratio"] = r["moved"] / r["needed"]
    say(
      f"{preset + ' ' + topology:<14}{r['needed'] / 1e6:>13,.1f}{r['moved'] / 1e6:>13,.1f}"
      f"{r['ratio']:>13.3f}{r['cycles']:>13,.0f}{r['bound_cycles']:>13,.0f}"
      f"{r['arguments'] / 1e9:>13.2f}{r['temp'] / 1e9:>13.2f}{r['compile_s']:>11.0f} s"
    )
    found[f"{preset} {topology}"] = {k: round(v, 3) for k, v in r.items()}
  say(json.dumps(found))


if __name__ == "__main__":
  main()
