"""Programs of a run on a TPU pod, compiled without one: memory, flops and collectives of a chip.

  python bench/compile.py [--quick]
  python bench/compile.py --preset 3b --topology v5e:2x4 --fsdp 8 --rows 8 --programs sft,rl

Needs no TPU: libtpu compiles the 7b preset for v5e:8x8, 64 chips of 16 GB, with the weights sharded
over all chips (fsdp 64), and over 16 with each shard divided by 4 (fsdp 16, tensor 4). Training:
float32 weights and AdamW moments, bfloat16 products, rematerialized activations, 64 sequences of
4,096 tokens with two pictures of 448 pixels each; in RL 3,072 of the tokens are the prompt's. The
sampler: bfloat16; prefill of 64 such prompts, and a chunk of 64 tokens of 8 answers to each.

Printed for a chip: the size of the arguments, flops, and the bytes of the results of collectives,
with loops by their trip counts. Each is the compiled program's, with its deviation from a count by
hand that covers matrices alone. Flops of kernels are in neither.
--quick: the tiny preset on 8 chips.
--preset, --topology, --fsdp, --tensor, --rows, --programs: another model, slice, mesh, number of
sequences and prompts, and a choice of programs.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import isolated
import jax
import jax.numpy as jnp
import numpy as np
from tpu import chips, hlo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs import base  # noqa: E402
from cot_rm import optim, sharding, train  # noqa: E402
from cot_rm.algorithms import aggregation, grpo, sft  # noqa: E402
from cot_rm.batch import Batch, Pictures  # noqa: E402
from cot_rm.models import kv_cache, qwen2_5_vl  # noqa: E402
from cot_rm.sampler import programs  # noqa: E402
from cot_rm.sampler.sampling import Sampling, TokenIds  # noqa: E402

ROWS, TOKENS, ANSWER, PATCHES = 64, 4096, 1024, 2 * 32 * 32
GROUP, MAX_ANSWER, CHUNK, PREFILL_CHUNK = 8, 512, 64, 1024  # of the sampler
Program = Literal["sft", "rl", "prefill", "decode"]
PROGRAMS: tuple[Program, ...] = get_args(Program)


@dataclasses.dataclass(frozen=True)
class Slice:
  """A TPU slice, the sharding of the weights over its chips, and the size of a batch."""

  topology: str  # "v5e:8x8"
  fsdp: int
  tensor: int = 1
  rows: int = ROWS  # sequences of a train step, prompts of the sampler

  def __str__(self) -> str:
    tensor = f" x tensor {self.tensor}" if self.tensor > 1 else ""
    return f"{self.topology}, fsdp {self.fsdp}{tensor}"


SLICES = (Slice("v5e:8x8", 64), Slice("v5e:8x8", 16, 4))
QUICK = (Slice("v5e:2x4", 8),)


@dataclasses.dataclass(frozen=True)
class Placement:
  """A model and the mesh that it runs on."""

  config: qwen2_5_vl.Config
  mesh: jax.sharding.Mesh
  rules: sharding.Rules
  rows: int = ROWS

  def layout(self, *axes: str | None) -> jax.NamedSharding:
    """Layout of an array by its logical axes."""
    return jax.NamedSharding(self.mesh, sharding.spec(axes, self.rules))

  def shape(
    self, dtype: str, *sizes: int, axes: tuple[str, ...] = ("batch",)
  ) -> jax.ShapeDtypeStruct:
    """Shape of an array with its layout."""
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=self.layout(*axes))

  def with_layouts(self, tree: object) -> object:
    """Shapes of parameters with the layouts of their logical axes."""

    def with_layout(x, layout):
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)

    return jax.tree.map(with_layout, tree, sharding.shardings_of(tree, self.mesh, self.rules))

  def batch(self, tokens: int, pictures: bool = True, **fields: object) -> Batch:
    """Shapes of a batch of rows of `tokens` tokens; fields: further fields of Batch."""
    integers = functools.partial(self.shape, "int32", self.rows)
    floats = functools.partial(self.shape, "float32", self.rows)
    seen = Pictures(
      floats(PATCHES, self.config.vision.patch_dim),
      integers(PATCHES, 2),
      integers(PATCHES),
      integers(PATCHES),
    )
    return Batch(
      tokens=integers(tokens),
      positions=integers(tokens, 3),
      segments=integers(tokens),
      visual=integers(tokens),
      mask=floats(tokens),
      pictures=seen if pictures else None,
      **fields,
    )


def lower_train_step(place: Placement, program: Literal["sft", "rl"]) -> jax.stages.Lowered:
  """A train step, lowered."""
  graphdef, params = train.abstract_model(
    lambda rngs: qwen2_5_vl.Model(place.config, rngs=rngs, dtype=jnp.bfloat16, remat=True)
  )
  knobs = base.get_config()
  tx, _ = optim.make(steps=100, **knobs.sft.optim)
  state = jax.eval_shape(
    lambda params: train.TrainState(jnp.zeros((), jnp.int32), params, tx.init(params)), params
  )
  if program == "sft":
    batch, loss = place.batch(TOKENS), sft.loss
  else:
    row = place.shape("float32", place.rows, ANSWER)
    prompts = place.batch(TOKENS - ANSWER)
    batch = place.batch(
      ANSWER, False, old_logps=row, ref_logps=row, advantages=row, prompts=prompts
    )
    settings = grpo.Config(max_tokens=8, **knobs.rl.settings.grpo)
    loss = functools.partial(grpo.loss, settings=settings)
  step = train.make_step(
    graphdef,
    loss,
    tx,
    sharding.shardings_of(state, place.mesh, place.rules),
    token_weights=functools.partial(aggregation.token_weights, aggregate="token"),
    frozen=knobs.sft.optim.frozen,
  )
  return step.lower(place.with_layouts(state), batch, 1e-5)


def sampler_programs(place: Placement) -> tuple[object, programs.Programs]:
  """(shapes of bfloat16 weights, the sampler's programs)."""
  c = place.config
  graphdef, params = train.abstract_model(
    lambda rngs: qwen2_5_vl.Model(c, rngs=rngs, dtype=jnp.bfloat16)
  )
  params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), params)
  ids = TokenIds(stop=(c.eos_token_id,), banned=(c.image_token_id, c.video_token_id))
  compiled = programs.make(graphdef, ids, prefill_chunk=PREFILL_CHUNK, stacked=True)
  return place.with_layouts(params), compiled


