"""The key table of a model family: its parameters' names in Hugging Face checkpoints."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class CheckpointKeys:
  """Names of a family's parameters in a checkpoint.

  A parameter's path is translated by replacing its first matching prefix. "{layer}" in a name is
  the index along the stacked axis.
  """

  prefixes: Mapping[str, str]  # prefix of our path -> prefix in the layout that is written
  aliases: Mapping[str, str]  # prefix in other layouts -> prefix in the layout that is written
  # our path -> shape(config) in the checkpoint, where it differs from ours
  shapes: Mapping[str, Callable[..., tuple[int, ...]]]
  tied: str  # name of the head, which is left out where it is equal to the embeddings
  embeddings: str  # name of the table of embeddings
  wrappers: tuple[str, ...] = ()  # prefixes that trainers put before all names
  buffers: tuple[str, ...] = ()  # ends of the names of tensors that the model computes itself

  def name(self, path: str) -> str:
    """The checkpoint's name of a parameter; with "{layer}" where layers are stacked.

    Raises KeyError if no prefix fits.
    """
    for ours, theirs in self.prefixes.items():
      if path.startswith(ours):
        return theirs + path[len(ours) :]
    raise KeyError(f"no prefix of the key table fits parameter {path!r}")

  def canonical(self, name: str) -> str:
    """A tensor's name translated from any known checkpoint layout to the one that `save` writes."""
    while wrapper := next((w for w in self.wrappers if name.startswith(w)), None):
      name = name[len(wrapper) :]
    for other, written in self.aliases.items():
      if name.startswith(other):
        return written + name[len(other) :]
    return name

  def is_buffer(self, name: str) -> bool:
    """Whether a canonical name is that of a tensor that the model computes itself."""
    return name.endswith(self.buffers) if self.buffers else False
