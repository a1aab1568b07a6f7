"""Whether the keys and values of a stage's answers fit, by the sampler's own count of bytes."""

import jax
import numpy as np
from jax.sharding import Mesh

from cot_rm import distributed, host, sharding
from cot_rm.checkpoints import huggingface
from cot_rm.sampler import limits
from cot_rm.stages import common, preflight


def check(
  checks: preflight.Checks,
  config: common.Section,
  folder: str | None,
  *,
  max_tokens: tuple[str, int],
  prompts: tuple[str, int],
  samples: tuple[str, int] = ("", 1),
) -> None:
  """Adds a fault where the shortest prompts with the longest answers need more than there is.

  Args:
    checks: of the stage.
    config: the whole config.
    folder: has the config.json of the model; None: it is not known yet.
    max_tokens: (knob, value) of the tokens of an answer, at most.
    prompts: (knob, value) of the prompts that are answered at the same time, at most.
    samples: (knob, value) of the answers to a prompt.
  """
  if folder is None:
    return
  with checks.catching():
    bounds = limits.Limits(**config.sampler)
    mesh = sharding.make_mesh((config.mesh.sample_shape or config.mesh.shape).to_dict())
    with sharding.use(mesh, config.mesh.sample_rules.to_dict()):
      shape = limits.Shape(
        prompt=min(config.buckets.tokens),
        answer=max_tokens[1],
        group=min(samples[1], bounds.max_group or samples[1]),
        position_bytes=_position_bytes(config, folder),
        divisor=distributed.batch_divisor(),
        shards=distributed.num_local_batch_shards(),
      )
      # With kv_memory as many prompts as fit are answered together, and at least these.
      count = shape.divisor if bounds.kv_memory else max(prompts[1], shape.divisor)
      needed = bounds.kv_bytes(count, shape)
    available, limit = _available(bounds, mesh)
    answers = f"{shape.group:,} answers" if shape.group > 1 else "an answer"
    others = ", ".join([prompts[0], *([samples[0]] if shape.group > 1 else [])])
    checks.require(
      needed <= available,
      f"{max_tokens[0]} is {max_tokens[1]:,}: the keys and values of {count:,} prompts of "
      f"{shape.prompt:,} tokens, each with {answers} of that length, need "
      f"{preflight.size(needed)}, and {limit} {preflight.size(available)}; lower it, or "
      f"{others}, or set config.sampler.kv_memory to what there is",
    )


def _position_bytes(config: common.Section, folder: str) -> int:
  """Bytes of the keys and values of a position, all layers, as judge.load has them."""
  _, model = huggingface.read_config(folder)
  as_bfloat16 = config.sampler.weights == "bfloat16"
  dtype = "bfloat16" if as_bfloat16 else config.model.compute_dtype or config.model.dtype
  return model.kv_numbers_per_token * jax.numpy.dtype(dtype).itemsize


def _available(bounds: limits.Limits, mesh: Mesh) -> tuple[int, str]:
  """(bytes for keys and values, whose they are, in words)."""
  if bounds.kv_memory:
    return bounds.kv_memory, "config.sampler.kv_memory is"
  devices = mesh.local_devices
  if devices[0].platform == "cpu":
    return host.memory(), "this machine has"
  each = [(device.memory_stats() or {}).get("bytes_limit", np.inf) for device in devices]
  return sum(each), f"the {len(devices)} devices of this process have"
