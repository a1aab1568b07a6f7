"""The programs of a run on a pod of TPUs, compiled without one: do they fit, and what do they send?

  python bench/compile.py [--quick]
  python bench/compile.py --preset 3b --topology v5e:2x4 --fsdp 8 --rows 8 --programs sft,rl

Needs no TPU: libtpu compiles the 7b preset for v5e:8x8, 64 chips of 16 GB, with the weights over
all of them (fsdp 64), and over 16 with each part shared by 4 (fsdp 16, tensor 4). Training: float32
weights and AdamW's moments, products in bfloat16, activations computed again in the backward pass,
64 sequences of 4,096 tokens, each with two pictures of 448 pixels; of RL 3,072 are the prompt's.
The sampler: bfloat16; 64 prompts of 4,096 tokens with their pictures, and a chunk of 64 tokens of
8 answers to each.

What a chip is given, its flops, and the bytes that come out of its collectives, loops as often as
they turn: each is the compiled program's, beside how far it is off a count by hand, of matrices
alone. Flops of kernels are left out of both.
--quick: the tiny preset on 8 chips.
--preset, --topology, --fsdp, --tensor, --rows, --programs: another model, slice, mesh, number of
sequences and prompts, and only some of the programs.
"""

import dataclasses
import functools
import json
import sys
import time
from pathlib import Path

import isolated
from tpu import hlo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

ROWS, TOKENS, ANSWER, PATCHES = 64, 4096, 1024, 2 * 32 * 32
GROUP, ROOM, CHUNK, PIECE = 8, 512, 64, 1024
PROGRAMS = ("sft", "rl", "prefill", "decode")


@dataclasses.dataclass(frozen=True)
class Slice:
  """A TPU slice, how its chips share the weights, and the size of a batch."""

  topology: str  # "v5e:8x8"
  fsdp: int
  tensor: int = 1
  rows: int = ROWS  # sequences of a train step, prompts of the sampler

  def __str__(self):
    tensor = f" x tensor {self.tensor}" if self.tensor > 1 else ""
    return f"{self.topology}, fsdp {self.fsdp}{tensor}"


SLICES = (Slice("v5e:8x8", 64), Slice("v5e:8x8", 16, 4))
QUICK = (Slice("v5e:2x4", 8),)


@dataclasses.dataclass(frozen=True)
class Place:
  """A model and where it is to run."""

  config: object
  mesh: object
  rules: dict
  rows: int = ROWS

  def layout(self, *axes):
    import jax

    from cot_rm import sharding

    return jax.NamedSharding(self.mesh, sharding.spec(axes, self.rules))

  def shape(self, dtype, *sizes, axes=("batch",)):
    import jax

    return jax.ShapeDtypeStruct(sizes, dtype, sharding=self.layout(*axes))

  def laid(self, tree):
    """Shapes of a tree, laid out by the logical axes of its parameters."""
    import jax

    from cot_rm import sharding

    put = lambda x, layout: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)
    return jax.tree.map(put, tree, sharding.shardings_of(tree, self.mesh, self.rules))

  def batch(self, tokens, pictures=True, **more):
    from cot_rm.batch import Batch, Pictures

    whole, real = (
      functools.partial(self.shape, dtype, self.rows) for dtype in ("int32", "float32")
    )
    numbers = self.config.vision.patch_dim
    seen = Pictures(real(PATCHES, numbers), whole(PATCHES, 2), whole(PATCHES), whole(PATCHES))
    return Batch(
      tokens=whole(tokens),
      positions=whole(tokens, 3),
      segments=whole(tokens),
      visual=whole(tokens),
      mask=real(tokens),
      pictures=seen if pictures else None,
      **more,
    )


