"""Which examples of a source RL asks: by task, and by how hard the teacher found them."""

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


def choose(source, *, tasks=(), least_attempts=0, order="shuffled"):
  """The examples of some tasks that took a teacher at least so many attempts.

  R1-Reward's rule for RL (arXiv:2505.02835) is 2: what the teacher missed at first, or altogether,
  out of all that distillation leaves (splits "kept+failed").
  A source of what the policy missed ("hard", of rejection sampling) makes it both.

  Args:
    source: a sequence of Examples.
    tasks: those that are wanted; none: all.
    least_attempts: of the teacher; 0: its attempts do not matter.
    order: "shuffled" leaves the order to who reads, "ascending" puts the easy ones first.

  Raises:
    ValueError: an unknown order, an example that no teacher was asked about, or nothing left.
  """
  if order not in ORDERS:
    raise ValueError(f"config.rl.order is {order!r}; known: {', '.join(ORDERS)}")
  judged = least_attempts or order == "ascending"
  if not tasks and not judged:
    return source
  attempts = {}  # by place
  for i in range(len(source)):
    if (example := source[i]).task in tasks or not tasks:
      attempts[i] = _attempts(example) if judged else 0
  places = [i for i, count in attempts.items() if count >= least_attempts]
  if not attempts:
    raise ValueError(
      f"none of {len(source):,} examples is of the tasks {', '.join(tasks)}; see config.rl.tasks"
    )
  if not places:
    raise ValueError(
      f"none of {len(attempts):,} examples took {least_attempts} attempts or more; lower "
      f"config.rl.least_attempts"
    )
  if order == "ascending":
    places.sort(key=attempts.__getitem__)
  return Chosen(source, tuple(places))


def _attempts(example):
  if example.attempts is None:
    raise ValueError(
      f"example {example.id!r} has no attempts: config.rl.least_attempts and order want data "
      f"that a teacher was asked about"
    )
  return example.attempts