def lower_decode_chunk(
  place: Placement, *, prompts: int, group: int, prompt: int, answer: int, chunk: int
) -> jax.stages.Lowered:
  """decode_chunk of `group` samples of each of `prompts` prompts, lowered.

  Args:
    place: model and mesh.
    prompts: number of prompts.
    group: samples of a prompt.
    prompt: positions of a prompt.
    answer: tokens of an answer, at most.
    chunk: tokens of the chunk.
  """
  params, compiled = sampler_programs(place)
  c, B = place.config, prompts * group

  def empty_cache():
    prefilled = kv_cache.empty_kv_cache(
      prompts, c.num_kv_heads, c.head_dim, prompt, jnp.bfloat16, layers=(c.num_layers,)
    )
    return programs.empty_cache(prefilled, prompt_slots=prompts, decode_slots=B, parts=(answer,))

  layout = place.layout(None, *kv_cache.KV_AXES)
  cache = chips.on(layout, jax.eval_shape(empty_cache))
  slots = programs.DecodeSlots(np.zeros(B, bool), *[np.zeros(B, np.int32)] * 7)
  slots = slots._replace(seed_B=np.zeros(B, np.uint32))
  slots = jax.tree.map(lambda x: place.shape(x.dtype, *x.shape), slots)
  prompt_slots = programs.PromptSlots(
    place.shape("bool", prompts, prompt), place.shape("int32", prompts, group)
  )
  sampling = Sampling(temperature=1.0, max_tokens=answer)
  return compiled.decode_chunk.lower(
    params, cache, prompt_slots, slots, sampling=sampling, size=chunk
  )


def lower_sampler(place: Placement, program: Literal["prefill", "decode"]) -> jax.stages.Lowered:
  """The sampler's prefill or decode_chunk, lowered."""
  if program == "decode":
    return lower_decode_chunk(
      place, prompts=place.rows, group=GROUP, prompt=TOKENS, answer=MAX_ANSWER, chunk=CHUNK
    )
  params, compiled = sampler_programs(place)
  return compiled.prefill.lower(params, place.batch(TOKENS))


@dataclasses.dataclass(frozen=True)
class Weights:
  """Numbers in a model's matrices, counted by hand; vectors are left out."""

  layer: int  # of the decoder
  down: int  # of a layer's last projection
  block: int  # of the vision tower
  block_down: int  # of a block's last projection
  merger: int
  patch: int  # of the patch embedding
  words: int  # of the embeddings, and of the head


