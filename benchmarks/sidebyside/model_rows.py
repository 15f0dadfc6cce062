"""Rows of models of Hugging Face's transformers, with Flax's dropout and with ours.

The models are unchanged: `flax.linen.Dropout`, which they look up when they are traced,
is replaced. Attention weights are dropped by Flax's own function in all of them.
"""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import dropjax.linen as djl
from sidebyside import contenders as who
from sidebyside import transformers_models as models
from sidebyside.contenders import RATE
from sidebyside.timing import Call, Result, Row, scratch

GROUP = "real models"
SIZE = models.Size()
CELLS = "CPU time of a training step, scratch memory, and CPU time of compiling it:"
# Each contender is compiled so many times, in turns.
COMPILATIONS = 3
# The contender with Flax's dropout and the same key, whose bits ours should have.
_TWINS = {who.OURS: who.FLAX, who.OURS_FAST: who.FLAX_FAST}


class Trained(NamedTuple):
    """The layer that a model uses, its key, and whether anything is dropped."""

    layer: type[nn.Module]
    key: jax.Array
    train: bool = True


def rows_of(size: models.Size = SIZE) -> Iterator[Row]:
    """A training step of each model, if transformers is installed."""
    if "transformers" in who.absent():
        return
    for name in models.NAMES:
        settings = {**size._asdict(), "rate": RATE, "dtype": "float32"}
        build = functools.partial(_calls, name, size)
        yield Row(f"{GROUP}, {name}", GROUP, settings, build, who.NONE, who.FLAX)


def _calls(name: str, size: models.Size) -> dict[str, Call]:
    model, params, batch = models.make(name, size)
    with models.clip_takes_a_max():
        return step_calls(model, params, batch)


def swapped(layer: type[nn.Module]) -> contextlib.AbstractContextManager[Any]:
    """Replaces `flax.linen.Dropout` in models that are traced within the context."""
    return mock.patch.object(nn, "Dropout", layer)


def step_calls(
    model: Callable[..., Any], params: Any, batch: Mapping[str, jax.Array]
) -> dict[str, Call]:
    """A training step of a model with each dropout.

    Args:
      model: takes the batch, `params`, `dropout_rng` and `train` by name, and returns
        an object with `logits`.
      params: its parameters.
      batch: its inputs.
    """
    momentum = jax.tree.map(jnp.zeros_like, params)
    contenders = _contenders()
    inputs = {k: (params, momentum, one.key, batch) for k, one in contenders.items()}
    programs, facts = _compiled(model, contenders, inputs)
    runs = {k: functools.partial(programs[k], *inputs[k]) for k in contenders}
    differences = _differences({k: run() for k, run in runs.items()})
    return {
        k: Call(run, {**facts[k], **differences.get(k, {})}) for k, run in runs.items()
    }


def _contenders() -> dict[str, Trained]:
    slow, fast = who.threefry_key(), who.fast_key()
    return {
        who.NONE: Trained(nn.Dropout, slow, train=False),
        who.FLAX: Trained(nn.Dropout, slow),
        who.OURS: Trained(djl.Dropout, slow),
        who.OURS_FAST: Trained(djl.Dropout, fast),
        who.FLAX_FAST: Trained(nn.Dropout, fast),
    }


def _compiled(
    model: Callable[..., Any],
    contenders: Mapping[str, Trained],
    inputs: Mapping[str, tuple],
) -> tuple[dict[str, jax.stages.Compiled], dict[str, dict[str, float]]]:
    """The programs, and the seconds of all processors to trace and compile them.

    Other work on the machine changes these seconds less than those of a clock.
    """
    programs, seconds = {}, {name: [] for name in contenders}
    for _ in range(COMPILATIONS):
        for name, one in contenders.items():
            jax.clear_caches()
            start = time.process_time()
            with swapped(one.layer):
                lowered = jax.jit(_step(model, one.train)).lower(*inputs[name])
            programs[name] = lowered.compile()
            seconds[name].append(time.process_time() - start)
    facts = {
        name: {
            "scratch_bytes": scratch(program),
            "compile_cpu_s": statistics.median(seconds[name]),
        }
        for name, program in programs.items()
    }
    return programs, facts


def _step(model: Callable[..., Any], train: bool) -> Callable[..., Any]:
    """A step of gradient descent with momentum, which is the gradient at first."""

    def step(
        params: Any, momentum: Any, key: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, Any, Any]:
        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            found = model(**batch, params=params, dropout_rng=key, train=train)
            return -jax.nn.log_softmax(found.logits)[..., 0].mean(), found.logits

        gradients, logits = jax.grad(loss, has_aux=True)(params)
        moved = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradients)
        return logits, moved, jax.tree.map(lambda p, m: p - 0.01 * m, params, moved)

    return step


def _differences(results: Mapping[str, tuple]) -> dict[str, dict[str, float]]:
    """How far the results of our layers are from those of Flax's with the same key."""

    def most(name: str, which: int) -> float:
        twin = results[_TWINS[name]][which]
        return max(jax.tree.leaves(jax.tree.map(_ulps, twin, results[name][which])))

    return {
        name: {"logits_ulps": most(name, 0), "gradient_ulps": most(name, 1)}
        for name in _TWINS
    }


def _ulps(wanted: jax.Array, found: jax.Array) -> float:
    """The largest difference, in units in the last place of the largest value."""
    wanted, found = np.asarray(wanted), np.asarray(found)
    largest = np.abs(wanted).max()
    return float(np.abs(wanted - found).max() / np.spacing(largest))


def summary(rows: Sequence[Result]) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """The heads and the lines of a table of all models.

    Args:
      rows: the rows of this group.
    """
    names = list(_contenders())
    lines = (
        (
            row.name.removeprefix(f"{GROUP}, "),
            *(_cell(row.contenders[name]) for name in names),
            _difference(row),
        )
        for row in rows
    )
    return ("", *names, "dropjax differs from flax by"), lines


def _cell(entry: Mapping[str, float]) -> str:
    """CPU time of a step, scratch memory, CPU time of its compilation."""
    ms, mib = entry["cpu_s"] * 1e3, entry["scratch_bytes"] / 2**20
    return f"{ms:.0f} ms, {mib:.0f} MiB, {entry['compile_cpu_s']:.1f} s"


def _difference(row: Result) -> str:
    most = {
        fact: max(row.contenders[name][f"{fact}_ulps"] for name in _TWINS)
        for fact in ("logits", "gradient")
    }
    if not any(most.values()):
        return "no bit"
    return ", ".join(f"{fact}: {ulps:g} ulp" for fact, ulps in most.items())
