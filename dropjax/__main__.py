"""Prints what a bug report needs: `python -m dropjax`.

That is versions, devices, the settings of JAX that decide what is drawn, and whether
random words, masks and keys on the default device equal the known answers of
`docs/streams.md`. The exit code is 1 if any of them differs.
"""

import importlib.metadata
import importlib.resources
import json
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, UInt32

from dropjax._fast_prng import has_windows, window_words
from dropjax._masks import draw_window, keep_mask
from dropjax._random import leaf_keys
from dropjax.functional.subsets._indices import smallest
from dropjax.functional.weights._packed_masks import (
    known_of,
    mask_levels,
    packed_kernel_masks,
    realized_rate,
    unpacked,
)

_PACKAGES = ("dropjax", "jax", "jaxlib", "flax", "optax", "chex", "jaxtyping", "numpy")
_SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_enable_x64",
    "jax_debug_key_reuse",
)
_GENERATORS = ("threefry2x32", "dropjax_fast_v1")


def main() -> int:
    """Prints the report.

    Returns:
      The exit code: 1 if what is drawn differs from the known answers.
    """
    for name, value in (*_versions(), *_settings()):
        print(f"{name:<29}{value}")
    file = importlib.resources.files("dropjax") / "known_answers.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    failed = 0
    for part, check in _CHECKS.items():
        answers = [it for it in known[part] if _is_promised(it["generator"])]
        wrong = [answer for answer in answers if not check(answer)]
        equal = len(answers) - len(wrong)
        print(f"{f'known {part}':<29}{equal} of {len(answers)} are equal")
        for answer in wrong:
            print(f"  not drawn: {json.dumps(answer)}")
        failed += len(wrong)
    verdict = "does not hold here: please report it" if failed else "holds"
    print(f"{'stream contract ' + str(known['contract']):<29}{verdict}")
    return int(failed > 0)


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed"
    yield "Python", f"{platform.python_version()} on {platform.platform()}"
    kinds = [f"{it.platform} ({it.device_kind})" for it in jax.local_devices()]
    yield "devices", ", ".join(kinds)
    yield "processes", str(jax.process_count())


def _settings() -> Iterator[tuple[str, str]]:
    for setting in _SETTINGS:
        yield setting, str(getattr(jax.config, setting, "unknown to this version"))
    yield "XLA_FLAGS", os.environ.get("XLA_FLAGS", "not set")
    for generator in _GENERATORS:
        own = "masks are drawn in the loop that applies them"
        theirs = "masks are those of jax.random, outside the stream contract"
        yield f"{generator} keys", own if _is_promised(generator) else theirs


def _is_promised(generator: str) -> bool:
    return has_windows(jax.random.key(0, impl=generator))


def _words(answer: dict[str, Any]) -> bool:
    """Those of an array of 2^62 elements, of which the first two are also JAX's."""
    side = 2**31
    starts = [divmod((high << 32) + low, side) for high, low in answer["indices"]]

    def word(start: UInt32[Array, "2"]) -> UInt32[Array, "1 1"]:
        return window_words(_data(answer), (side, side), tuple(start), (1, 1))

    found = jax.vmap(word)(jnp.asarray(starts, jnp.uint32)).ravel().tolist()
    first = jax.random.bits(_key(answer), (2,), jnp.uint32).tolist()
    return bool(found == answer["words"] and first == found[:2])


def _masks(answer: dict[str, Any]) -> bool:
    shape, start, sizes = (tuple(answer[it]) for it in ("shape", "start", "sizes"))
    keep = jnp.float32(1 - answer["rate"])
    masks = [draw_window(_data(answer), keep, shape, start, sizes)]
    if shape == sizes:
        masks.append(keep_mask(_key(answer), shape, answer["rate"]))
    return all(_bits(mask) == answer["keep"] for mask in masks)


def _examples(answer: dict[str, Any]) -> bool:
    levels = mask_levels(realized_rate(answer["rate"]))
    groups, shape = -(-answer["examples"] // 32), (answer["weights"],)
    packed = packed_kernel_masks(_key(answer), known_of(levels), levels, groups, shape)
    mask = jnp.concatenate(unpacked(packed, 32))
    return _bits(mask[: answer["examples"]]) == answer["keep"]


def _subsets(answer: dict[str, Any]) -> bool:
    kept = len(answer["positions"][0])
    positions = smallest(_key(answer), tuple(answer["shape"]), kept)
    return bool(positions.tolist() == answer["positions"])


def _seeds(answer: dict[str, Any]) -> bool:
    key = jax.random.key(np.uint32(answer["seed"]), impl=answer["generator"])
    return _is(key, answer["key"])


def _children(answer: dict[str, Any]) -> bool:
    child = jax.random.fold_in(_key(answer), np.uint32(answer["fold_in"]))
    return _is(child, answer["child"])


def _leaves(answer: dict[str, Any]) -> bool:
    return _is(leaf_keys(_key(answer), [answer["path"]])[0], answer["child"])


_CHECKS = {
    "words": _words,
    "masks": _masks,
    "examples": _examples,
    "subsets": _subsets,
    "seeds": _seeds,
    "children": _children,
    "leaves": _leaves,
}


def _data(answer: dict[str, Any]) -> UInt32[Array, "words"]:
    return jnp.asarray(answer["key"], jnp.uint32)


def _key(answer: dict[str, Any]) -> Key[Array, ""]:
    return jax.random.wrap_key_data(_data(answer), impl=answer["generator"])


def _bits(mask: Bool[Array, "..."]) -> str:
    return "".join("01"[int(kept)] for kept in np.ravel(mask))


def _is(key: Key[Array, ""], data: list[int]) -> bool:
    return bool(jax.random.key_data(key).tolist() == data)


if __name__ == "__main__":
    sys.exit(main())
