"""What the sampler may hold at a time, and how many prompts that is."""

import dataclasses

import jax

from cot_rm.sampler.weights import KEPT

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
  weights: str = ""  # as what weights are kept, of weights.KEPT; "": as the trainer has them

  def __post_init__(self):
    for name, good in (
      ("together", self.together >= 0),
      ("chunk", self.chunk > 0),
      ("piece", self.piece >= 0),
      ("memory", self.memory >= 0),
      ("weights", self.weights in KEPT),
    ):
      if not good:
        raise ValueError(f"config.sampler.{name} is {getattr(self, name)!r}")

  def parts(self, answer):
    """Sizes of the parts in which an answer's positions are held: whole chunks, all alike."""
    chunks = -(-answer // self.chunk)
    each = -(-chunks // (PARTS if jax.default_backend() == "cpu" else ELSEWHERE))
    return (each * self.chunk,) * -(-chunks // each)

  def positions(self, prompt, answer, group):
    """Of a seat: of its prompt, its answers, and the chunk that is being made of each of them."""
    return prompt + group * (answer + self.chunk)

  def seats(self, rows, *, name, prompt, answer, group, position_bytes):
    """How many of `rows` seats the memory has room for.

    Args:
      name: of a prompt that is so long, for the error.
      prompt, answer: positions of a prompt, and of each of the `group` answers behind it.
      position_bytes: of the keys and values of one position.
    """
    need = position_bytes * self.positions(prompt, answer, group)
    if not self.memory:
      return rows
    if need > self.memory:
      raise ValueError(
        f"example {name!r}: a prompt of {prompt:,} tokens and {group} answers of {answer:,} at a "
        f"time take {need:,} bytes of keys and values; config.sampler.memory is {self.memory:,}: "
        f"raise it, or lower config.sampler.together or max_tokens"
      )
    return min(rows, self.memory // need)
