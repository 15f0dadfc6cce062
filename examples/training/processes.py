"""Several processes as one: how they connect, and arrays that span their devices."""

from collections.abc import Sequence

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from training.errors import UserError
from training.steps import State, Step

_AXIS = "examples"
_FLAGS = ("coordinator", "processes", "process")


def join(argv: Sequence[str]) -> list[str]:
    """Connect to the other processes, as given on the command line.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The command line without the flags of this function.

    Raises:
      UserError: the flags are invalid.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("coordinator", None, "", flag_values=values)
    for name in ("processes", "process"):
        flags.DEFINE_integer(name, None, "", lower_bound=0, flag_values=values)
    try:
        rest = values(list(argv), known_only=True)
    except flags.Error as error:
        raise UserError(str(error)) from None
    given = [name for name in _FLAGS if values[name].value is not None]
    if given == ["coordinator"] and values.coordinator == "auto":
        jax.distributed.initialize()
    elif len(given) == len(_FLAGS) and values.process < values.processes:
        jax.distributed.initialize(*(values[name].value for name in _FLAGS))
    elif given:
        raise UserError(
            "give --coordinator=HOST:PORT, --processes=N and --process=I, from 0 to "
            "N - 1, to each of N processes, or --coordinator=auto, or none of them"
        )
    return rest


class Fleet:
    """All devices of all processes: batches are sharded, all else is replicated."""

    def __init__(self, batch_size: int) -> None:
        """Create the mesh.

        Args:
          batch_size: examples per step, over all devices.

        Raises:
          UserError: the batch cannot be split evenly.
        """
        devices = jax.devices()
        if batch_size % len(devices):
            raise UserError(
                f"config.batch_size must be a multiple of the number of devices, "
                f"{len(devices)}, got {batch_size}"
            )
        mesh = Mesh(np.array(devices), _AXIS)
        self._split = NamedSharding(mesh, PartitionSpec(_AXIS))
        self._copied = NamedSharding(mesh, PartitionSpec())

    def spread(self, step: Step) -> Step:
        """Shard the batch of a train step over the devices.

        Nothing else changes. The compiler sums the gradients of all devices, and masks
        are those of a single device.

        Args:
          step: the train step.

        Returns:
          The train step with sharding constraints.
        """
        put = jax.lax.with_sharding_constraint

        def spread(
            key: jax.Array, state: State, inputs: jax.Array, labels: jax.Array
        ) -> State:
            inputs, labels = put((inputs, labels), self._split)
            return put(step(key, state, inputs, labels), self._copied)

        return spread

    def copied(self, tree: PyTree) -> PyTree:
        """Replicate this process's arrays on all devices.

        Args:
          tree: arrays that are the same in all processes.

        Returns:
          The tree.
        """

        def copy(leaf: jax.Array | np.ndarray) -> jax.Array:
            return jax.make_array_from_callback(
                leaf.shape, self._copied, lambda index: leaf
            )

        return jax.tree.map(copy, tree)


def own(tree: PyTree) -> PyTree:
    """Return this process's copy of replicated arrays.

    Args:
      tree: the arrays.

    Returns:
      The tree, on the process's first device.
    """
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def from_first(tree: PyTree) -> PyTree:
    """Return the arrays of the first process.

    Args:
      tree: arrays of the same shapes in all processes.

    Returns:
      The first process's tree.
    """
    return multihost_utils.broadcast_one_to_all(tree)
