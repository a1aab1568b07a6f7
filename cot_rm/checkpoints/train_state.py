"""Checkpoints of a training run: state, position in the data, and seconds spent."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath

from cot_rm.checkpoints import orbax_io

State = TypeVar("State")  # a pytree of arrays


class TrainCheckpoints:
  """Training states in a folder, one per step; the last `keep` stay.

  Saves run concurrently with training; an interrupted save is invisible to `restore_latest`.
  """

  def __init__(self, folder: epath.PathLike, *, keep: int):
    self._manager = ocp.CheckpointManager(
      orbax_io.absolute(folder),
      # Named here, so that the shapes of a save can be read before it is restored.
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "extra": ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=True
      ),
    )

  def save(self, step: int, state: State, extra: Mapping[str, object]) -> None:
    """Starts writing a state; returns once its arrays may be donated or changed.

    Args:
      step: of the state.
      state: a pytree of arrays.
      extra: for JSON, such as the position in the data.
    """
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(orbax_io.by_name(state)), extra=ocp.args.JsonSave(extra)
      ),
    )

  def restore_latest(self, like: State) -> tuple[int, State, dict[str, object]] | None:
    """(step, state, extra) of the last complete save; None if there is none.

    Args:
      like: a state of arrays, or of jax.ShapeDtypeStructs with shardings. The restored state has
        its structure, dtypes and shardings, whichever mesh it was saved from.

    Raises ValueError naming every parameter that is missing, unexpected or of another shape.
    """
    self._manager.wait_until_finished()  # a save of this process that is still running counts
    step = self._manager.latest_step()
    if step is None:
      return None
    abstract = {
      name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
      for name, x in orbax_io.by_name(like).items()
    }
    stored = self._manager.item_metadata(step)["state"]
    orbax_io.check_shapes(
      f"{self._manager.directory}, step {step}: the saved state does not fit this run",
      {name: tuple(leaf.shape) for name, leaf in stored.items()},
      {name: tuple(x.shape) for name, x in abstract.items()},
    )
    saved = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), extra=ocp.args.JsonRestore()
      ),
    )
    arrays = [saved["state"][name] for name in abstract]
    return step, jax.tree.unflatten(jax.tree.structure(like), arrays), saved["extra"]

  def close(self) -> None:
    """Waits for running saves, then releases Orbax's threads."""
    self._manager.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self.close()
