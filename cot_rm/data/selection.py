"""Parts of a data set: the first examples, and RL prompts by task and by a teacher's attempts."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal, get_args

from cot_rm import files, registry
from cot_rm.data import identity
from cot_rm.schema import BadExample, Example

Order = Literal["shuffled", "ascending"]


@dataclasses.dataclass(frozen=True)
class Subset(Sequence[Example]):
  """Examples of a source by index: a sequence, and a source for grain."""

  source: Sequence[Example]
  indices: tuple[int, ...]

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> Example:
    return self.source[self.indices[index]]

  def __iter__(self) -> Iterator[Example]:
    return (self.source[i] for i in self.indices)

  def take(self, indices: Iterable[int]) -> "Subset":
    """A part of these examples, by their places here."""
    return Subset(self.source, tuple(self.indices[i] for i in indices))

  def identity(self) -> str:
    """A hash of the source and of the examples that are taken from it."""
    indices = ",".join(map(str, self.indices))
    return files.digest(identity.source_hash(self.source).encode(), indices.encode())


def first(source: Sequence[Example], count: int) -> Subset:
  """The first `count` examples, or all if there are fewer; none is read."""
  return Subset(source, tuple(range(min(count, len(source)))))


def without(source: Sequence[Example], ids: Collection[str]) -> Subset:
  """The examples of other ids, in their order; one that cannot be read stays."""

  def other(index: int) -> bool:
    try:
      return source[index].id not in ids
    except BadExample:
      return True  # whoever uses it says what is wrong with it

  return Subset(source, tuple(filter(other, range(len(source)))))


def select(
  source: Sequence[Example],
  *,
  tasks: Collection[str] = (),
  min_attempts: int = 0,
  order: Order = "shuffled",
  needs_gold: bool = False,
  left_out: Callable[[int, BadExample], object] | None = None,
) -> Sequence[Example]:
  """Examples of some tasks for which a teacher took at least `min_attempts` attempts.

  R1-Reward selects RL prompts with min_attempts=2 (arXiv:2505.02835) from all pairs that
  distillation leaves (splits "kept+failed"): pairs that the teacher missed at first, or always.
  From the split "hard" of rejection sampling, the pairs are those that the policy missed, too.

  Args:
    source: the examples.
    tasks: tasks to take; empty: all.
    min_attempts: of the teacher; 0: any.
    order: "shuffled" leaves the order to the reader, "ascending" sorts by attempts, easy pairs
      first.
    needs_gold: refuse a source in which no example has a gold answer.
    left_out: called with (index, error) of an example that cannot be read while its task or its
      attempts are looked at; it is not selected. None: the error is raised.

  Raises:
    BadExample: see `left_out`.
    ValueError: an unknown order, an example without attempts if they matter, or nothing selected.
  """
  if order not in get_args(Order):
    raise ValueError(f"unknown order {order!r}; {registry.hint(order, get_args(Order))}")
  if needs_gold and not _any_gold(source):
    raise ValueError(
      f"none of {len(source):,} examples has a gold answer, which a reward compares the verdict "
      f"with; give the preferred candidate as gold, 1 or 2"
    )
  needs_attempts = min_attempts or order == "ascending"
  if not tasks and not needs_attempts:
    return source
  attempts = {}  # by index
  for i in range(len(source)):
    try:
      example = source[i]
    except BadExample as error:
      if left_out is None:
        raise
      left_out(i, error)
      continue
    if example.task in tasks or not tasks:
      attempts[i] = _attempts(example) if needs_attempts else 0
  if not attempts:
    raise ValueError(
      f"none of {len(source):,} examples has a task of {', '.join(tasks)}; change tasks "
      f"(config.rl.tasks)"
    )
  indices = [i for i, count in attempts.items() if count >= min_attempts]
  if not indices:
    raise ValueError(
      f"none of {len(attempts):,} examples took {min_attempts} attempts or more; lower "
      f"min_attempts (config.rl.min_attempts)"
    )
  if order == "ascending":
    indices.sort(key=attempts.__getitem__)
  return Subset(source, tuple(indices))


def _any_gold(source: Sequence[Example]) -> bool:
  """Whether an example has a gold answer; one that cannot be read has none."""
  for i in range(len(source)):
    with contextlib.suppress(BadExample):
      if source[i].gold is not None:
        return True
  return False


def _attempts(example: Example) -> int:
  if example.attempts is None:
    raise ValueError(
      f"example {example.id!r} has no attempts: min_attempts and the order 'ascending' need data "
      f"that a teacher has judged"
    )
  return example.attempts