def training(place, what):
  """A train step, lowered."""
  import jax
  import jax.numpy as jnp

  from cot_rm import optim, sharding, train
  from cot_rm.algorithms import aggregation, grpo, sft
  from cot_rm.models import qwen2_5_vl

  graphdef, params = train.abstract_model(
    lambda rngs: qwen2_5_vl.Model(place.config, rngs=rngs, dtype=jnp.bfloat16, remat=True)
  )
  tx, _ = optim.make(lr=1e-5, steps=100, warmup=10, frozen=())
  state = jax.eval_shape(
    lambda params: train.TrainState(jnp.zeros((), jnp.int32), params, tx.init(params)), params
  )
  if what == "sft":
    batch, loss = place.batch(TOKENS), sft.loss
  else:
    one = place.shape("float32", place.rows, ANSWER)
    batch = place.batch(
      ANSWER, False, old_logps=one, ref_logps=one, advantages=one,
      prompts=place.batch(TOKENS - ANSWER),
    )  # fmt: skip
    loss = functools.partial(grpo.loss, settings=grpo.Config(max_tokens=8))
  step = train.make_step(
    graphdef,
    loss,
    tx,
    sharding.shardings_of(state, place.mesh, place.rules),
    token_weights=functools.partial(aggregation.token_weights, aggregate="token"),
  )
  return step.lower(place.laid(state), batch, 1e-5)


def programs_of(place):
  """(parameters, Programs): shapes of bfloat16 weights, and the sampler's programs for them."""
  import jax
  import jax.numpy as jnp

  from cot_rm import train
  from cot_rm.models import qwen2_5_vl
  from cot_rm.sampler import programs
  from cot_rm.sampler.sampling import TokenIds

  c = place.config
  graphdef, params = train.abstract_model(
    lambda rngs: qwen2_5_vl.Model(c, rngs=rngs, dtype=jnp.bfloat16)
  )
  params = place.laid(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), params))
  ids = TokenIds(stop=(c.eos_token_id,), banned=(c.image_token_id, c.video_token_id))
  return params, programs.make(graphdef, ids, prefill_chunk=PIECE, stacked=True)


def decoding(place, *, prompts, group, prompt, answer, chunk):
  """decode_chunk of `group` samples of each of `prompts` prompts, lowered.

  Args:
    prompt: positions of a prompt.
    answer: tokens of an answer, at most.
    chunk: tokens of the chunk.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  from cot_rm.models import kv_cache
  from cot_rm.sampler import programs
  from cot_rm.sampler import sampling as draw

  params, compiled = programs_of(place)
  c, B = place.config, prompts * group
  prefilled = functools.partial(kv_cache.empty_kv_cache, prompts, c.num_kv_heads, c.head_dim)
  cache = jax.eval_shape(
    lambda: programs.empty_cache(
      prefilled(prompt, jnp.bfloat16, layers=(c.num_layers,)),
      prompt_slots=prompts,
      decode_slots=B,
      parts=(answer,),
    )
  )
  rows = place.layout(None, *kv_cache.KV_AXES)
  cache = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), cache)
  slots = programs.DecodeSlots(np.zeros(B, bool), *[np.zeros(B, np.int32)] * 7)
  slots = slots._replace(seed_B=np.zeros(B, np.uint32))
  slots = jax.tree.map(lambda x: place.shape(x.dtype, *x.shape), slots)
  prompt_slots = programs.PromptSlots(
    place.shape("bool", prompts, prompt), place.shape("int32", prompts, group)
  )
  how = draw.Sampling(temperature=1.0, max_tokens=answer)
  return compiled.decode_chunk.lower(params, cache, prompt_slots, slots, sampling=how, size=chunk)


def sampling(place, what):
  """The sampler's prefill, or its decode_chunk, lowered."""
  if what == "decode":
    return decoding(place, prompts=place.rows, group=GROUP, prompt=TOKENS, answer=ROOM, chunk=CHUNK)
  params, compiled = programs_of(place)
  return compiled.prefill.lower(params, place.batch(TOKENS))


@dataclasses.dataclass(frozen=True)
class Weights:
  """How many numbers a model's matrices have, by hand; vectors are left out."""

  layer: int
  down: int  # of a layer, what it ends with
  block: int  # of the vision tower
  seen_down: int
  merger: int
  patch: int
  words: int


