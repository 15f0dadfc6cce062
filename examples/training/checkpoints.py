"""Checkpoints with digests: damaged ones are skipped."""

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import serialization
from jaxtyping import PyTree

from training.errors import UserError, reason

_DIGEST_BYTES = hashlib.sha256().digest_size


class _OneFile(ocp.CheckpointHandler):
    """Stores a tree in a single file, which begins with the digest of the rest.

    Orbax's own handlers write and read each leaf in a separate thread, and on a full
    disk every thread prints a traceback. A single file raises a single OSError.
    """

    def save(self, directory: Path, args: "_Tree") -> None:
        """Write the file.

        Args:
          directory: the directory of the file.
          args: the tree.
        """
        content = serialization.to_bytes(args.tree)
        _file(directory).write_bytes(hashlib.sha256(content).digest() + content)

    def restore(self, directory: Path, args: "_Tree") -> PyTree:
        """Read the file.

        Args:
          directory: the directory of the file.
          args: a tree of the same structure and shapes.

        Returns:
          The tree in the file.

        Raises:
          ValueError: the file was modified, or contains another tree.
        """
        content = _file(directory).read_bytes()
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != hashlib.sha256(content).digest():
            raise ValueError("its content does not match its digest")
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            tree = serialization.from_bytes(args.tree, content)
            if jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, args.tree):
                return tree
        raise ValueError("it belongs to another network or optimizer")


@ocp.args.register_with_handler(_OneFile, for_save=True, for_restore=True)
@dataclasses.dataclass
class _Tree(ocp.args.CheckpointArgs):
    tree: PyTree


class Checkpoints:
    """The last few checkpoints of a run, each with a digest of its content."""

    def __init__(self, folder: Path, keep: int, name: str = "") -> None:
        """Open a run's checkpoints.

        Args:
          folder: the run's folder.
          keep: how many checkpoints to keep.
          name: of the run, if it is one of several in the folder.
        """
        self._home = folder
        self.folder = folder / "checkpoints" / name
        self._attic = folder / "damaged" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            # With several processes, only the first has checkpoints.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                active_processes={0}, barrier_sync_key_prefix="first"
            ),
        )
        with _quiet_log():
            self._manager = ocp.CheckpointManager(
                self.folder.absolute(), options=options
            )

    def save(self, step: int, state: PyTree) -> None:
        """Write a checkpoint, unless one exists for this step.

        Args:
          step: the number of the step.
          state: the tree to write.

        Raises:
          UserError: it cannot be written. Existing checkpoints are not changed.
        """
        if step in self._manager.all_steps():
            return
        content = ocp.args.Composite(state=_Tree(jax.device_get(state)))
        try:
            with _quiet_log():
                self._manager.save(step, args=content)
        except OSError as error:
            for partial in self.folder.glob(f"{step}.*"):
                shutil.rmtree(partial, ignore_errors=True)
            raise UserError(
                f"cannot write the checkpoint of step {step} to {self.folder}: "
                f"{reason(error)}. Earlier checkpoints are kept: once this is fixed, "
                "add --resume to continue from the last one"
            ) from error

    def restore(self, first: PyTree, say: Callable[[str], None]) -> PyTree:
        """Read the newest intact checkpoint.

        Newer, damaged ones are moved to the directory ``damaged``.

        Args:
          first: the state before the first step.
          say: called with one line about the checkpoint read and each damaged one.

        Returns:
          The state to continue from: ``first`` if there is no checkpoint.

        Raises:
          UserError: all checkpoints are damaged.
        """
        damaged = []
        for step in self._steps():
            try:
                state = self._read(step, first)
            except (OSError, ValueError) as error:
                say(f"checkpoint {step} is damaged: {_what_is_wrong(error)}")
                damaged.append(step)
                continue
            self._set_aside(damaged)
            say(f"resuming from step {step}")
            return state
        if damaged:
            raise UserError(
                f"none of the checkpoints in {self.folder} can be read (tried "
                f"{', '.join(map(str, damaged))}): to start over, choose another "
                f"--workdir, or delete {self._home}"
            )
        say(f"no checkpoint in {self.folder}: starting at step 0")
        return first

    def close(self) -> None:
        """Close the checkpoint manager."""
        self._manager.close()

    def _steps(self) -> list[int]:
        names = (path.name for path in self.folder.iterdir())
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _read(self, step: int, like: PyTree) -> PyTree:
        # Not through the manager, which first looks for its own files.
        tree = _Tree(jax.device_get(like))
        return jax.device_put(_OneFile().restore(self.folder / f"{step}/state", tree))

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            self._attic.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._attic / str(step), ignore_errors=True)
            shutil.move(self.folder / str(step), self._attic)
        with _quiet_log():
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


def _file(directory: Path) -> Path:
    return directory / "state.msgpack"


def _what_is_wrong(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing"
    return reason(error) if isinstance(error, OSError) else str(error)


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """Keep Orbax from logging errors that are raised or reported elsewhere."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
