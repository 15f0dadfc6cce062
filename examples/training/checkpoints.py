"""Checkpoints that are checked: a damaged one is skipped, not continued from."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from training.errors import UserError


class Checkpoints:
    """The last few checkpoints of a run, each with a digest of its content."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Open a run's checkpoints.

        Args:
          folder: the run's folder.
          keep: how many checkpoints to keep.
        """
        self._folder = (folder / "checkpoints").absolute()
        self._attic = folder.absolute() / "damaged"
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            enable_async_checkpointing=False,
            # Where there are several processes, only the first has checkpoints.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                active_processes={0}, barrier_sync_key_prefix="first"
            ),
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, state: PyTree) -> None:
        """Write a checkpoint, unless there is one of this step.

        Args:
          step: the number of the step.
          state: the tree to write.
        """
        if step in self._manager.all_steps():
            return
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.device_get(state)),
            digest=ocp.args.JsonSave({"sha256": digest(state)}),
        )
        self._manager.save(step, args=content)

    def restore(self, like: PyTree, say: Callable[[str], None]) -> PyTree | None:
        """Read the newest checkpoint that is sound.

        Damaged ones that are newer are moved to the folder ``damaged``.

        Args:
          like: a tree of the same structure, shapes and dtypes.
          say: told in a line about each damaged checkpoint.

        Returns:
          The tree, or None where there is no checkpoint.

        Raises:
          UserError: there are checkpoints, all damaged.
        """
        damaged = []
        for step in self._steps():
            try:
                state = self._read(step, like)
            except Exception as error:  # orbax lets anything through
                say(f"checkpoint {step} is damaged ({_first_line(error)})")
                damaged.append(step)
                continue
            self._set_aside(damaged)
            return state
        if damaged:
            raise UserError(f"no checkpoint in {self._folder} can be read")
        return None

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()

    def _steps(self) -> list[int]:
        names = (path.name for path in self._folder.iterdir())
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _read(self, step: int, like: PyTree) -> PyTree:
        content = ocp.args.Composite(
            state=ocp.args.StandardRestore(jax.device_get(like)),
            digest=ocp.args.JsonRestore(),
        )
        restored = self._manager.restore(step, args=content)
        if digest(restored.state) != restored.digest["sha256"]:
            raise ValueError("its digest does not match")
        return jax.device_put(restored.state)

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            self._attic.mkdir(exist_ok=True)
            shutil.rmtree(self._attic / str(step), ignore_errors=True)
            shutil.move(self._folder / str(step), self._attic)
        self._manager.reload()


def digest(state: PyTree) -> str:
    """Return the SHA-256 of a tree's leaves.

    Args:
      state: a tree of arrays.

    Returns:
      The digest in hexadecimal digits.
    """
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        sha.update(np.asarray(leaf).tobytes())
    return sha.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
