"""Masks of recurrent cells, whose carry holds the keys, so that any loop is correct."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Inexact, Key

from dropjax._checks import check_key
from dropjax._masks import is_drawn
from dropjax._types import KeyLike, PyTree, RateLike
from dropjax.functional.activations._dropout import dropout
from dropjax.functional.sequences._zoneout import zoneout


class KeyedCarry(NamedTuple):
    """The carry of a cell, with the keys of its masks, one for each sequence.

    The keys are None if nothing is drawn. Having one key per sequence lets flax select
    carries for sequences of different lengths.
    """

    state: PyTree
    keys: Key[Array, "*batch"] | None


def sequence_keys(key: KeyLike, batch: tuple[int, ...]) -> Key[Array, "*batch"]:
    """One key for each sequence of a batch."""
    return jax.random.split(check_key(key), batch)


def drop_sequence(
    keys: Key[Array, "*batch"] | None,
    x: Inexact[Array, "..."],
    rate: RateLike,
    which: int,
    deterministic: bool,
) -> Inexact[Array, "..."]:
    """Applies dropout with the mask that each sequence's key gives at every step."""
    if not is_drawn(rate, deterministic):
        return dropout(None, x, rate, deterministic=deterministic)

    def drop(key: Key[Array, ""], x: Array) -> Array:
        return dropout(jax.random.fold_in(key, which), x, rate)

    return _over_batch(drop, _present(keys))(keys, x)


def state_rates(
    rate: RateLike, memory_rate: RateLike | None
) -> tuple[RateLike, RateLike]:
    """The rates of the last part of a state, and of the memory before it."""
    return rate, rate if memory_rate is None else memory_rate


def zone_out(
    keys: Key[Array, "*batch"] | None,
    new: PyTree,
    old: PyTree,
    rate: RateLike,
    memory_rate: RateLike | None,
    deterministic: bool,
) -> PyTree:
    """Applies zoneout to a state; all parts but the last are memory."""
    states, structure = jax.tree.flatten(new)
    rate, memory_rate = state_rates(rate, memory_rate)
    rates = [memory_rate] * (len(states) - 1) + [rate]
    zoned = []
    for which, (x, before, own) in enumerate(
        zip(states, jax.tree.leaves(old), rates, strict=True)
    ):
        if not is_drawn(own, deterministic):
            zoned.append(zoneout(None, x, before, own, deterministic=deterministic))
            continue
        zone = functools.partial(_zone, which=which, rate=own)
        zoned.append(_over_batch(zone, _present(keys))(keys, x, before))
    return jax.tree.unflatten(structure, zoned)


def next_keys(
    keys: Key[Array, "*batch"] | None,
) -> tuple[Key[Array, "*batch"] | None, Key[Array, "*batch"] | None]:
    """The keys of the next step, and those of this step."""
    if keys is None:
        return None, None

    def split(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
        following, own = jax.random.split(key)
        return following, own

    return _over_batch(split, keys)(keys)


def _zone(
    key: Key[Array, ""], x: Array, old: Array, *, which: int, rate: RateLike
) -> Array:
    return zoneout(jax.random.fold_in(key, which), x, old, rate)


def _over_batch(
    function: Callable[..., Any], keys: Key[Array, "*batch"]
) -> Callable[..., Any]:
    for _ in range(keys.ndim):
        function = jax.vmap(function)
    return function


def _present(keys: Key[Array, "*batch"] | None) -> Key[Array, "*batch"]:
    return check_key(None) if keys is None else keys