def weights(c: qwen2_5_vl.Config) -> Weights:
  """Weights of a model."""
  width, v = c.hidden_size, c.vision
  down, block_down = width * c.intermediate_size, v.hidden_size * v.intermediate_size
  merged = v.hidden_size * v.merge_size**2
  return Weights(
    layer=2 * width * (c.num_heads + c.num_kv_heads) * c.head_dim + 3 * down,
    down=down,
    block=4 * v.hidden_size**2 + 3 * block_down,
    block_down=block_down,
    merger=merged**2 + merged * v.out_hidden_size,
    patch=v.patch_dim * v.hidden_size,
    words=c.vocab_size * width,
  )


def hand_flops(c: qwen2_5_vl.Config, program: Program, rows: int = ROWS) -> float:
  """Flops of all matrix products but attention's and the loss's, by hand, all chips together."""
  w, v = weights(c), c.vision
  merger = w.merger / v.merge_size**2
  if program == "decode":
    return 2 * rows * GROUP * (c.num_layers * w.layer + w.words)
  if program == "prefill":
    vision = v.depth * w.block + merger + w.patch
    return 2 * rows * (TOKENS * c.num_layers * w.layer + PATCHES * vision)
  # Forward, recomputation, and two gradients; a layer's last projection is not recomputed.
  text = c.num_layers * (4 * w.layer - w.down)
  vision = v.depth * (4 * w.block - w.block_down) + 3 * merger + 2 * w.patch
  return 2 * rows * (TOKENS * text + PATCHES * vision)


def hand_arguments(c: qwen2_5_vl.Config, program: Program, pod: Slice) -> float:
  """Bytes of a chip's arguments by hand: weights, moments, a batch, the KV cache."""
  w, v = weights(c), c.vision
  vision = v.depth * w.block + w.merger + w.patch
  words = w.words * (1 if c.tie_word_embeddings else 2)
  shards = pod.fsdp * pod.tensor
  if program == "decode":
    cache = 2 * c.kv_numbers_per_token * pod.rows * (TOKENS + GROUP * MAX_ANSWER)
    return (2 * (c.num_layers * w.layer + words) + cache) / shards
  # Prefill does not use the head.
  matrices = c.num_layers * w.layer + vision + (w.words if program == "prefill" else words)
  state = matrices * (2 if program == "prefill" else 12) / shards
  # Of a token: itself, three positions, segment, visual token, mask; in RL old and reference
  # log-probabilities and advantage of an answer's token.
  text = 4 * (7 * TOKENS + (3 * ANSWER if program == "rl" else 0))
  return state + pod.rows * (text + 4 * PATCHES * (v.patch_dim + 4)) / pod.fsdp


