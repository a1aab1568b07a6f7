"""Which examples of a source are trained on, in what order: by how hard the teacher found them."""

import dataclasses
from collections.abc import Sequence

ORDERS = ("shuffled", "ascending")


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Some examples of a source, by their places in it: a sequence, and a source for grain."""

  source: Sequence
  places: tuple[int, ...]

  def __len__(self):
    return len(self.places)

  def __getitem__(self, index):
    return self.source[self.places[index]]


def choose(source, *, least_attempts=0, order="shuffled"):
  """The examples that took a teacher at least so many attempts; ascending: the easy ones first.

  R1-Reward's rule for RL (arXiv:2505.02835) is 2: what the teacher missed at first, or altogether.
  A source of what the policy missed ("hard", of rejection sampling) makes it both.

  Raises:
    ValueError: an unknown order, an example that no teacher was asked about, or nothing left.
  """
  if order not in ORDERS:
    raise ValueError(f"config.rl.order is {order!r}; known: {', '.join(ORDERS)}")
  if not least_attempts and order == "shuffled":
    return source
  attempts = []
  for i in range(len(source)):
    if (example := source[i]).attempts is None:
      raise ValueError(
        f"example {example.id!r} has no attempts: config.rl.least_attempts and order want data "
        f"that a teacher was asked about"
      )
    attempts.append(example.attempts)
  places = [i for i, count in enumerate(attempts) if count >= least_attempts]
  if not places:
    raise ValueError(
      f"none of {len(attempts):,} examples took {least_attempts} attempts or more; lower "
      f"config.rl.least_attempts"
    )
  if order == "ascending":
    places.sort(key=attempts.__getitem__)
  return Chosen(source, tuple(places))
