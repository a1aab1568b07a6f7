"""What a teacher has said of labelled pairs: how hard each is, what is kept, and the figures."""

import collections
import dataclasses

import numpy as np

BROUGHT = ("verdict", "unparsable", "refused", "empty", "cut")  # what an answer may be


@dataclasses.dataclass
class Pair:
  """One question, and what the teacher has said to it so far."""

  index: int  # in the source
  id: str
  column: str  # its source and task, as a table names them
  task: str
  gold: int  # in the order in which it is put
  swap: bool = False  # whether that is not the order of the source
  replies: list = dataclasses.field(default_factory=list)  # of chat.Reply, one a call
  verdicts: list = dataclasses.field(default_factory=list)  # 1, 2 or None, one an attempt

  @property
  def right(self):
    return self.verdicts[-1:] == [self.gold]

  @property
  def lost(self):
    """Whether its last call had no answer, which says nothing of the pair."""
    return bool(self.replies) and not self.replies[-1].final

  @property
  def failed(self):
    return bool(self.verdicts) and not self.right and not self.lost


def drawn(source, *, count, tasks, seed):
  """Pairs of a source: `count` of them (0: all) at random, as many golds of 1 as of 2.

  Args:
    tasks: those that are wanted; none: all.
  Raises ValueError, naming the example, where one has no gold, and where there is no pair at all.
  """
  rng, pairs = np.random.default_rng(seed), []
  for index in rng.permutation(len(source)).tolist():
    example = source[index]
    if tasks and example.task not in tasks:
      continue
    if example.gold is None:
      raise ValueError(f"example {example.id!r} has no gold: a teacher is held against it")
    column = f"{example.source} {example.task.replace('_', ' ')}"
    pairs.append(Pair(index, example.id, column, example.task, example.gold))
    if len(pairs) == count:
      break
  if not pairs:
    raise ValueError(f"there is no pair of the tasks {', '.join(tasks) or 'wanted'} to ask")
  for pair, gold in zip(pairs, rng.permutation(len(pairs)) % 2 + 1, strict=True):
    pair.swap, pair.gold = bool(pair.gold != gold), int(gold)
  return pairs


def put(source, pair):
  """The example as the teacher is asked it: in the pair's order, and without a reference."""
  example = source[pair.index]
  return dataclasses.replace(example.swapped() if pair.swap else example, reasoning=None)


def example(source, pair, *, limit, model):
  """The example with what the teacher said: `attempts`, and its reasoning where that was right.

  A pair that was never right in `limit` attempts has attempts limit + 1, and extra["teacher"] says
  that there was no right one.
  """
  reply, one = pair.replies[-1], put(source, pair)
  teacher = {
    "model": model,
    "attempt": len(pair.verdicts) if pair.right else None,  # the right one
    "limit": limit,
    "verdicts": list(pair.verdicts),
    "swapped": pair.swap,
    "tokens": [reply.prompt_tokens, reply.completion_tokens],  # of the last attempt
  }
  return dataclasses.replace(
    one,
    reasoning=reply.text.strip() if pair.right else None,
    attempts=len(pair.verdicts) if pair.right else limit + 1,
    extra={**one.extra, "teacher": teacher},
  )


def brought(pairs):
  """A Counter of what the calls brought: of BROUGHT, or the kind of error of a lost one."""
  kinds = collections.Counter()
  for pair in pairs:
    kinds.update(reply.kind for reply in pair.replies if not reply.final)
    answers = [reply for reply in pair.replies if reply.final]
    for reply, verdict in zip(answers, pair.verdicts, strict=True):
      kinds[reply.kind or ("verdict" if verdict else "unparsable")] += 1
  return kinds


def difficulty(pairs, *, limit):
  """How many pairs took 1, 2, ... attempts, and the share that the first one got right."""
  took = collections.Counter(len(pair.verdicts) for pair in pairs if pair.right)
  asked = sum(bool(pair.verdicts) for pair in pairs)
  return {
    "pairs": len(pairs),
    "agreement@1": took[1] / max(asked, 1),
    **{str(attempt): took[attempt] for attempt in range(1, limit + 1)},
    "failed": sum(pair.failed for pair in pairs),
  }


def figures(pairs, *, limit):
  """{name: number} of the whole, and "by_source": the difficulty by source and task."""
  replies = [reply for pair in pairs for reply in pair.replies]
  kinds, columns = brought(pairs), {}
  for pair in pairs:
    columns.setdefault(pair.column, []).append(pair)
  if len(columns) > 1:
    columns["all"] = pairs
  return {
    "pairs": len(pairs),
    "agreement@1": difficulty(pairs, limit=limit)["agreement@1"],
    "kept": sum(pair.right for pair in pairs),
    "failed": sum(pair.failed for pair in pairs),
    "unanswered": sum(pair.lost for pair in pairs),
    **{kind: kinds[kind] for kind in BROUGHT[1:]},
    "calls": len(replies),
    "calls_cached": sum(reply.cached for reply in replies),
    "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
    "completion_tokens": sum(reply.completion_tokens for reply in replies),
    "by_source": {name: difficulty(some, limit=limit) for name, some in columns.items()},
  }
