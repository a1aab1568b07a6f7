"""What the sampler may hold at a time, and how many prompts that is."""

import dataclasses

import jax

from cot_rm.sampler.weight_sync import KEPT

# Of an answer: those that no sample needs yet are not read. A GPU or TPU would wait longer for the
# decision, once a layer, than it takes to read all.
PARTS, ELSEWHERE = 4, 1


@dataclasses.dataclass(frozen=True)
class Room:
  """What the sampler holds at a time."""

  together: int = 0  # samples of a prompt that are made at a time, at most; 0: all
  chunk: int = 16  # tokens between two looks at what has ended
  piece: int = 2048  # positions of prompts that go through the model at a time; 0: all
  memory: int = 0  # bytes of keys and values, at most; 0: what `rows` prompts take
  spare: float = 0.5  # seats for prompts that wait, a share of those that are answered at a time
  weights: str = ""  # as what weights are kept, of weights.KEPT; "": as the trainer has them

  def __post_init__(self):
    for name, good in (
      ("together", self.together >= 0),
      ("chunk", self.chunk > 0),
      ("piece", self.piece >= 0),
      ("memory", self.memory >= 0),
      ("spare", self.spare >= 0),
      ("weights", self.weights in KEPT),
    ):
      if not good:
        raise ValueError(f"config.sampler.{name} is {getattr(self, name)!r}")

  def parts(self, answer):
    """Sizes of the parts in which an answer's positions are held: whole chunks, all alike.

    On a CPU all but the last chunk, which nobody reads again: of an answer of one chunk nothing.
    Elsewhere all of it: a TPU's kernel reads whole blocks.
    """
    most, last = (PARTS, 1) if jax.default_backend() == "cpu" else (ELSEWHERE, 0)
    chunks = -(-answer // self.chunk) - last
    each = max(-(-chunks // most), 1)
    return (each * self.chunk,) * -(-chunks // each)

  def seats(self, rows, group, shares=1):
    """Prompts that are held where `rows` at a time are answered: some wait for slots to be free.

    As many on each of the shares of the slots; see distributed.num_local_batch_shards.
    """
    unit = shares if rows * group % shares == 0 else 1
    return -(-int(rows * (1 + self.spare)) // unit) * unit

  def read_at_once(self, rows, unit=1):
    """Prompts that go through the model together: a quarter of those answered at a time."""
    return max(rows // 4 // unit, 1) * unit

  def bytes(self, rows, *, prompt, answer, group, position_bytes, shares=1, unit=1):
    """Of the keys and values of so many rows: of prompts, those being read, answers and chunks."""
    prompts = self.seats(rows, group, shares) + self.read_at_once(rows, unit)
    own = rows * group * (sum(self.parts(answer)) + self.chunk)
    return position_bytes * (prompts * prompt + own)

  def longest(self, *, position_bytes, unit=1, **shape):
    """Tokens of the longest prompts of which the memory holds as few as can be at a time.

    shape: as `bytes` takes it, without the prompt.
    """
    size = lambda prompt: self.bytes(unit, prompt=prompt, position_bytes=1, unit=unit, **shape)
    return max(self.memory // position_bytes - size(0), 0) // (size(1) - size(0))

  def rows(self, most, *, name, unit=1, **shape):
    """How many rows the memory has room for, a multiple of `unit` and at most `most`, if it can be.

    Args:
      name: of a prompt that is so long, for the error.
      unit: see distributed.batch_divisor.
      shape: as `bytes` takes it: positions of a prompt, and of each of the `group` answers behind
        it; position_bytes, of the keys and values of one.
    """
    found = max(most // unit, 1) * unit
    while self.memory and found > unit and self.bytes(found, unit=unit, **shape) > self.memory:
      found -= unit
    need = self.bytes(found, unit=unit, **shape)
    if self.memory and need > self.memory:
      raise ValueError(
        f"example {name!r}: {found} of prompts of {shape['prompt']:,} tokens, each with "
        f"{shape['group']} answers of {shape['answer']:,} at a time, take {need:,} bytes of keys "
        f"and values; config.sampler.memory is {self.memory:,}: raise it, or lower "
        f"config.sampler.together, spare or max_tokens"
      )
    return found
