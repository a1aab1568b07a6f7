"""HBM traffic of the sampler's decode_chunk on TPUs, per token, from the TPU compiler.

  python bench/decode_tpu.py [--quick] [--chunk 64]

Needs no TPU: libtpu compiles decode_chunk for 64 answers, 8 to each of 8 prompts of 1,024 tokens,
with up to 512 tokens each, bfloat16. Bytes that must move for a token of each answer: the decoder
and the head once, keys and values of the prompts once, and those of the answers at half of their
final length. Bytes moved are the HBM reads and writes of the compiled program, with the work
between chunks spread over its tokens; cycles are the compiler's estimate. For several chips all
numbers are per chip. --quick: the tiny preset.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import compile as pod
import isolated
from tpu import hlo

if TYPE_CHECKING:
  import jax

  from cot_rm.models.qwen2_5_vl import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PROMPTS, GROUP, PROMPT, ANSWER = 8, 8, 1024, 512
# Several chips share weights, keys and values over "tensor": the 7b's weights alone fill a v5e.
CASES = [("3b", "v5e:1x1"), ("7b", "v5e:2x2"), ("3b", "v6e:1x1"), ("7b", "v6e:1x1")]
RULES = {axis: "tensor" for axis in ("vocab", "heads", "kv_heads", "mlp")}


def compiled(c: Config, topology: str, chunk: int) -> tuple[jax.stages.Compiled, int]:
  """(decode_chunk of `chunk` tokens, as the engine compiles it for TPUs; number of chips)."""
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


def needed(c: Config) -> float:
  """Bytes that must move for one token of each answer."""
  q, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  layer = c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
  weights = c.num_layers * layer + c.vocab_size * c.hidden_size
  positions = PROMPTS * (PROMPT + GROUP * ANSWER / 2)
  return 2 * (weights + c.kv_numbers_per_token * positions)


def measure(preset: str, topology: str, chunk: int) -> dict[str, float]:
  """Bytes, cycles and compile time of one model on one topology."""
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


def main() -> None:
  parser = isolated.parser(__doc__, "the tiny preset, on one chip")
  parser.add_argument("--chunk", type=int, default=64, help="tokens of a chunk")
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