def hand_sent(c: qwen2_5_vl.Config, program: Program, pod: Slice) -> float:
  """Bytes of the results of a chip's collectives, by hand.

  Weights, in bfloat16, for each pass that needs them, and their gradients; over `tensor` two sums
  of activations per layer and pass, of which the second is not recomputed.
  """
  w, v = weights(c), c.vision
  text, vision, once = c.num_layers * w.layer, v.depth * w.block, w.words + w.merger
  rows = pod.rows // pod.fsdp
  sums = 2 * rows * TOKENS * c.hidden_size * c.num_layers
  vision_sums = 2 * rows * PATCHES * v.hidden_size * v.depth
  if program == "decode":  # and the logits of a chip's own rows, from which it samples
    numbers = text + w.words
    sums = 2 * 2 * rows * GROUP * c.hidden_size * c.num_layers
    vision_sums = 4 * c.vocab_size * rows * GROUP
  elif program == "prefill":
    numbers = text * (TOKENS // PREFILL_CHUNK) + vision + w.merger
    sums, vision_sums = 2 * sums, 2 * vision_sums
  else:  # in RL prompts and answers are passes of their own
    numbers = 3 * ((2 if program == "rl" else 1) * text + vision) + 2 * once
    sums, vision_sums = 5 * sums, 5 * vision_sums
  return 2 * numbers / pod.tensor + (sums + vision_sums if pod.tensor > 1 else 0)


def measure(preset: str, pod: Slice, program: Program) -> dict[str, object]:
  """Figures of one compiled program of a preset on a slice, and those counted by hand."""
  devices = chips.devices(pod.topology)
  mesh = sharding.make_mesh(dict(data=1, fsdp=pod.fsdp, tensor=pod.tensor), devices)
  is_train = program in ("sft", "rl")
  rules = base.get_config().mesh["train_rules" if is_train else "sample_rules"].to_dict()
  place = Placement(qwen2_5_vl.PRESETS[preset], mesh, rules, pod.rows)
  start = time.perf_counter()
  with sharding.use(mesh, rules):
    compiled = (lower_train_step if is_train else lower_sampler)(place, program).compile()
  seconds = time.perf_counter() - start
  memory, text = compiled.memory_analysis(), hlo.Program(compiled.as_text())
  held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  tokens = CHUNK if program == "decode" else 1  # figures of decoding are those of one token
  return {
    "compile_s": round(seconds, 1),
    "arguments": memory.argument_size_in_bytes,
    "temp": memory.temp_size_in_bytes,
    "total": held + memory.temp_size_in_bytes,
    "memory": chips.CHIPS[pod.topology.split(":")[0]].memory,
    "flops": text.flops() / tokens,
    "hand_flops": hand_flops(place.config, program, pod.rows) / mesh.size,
    "hand_arguments": hand_arguments(place.config, program, pod),
    "sent": {kind: size / tokens for kind, size in text.sent().items()},
    "hand_sent": hand_sent(place.config, program, pod),
  }


def _say(line: str) -> None:
  sys.stdout.write(line + "\n")
  sys.stdout.flush()


def _print_row(title: str, found: Mapping[str, object]) -> dict[str, object]:
  """Prints the figures of a program; returns them with their deviations from the hand's."""
  sent = sum(found["sent"].values())
  kinds = ", ".join(f"{kind} {size / 1e9:.3g}" for kind, size in sorted(found["sent"].items()))
  figures = {"arguments": found["arguments"], "flops": found["flops"], "sent": sent}
  off = {name: value / found[f"hand_{name}"] - 1 for name, value in figures.items()}
  fits = found["total"] < found["memory"]
  _say(
    f"{title:<36}{found['arguments'] / 1e9:>10.2f}{off['arguments']:>+10.2%}"
    f"{found['temp'] / 1e9:>10.2f}{found['total'] / 1e9:>10.2f}"
    f"{'yes' if fits else 'NO':>10}{found['flops'] / 1e12:>10.3f}"
    f"{off['flops']:>+10.2%}{sent / 1e9:>10.2f}{off['sent']:>+10.2%}{found['compile_s']:>8.0f} s"
    f"  {kinds}"
  )
  off = {f"{name}_off": round(value, 4) for name, value in off.items()}
  return {**found, **off, "fits": fits}


def main() -> None:
  """Prints a row of figures per slice and program, and all of them as JSON."""
  parser = isolated.parser(__doc__, "the tiny preset on 8 chips")
  parser.add_argument("--preset", default="7b")
  parser.add_argument("--topology", help="a TPU slice, as v5e:4x4, instead of the two of v5e:8x8")
  parser.add_argument("--fsdp", type=int, default=1)
  parser.add_argument("--tensor", type=int, default=1)
  parser.add_argument("--rows", type=int, default=ROWS, help="sequences of a step, prompts")
  parser.add_argument("--programs", default=",".join(PROGRAMS))
  args = parser.parse_args()
  if args.one:
    preset, pod, program = json.loads(args.one)
    sys.stdout.write(json.dumps(measure(preset, Slice(**pod), program)) + "\n")
    return
  pods = QUICK if args.quick else SLICES
  if args.topology:
    pods = (Slice(args.topology, args.fsdp, args.tensor, args.rows),)
  preset = "tiny" if args.quick else args.preset
  heads = ("args, GB", "by hand", "temp, GB", "in all", "fits", "Tflop", "by hand")
  heads += ("sent, GB", "by hand", "compile")
  _say(f"{preset:<36}" + "".join(f"{head:>10}" for head in heads) + "  collectives, GB a chip")
  rows = {}
  for pod in pods:
    for program in args.programs.split(","):
      part = json.dumps([preset, dataclasses.asdict(pod), program])
      found = isolated.call(__file__, "--one", part)
      rows[f"{pod}, {program}"] = _print_row(f"{pod}, {program}", found)
  _say(json.dumps(rows))


if __name__ == "__main__":
  main()