def weights(c):
  width, v = c.hidden_size, c.vision
  down, seen_down = width * c.intermediate_size, v.hidden_size * v.intermediate_size
  wide = v.hidden_size * v.merge_size**2
  return Weights(
    layer=2 * width * (c.num_heads + c.num_kv_heads) * c.head_dim + 3 * down,
    down=down,
    block=4 * v.hidden_size**2 + 3 * seen_down,
    seen_down=seen_down,
    merger=wide**2 + wide * v.out_hidden_size,
    patch=v.patch_dim * v.hidden_size,
    words=c.vocab_size * width,
  )


def products(c, what, rows=ROWS):
  """Flops of all products but the attention's and the loss's, by hand, all chips together."""
  w, v = weights(c), c.vision
  merger = w.merger / v.merge_size**2
  if what == "decode":
    return 2 * rows * GROUP * (c.num_layers * w.layer + w.words)
  if what == "prefill":
    pictures = v.depth * w.block + merger + w.patch
    return 2 * rows * (TOKENS * c.num_layers * w.layer + PATCHES * pictures)
  # Forward, again, and two gradients; what a layer ends with need not be made again.
  text = c.num_layers * (4 * w.layer - w.down)
  pictures = v.depth * (4 * w.block - w.seen_down) + 3 * merger + 2 * w.patch
  return 2 * rows * (TOKENS * text + PATCHES * pictures)


def arguments(c, what, fsdp, tensor, rows=ROWS):
  """Bytes of what a chip is given, by hand: weights, moments, a batch, keys and values."""
  w, v = weights(c), c.vision
  seen = v.depth * w.block + w.merger + w.patch
  words = w.words * (1 if c.tie_word_embeddings else 2)
  share = fsdp * tensor
  if what == "decode":
    token = 2 * 2 * c.num_layers * c.num_kv_heads * c.head_dim
    kept = token * rows * (TOKENS + GROUP * ROOM)
    return (2 * (c.num_layers * w.layer + words) + kept) / share
  # Prompts are read without the head.
  matrices = c.num_layers * w.layer + seen + (w.words if what == "prefill" else words)
  kept = matrices * (2 if what == "prefill" else 12) / share
  # Of a token itself, three positions, a segment, its picture, its mask; old and reference
  # log-probabilities and advantages of an answer's.
  text = 4 * (7 * TOKENS + (3 * ANSWER if what == "rl" else 0))
  return kept + rows * (text + 4 * PATCHES * (v.patch_dim + 4)) / fsdp


