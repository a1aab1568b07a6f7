"""Random choices of one example of the built-in world, and the looks that each split allows."""

import zlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

Option = TypeVar("Option")

# {split: its classes}: looks of objects are hashed into 8 classes. A split's index in this dict is
# part of its seed.
SPLITS = {"train": (0, 1, 2, 3), "heldout": (4, 5), "hard": (6,), "check": (7,)}
RGB = {
  "red": (220, 35, 35),
  "yellow": (240, 200, 25),
  "green": (35, 160, 55),
  "blue": (40, 85, 225),
  "purple": (165, 45, 190),
}
SHADE = 10  # largest difference of a shade from its colour in each channel
RADII = (10, 11, 12)


class Settings(Protocol):
  """Sizes of scenes, as world.World has them."""

  @property
  def side(self) -> int:
    """Pixels per side of a picture."""

  @property
  def objects(self) -> tuple[int, int]:
    """Fewest and most objects of a picture."""

  @property
  def frames(self) -> int:
    """Frames of a video."""

  @property
  def frame_side(self) -> int:
    """Pixels per side of a video frame."""

  @property
  def weights(self) -> tuple[float, ...]:
    """Weight of each task, in the order of schema.TASKS."""


class Draw:
  """The random choices of one example: its generator, and the limits of its split."""

  def __init__(self, world: Settings, split: str, index: int, seed: int):
    if split not in SPLITS:
      raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    self.rng = np.random.default_rng((seed, list(SPLITS).index(split), index))
    self.hard = split == "hard"
    self._classes = SPLITS[split]
    self.world = world

  def pick(self, options: Sequence[Option]) -> Option:
    return options[self.rng.integers(len(options))]

  def chance(self, probability: float) -> bool:
    return self.rng.random() < probability

  def several(self, options: Sequence[Option], count: int) -> list[Option]:
    return [options[at] for at in self.rng.permutation(len(options))[:count]]

  def count(self, least: int = 1) -> int:
    """Number of objects in a picture."""
    low, high = self.world.objects
    low, high = (max(2, low), high + 1) if self.hard else (low, high)
    return int(self.rng.integers(max(low, least), max(high, least) + 1))

  def look(self, shape: str, colour: str) -> tuple[list[int], int]:
    """Shade and radius of an object, redrawn until their class belongs to this split."""
    span = 2 * SHADE + 1
    while True:
      code, radius = divmod(int(self.rng.integers(span**3 * len(RADII))), len(RADII))
      rgb = [base + code // span**at % span - SHADE for at, base in enumerate(RGB[colour])]
      look = f"{shape} {rgb} {RADII[radius]}"
      if zlib.crc32(look.encode()) % 8 in self._classes:
        return rgb, RADII[radius]
