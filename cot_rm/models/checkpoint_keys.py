"""The key table of a model family: what its parameters are called in Hugging Face checkpoints."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class CheckpointKeys:
  """How a family's parameters are called in a checkpoint.

  A prefix of one of our paths becomes another; the first that fits counts. "{layer}" in it is the
  index along the stacked axis.
  """

  prefixes: Mapping[str, str]  # ours to that of the layout that is written
  aliases: Mapping[str, str]  # other layouts' prefixes to that of the layout that is written
  shapes: Mapping[str, Callable]  # our path to `shape(config)`, where a checkpoint's shape differs
  tied: str  # the head's name; it may be there, and is not read, where embeddings are tied

  def name(self, path):
    """A path of ours, as the checkpoint calls it; holds "{layer}" where layers are stacked."""
    for ours, theirs in self.prefixes.items():
      if path.startswith(ours):
        return theirs + path[len(ours) :]
    raise KeyError(f"no prefix of the key table fits parameter {path!r}")

  def canonical(self, name):
    """A checkpoint's name in the layout that is written."""
    for other, written in self.aliases.items():
      if name.startswith(other):
        return written + name[len(other) :]
    return name