def sending(c, what, fsdp, tensor, rows=ROWS):
  """Bytes that come out of a chip's collectives, by hand.

  Weights, in bfloat16, for each pass that needs them, and their gradients; over `tensor` two sums
  of activations a layer and pass, of which the second need not be made again.
  """
  w, v = weights(c), c.vision
  text, seen, once = c.num_layers * w.layer, v.depth * w.block, w.words + w.merger
  rows = rows // fsdp
  sums = 2 * rows * TOKENS * c.hidden_size * c.num_layers
  seen_sums = 2 * rows * PATCHES * v.hidden_size * v.depth
  if what == "decode":  # and logits, of its own rows, on each chip that draws for them
    numbers = text + w.words
    sums, seen_sums = 2 * 2 * rows * GROUP * c.hidden_size * c.num_layers, 4 * c.vocab_size * rows
    seen_sums *= GROUP
  elif what == "prefill":
    numbers = text * (TOKENS // PIECE) + seen + w.merger
    sums, seen_sums = 2 * sums, 2 * seen_sums
  else:  # of RL prompts and answers pass apart
    numbers = 3 * ((2 if what == "rl" else 1) * text + seen) + 2 * once
    sums, seen_sums = 5 * sums, 5 * seen_sums
  return 2 * numbers / tensor + (sums + seen_sums if tensor > 1 else 0)


def measure(preset, pod, what):
  """What the compiler says of one program of a preset on a Slice, and the count by hand."""
  from tpu import chips

  from configs import base
  from cot_rm import sharding
  from cot_rm.models import qwen2_5_vl

  fsdp, tensor, rows = pod.fsdp, pod.tensor, pod.rows
  mesh = sharding.make_mesh(dict(data=1, fsdp=fsdp, tensor=tensor), chips.devices(pod.topology))
  train = what in ("sft", "rl")
  rules = base.get_config().mesh["train_rules" if train else "sample_rules"].to_dict()
  place = Place(qwen2_5_vl.PRESETS[preset], mesh, rules, rows)
  start = time.perf_counter()
  with sharding.use(mesh, rules):
    program = (training if train else sampling)(place, what).compile()
  seconds = time.perf_counter() - start
  memory, text = program.memory_analysis(), hlo.Program(program.as_text())
  held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  found = {
    "compile_s": round(seconds, 1),
    "arguments": memory.argument_size_in_bytes,
    "temp": memory.temp_size_in_bytes,
    "total": held + memory.temp_size_in_bytes,
    "memory": chips.CHIPS[pod.topology.split(":")[0]].memory,
    "flops": text.flops() / (CHUNK if what == "decode" else 1),
    "hand_flops": products(place.config, what, rows) / mesh.size,
    "hand_arguments": arguments(place.config, what, fsdp, tensor, rows),
    "sent": {k: size / (CHUNK if what == "decode" else 1) for k, size in text.sent().items()},
    "hand_sent": sending(place.config, what, fsdp, tensor, rows),
  }
  return found


def main():
  parser = isolated.parser(__doc__, "the tiny preset on 8 chips")
  parser.add_argument("--preset", default="7b")
  parser.add_argument("--topology", help="a TPU slice, as v5e:4x4, instead of the two of v5e:8x8")
  parser.add_argument("--fsdp", type=int, default=1)
  parser.add_argument("--tensor", type=int, default=1)
  parser.add_argument("--rows", type=int, default=ROWS, help="sequences of a step, prompts")
  parser.add_argument("--programs", default=",".join(PROGRAMS))
  args = parser.parse_args()
  if args.one:
    preset, pod, what = json.loads(args.one)
    sys.stdout.write(json.dumps(measure(preset, Slice(**pod), what)) + "\n")
    return
  pods = QUICK if args.quick else SLICES
  if args.topology:
    pods = (Slice(args.topology, args.fsdp, args.tensor, args.rows),)
  preset = "tiny" if args.quick else args.preset
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  heads = ("args, GB", "by hand", "temp, GB", "in all", "fits", "Tflop", "by hand")
  heads += ("sent, GB", "by hand", "compile")
  say(f"{preset:<36}" + "".join(f"{head:>10}" for head in heads) + "  collectives, GB a chip")
  out = {}
  for pod in pods:
    for what in args.programs.split(","):
      part = json.dumps([preset, dataclasses.asdict(pod), what])
      r = isolated.call(__file__, "--one", part)
      sent = sum(r["sent"].values())
      kinds = ", ".join(f"{kind} {size / 1e9:.3g}" for kind, size in sorted(r["sent"].items()))
      pairs = ("arguments", r["arguments"]), ("flops", r["flops"]), ("sent", sent)
      off = {name: value / r[f"hand_{name}"] - 1 for name, value in pairs}
      fits = r["total"] < r["memory"]
      say(
        f"{f'{pod}, {what}':<36}{r['arguments'] / 1e9:>10.2f}{off['arguments']:>+10.2%}"
        f"{r['temp'] / 1e9:>10.2f}{r['total'] / 1e9:>10.2f}"
        f"{'yes' if fits else 'NO':>10}{r['flops'] / 1e12:>10.3f}"
        f"{off['flops']:>+10.2%}{sent / 1e9:>10.2f}{off['sent']:>+10.2%}{r['compile_s']:>8.0f} s"
        f"  {kinds}"
      )
      off = {f"{name}_off": round(value, 4) for name, value in off.items()}
      out[f"{pod}, {what}"] = r | off | {"fits": fits}
  say(json.dumps(out))


if __name__ == "__main__":
  main()
