"""Batch, chunk and KV-cache limits, and the capacity that follows."""

import dataclasses

from cot_rm import sharding
from cot_rm.sampler.weight_sync import WEIGHT_FORMATS, WeightFormat

# Parts of the answer cache on a CPU; parts that no sample has reached are not read. A GPU or TPU
# would wait longer for that decision, made once per layer, than it takes to read all positions.
CPU_CACHE_PARTS = 4


@dataclasses.dataclass(frozen=True)
class Shape:
  """Sizes on which the KV cache of the prompts of one bucket depends."""

  prompt: int  # positions of a prompt, padding included
  answer: int  # tokens of an answer, at most
  group: int  # samples of a prompt that are decoded at the same time
  position_bytes: int  # bytes of the keys and values of one position, all layers
  divisor: int = 1  # must divide the number of prompts, see distributed.batch_divisor
  shards: int = 1  # of the slots of this process, see distributed.num_local_batch_shards


@dataclasses.dataclass(frozen=True)
class Capacity:
  """Sizes of the arrays in which a process samples the prompts of one bucket."""

  prompt_slots: int
  decode_slots: int
  group: int  # samples of a prompt that are decoded at the same time
  shards: int  # of prompt slots and of decode slots; a sample is in the shard of its prompt
  prefill_batch: int  # prompts of a prefill
  cache_parts: tuple[int, ...]  # positions of each part of the answer cache
  kv_bytes: int


@dataclasses.dataclass(frozen=True)
class Limits:
  """Batch, chunk and KV-cache limits of the sampler."""

  max_group: int = 0  # samples of a prompt that are decoded at the same time; 0: all
  decode_chunk: int = 16  # tokens decoded before the host checks which samples have ended
  prefill_chunk: int = 2048  # prompt positions that go through the model at a time; 0: all
  kv_memory: int = 0  # bytes of keys and values, at most; 0: no limit but max_prompts
  extra_prompts: float = 0.5  # prompt slots for prompts that wait, as a fraction of max_prompts
  weights: WeightFormat = ""  # format of the sampler's weights; "": as the trainer has them

  def __post_init__(self) -> None:
    for name, valid, wanted in (
      ("max_group", self.max_group >= 0, "0 or more"),
      ("decode_chunk", self.decode_chunk > 0, "1 or more"),
      ("prefill_chunk", self.prefill_chunk >= 0, "0 or more"),
      ("kv_memory", self.kv_memory >= 0, "0 or more"),
      ("extra_prompts", self.extra_prompts >= 0, "0 or more"),
      ("weights", self.weights in WEIGHT_FORMATS, f"one of {WEIGHT_FORMATS}"),
    ):
      if not valid:
        raise ValueError(
          f"{name} of the sampler's limits (config.sampler.{name}) is {getattr(self, name)!r}; it "
          f"must be {wanted}"
        )

  def cache_parts(self, answer: int) -> tuple[int, ...]:
    """Number of positions in each part of an answer's cache: equal parts of whole chunks.

    On a CPU up to CPU_CACHE_PARTS parts, without the answer's last chunk, which is never read
    again; so an answer of one chunk needs no cache. On other platforms (sharding.platform()) one
    part with all chunks, as a TPU's kernel reads whole blocks.

    Args:
      answer: tokens of an answer, at most.
    """
    on_cpu = sharding.platform() == "cpu"
    max_parts, unread = (CPU_CACHE_PARTS, 1) if on_cpu else (1, 0)
    chunks = -(-answer // self.decode_chunk) - unread
    chunks_per_part = max(-(-chunks // max_parts), 1)
    return (chunks_per_part * self.decode_chunk,) * -(-chunks // chunks_per_part)

  def prompt_slots(self, prompts: int, *, group: int, shards: int = 1) -> int:
    """Number of prompt slots when `prompts` are answered at a time; a multiple of `shards`.

    More than `prompts`: a group holds its prompt slot until its longest sample has ended, and the
    decode slots that its other samples have freed by then are filled from other prompts. If the
    number of decode slots (prompts * group) is not a multiple of `shards`, no slots are sharded.
    """
    multiple = shards if prompts * group % shards == 0 else 1
    return -(-int(prompts * (1 + self.extra_prompts)) // multiple) * multiple

  def prefill_batch(self, prompts: int, divisor: int = 1) -> int:
    """Number of prompts per prefill: a quarter of `prompts`, rounded to a multiple of `divisor`."""
    return max(prompts // 4 // divisor, 1) * divisor

  def kv_bytes(self, prompts: int, shape: Shape) -> int:
    """Bytes of keys and values when `prompts` are answered at a time.

    The sum over the prompt slots, the prompts of one prefill, the answers and the chunk buffer.
    """
    slots = self.prompt_slots(prompts, group=shape.group, shards=shape.shards)
    prompt_positions = (slots + self.prefill_batch(prompts, shape.divisor)) * shape.prompt
    answer_positions = sum(self.cache_parts(shape.answer)) + self.decode_chunk
    return shape.position_bytes * (prompt_positions + prompts * shape.group * answer_positions)

  def longest_prompt(self, shape: Shape) -> int:
    """Positions of the longest prompt that fits kv_memory if shape.divisor prompts run at a time.

    shape: sizes of the KV cache; its field `prompt` is ignored.
    """

    def positions(prompt):
      one = dataclasses.replace(shape, prompt=prompt, position_bytes=1)
      return self.kv_bytes(shape.divisor, one)

    per_position = positions(1) - positions(0)
    return max(self.kv_memory // shape.position_bytes - positions(0), 0) // per_position

  def num_prompts(self, max_prompts: int, shape: Shape, *, example_id: str) -> int:
    """Number of prompts answered at a time: as many as fit kv_memory, at most `max_prompts`.

    It is a multiple of shape.divisor, and at least shape.divisor.

    Args:
      max_prompts: the caller's limit.
      shape: sizes of the KV cache of these prompts.
      example_id: id of a prompt of this shape, for the error message.

    Raises:
      ValueError: not even shape.divisor prompts fit.
    """
    found = max(max_prompts // shape.divisor, 1) * shape.divisor
    while self.kv_memory and found > shape.divisor and self.kv_bytes(found, shape) > self.kv_memory:
      found -= shape.divisor
    needed = self.kv_bytes(found, shape)
    if self.kv_memory and needed > self.kv_memory:
      raise ValueError(
        f"example {example_id!r}: {found} prompts of {shape.prompt:,} tokens with {shape.group} "
        f"answers of {shape.answer:,} tokens each need {needed:,} bytes of keys and values; "
        f"kv_memory of the sampler's limits is {self.kv_memory:,}: raise it (config.sampler."
        f"kv_memory), or lower max_group, extra_prompts or the sampling's max_tokens"
      )
    return found

  def capacity(self, max_prompts: int, shape: Shape, *, example_id: str) -> Capacity:
    """The Capacity for prompts of a shape; arguments and errors are those of `num_prompts`."""
    prompts = self.num_prompts(max_prompts, shape, example_id=example_id)
    decode_slots = prompts * shape.group
    return Capacity(
      prompt_slots=self.prompt_slots(prompts, group=shape.group, shards=shape.shards),
      decode_slots=decode_slots,
      group=shape.group,
      shards=1 if decode_slots % shape.shards else shape.shards,
      prefill_batch=self.prefill_batch(prompts, shape.divisor),
      cache_parts=self.cache_parts(shape.answer),
      kv_bytes=self.kv_bytes(prompts, shape),
    )
