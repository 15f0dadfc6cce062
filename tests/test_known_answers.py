"""The package, the NumPy reference and dropjax/known_answers.json agree."""

import ast
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dropjax as dj
from dropjax._fast_prng import window_words
from dropjax._masks import draw_window
from dropjax._random import leaf_keys
from dropjax.functional.subsets._indices import smallest
from dropjax.functional.weights._packed_masks import (
    known_of,
    mask_levels,
    packed_kernel_masks,
    realized_rate,
    unpacked,
)
from tests import reference
from tests.reference import FAST, THREEFRY
from tests.streams import golden
from tests.streams._answers import answers, read

ANSWERS = read()
CONTRACT, _ = golden()
IMPLS = {THREEFRY: "threefry2x32", FAST: dj.fast_prng}
every_generator = pytest.mark.parametrize("generator", IMPLS)


def key_of(answer):
    data = jnp.asarray(answer["key"], jnp.uint32)
    return jax.random.wrap_key_data(data, impl=answer["generator"])


def data_of(key):
    return jax.random.key_data(key).tolist()


def bits(mask):
    return "".join("01"[int(kept)] for kept in np.ravel(mask))


def each(part):
    def name(answer):
        said = [answer.get(which) for which in ("shape", "fold_in", "path", "seed")]
        return "-".join(
            str(it) for it in (answer["generator"], *said) if it is not None
        )

    return pytest.mark.parametrize("answer", ANSWERS[part], ids=name)


def test_the_reference_shares_no_code_with_the_package():
    tree = ast.parse(inspect.getsource(reference))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert {name.name for node in imports for name in node.names} <= {
        "hashlib",
        "numpy",
    }


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_the_reference_has_the_answers_of_random123(counter, key, block):
    found = reference.threefry(key, *counter)
    assert tuple(int(word[0]) for word in found) == block


def test_the_file_is_what_the_reference_says():
    assert answers(CONTRACT) == ANSWERS


@functools.partial(jax.jit, static_argnums=1)
def words_at(data, indices):
    """Words of an array of 2^62 elements."""
    starts = [divmod((high << 32) + low, 2**31) for high, low in indices]
    return [window_words(data, (2**31, 2**31), start, (1, 1)) for start in starts]


@each("words")
def test_words(answer):
    data = jnp.asarray(answer["key"], jnp.uint32)
    words = words_at(data, tuple(map(tuple, answer["indices"])))
    assert [int(word[0, 0]) for word in words] == answer["words"]
    first = jax.random.bits(key_of(answer), (2,), jnp.uint32)
    assert first.tolist() == answer["words"][:2]


@each("masks")
def test_masks(answer):
    shape, start, sizes = (tuple(answer[it]) for it in ("shape", "start", "sizes"))
    keep = np.float32(1 - answer["rate"])
    data = jnp.asarray(answer["key"], jnp.uint32)
    assert bits(draw_window(data, keep, shape, start, sizes)) == answer["keep"]
    assert reference.threshold(answer["rate"]) == answer["threshold"]
    if shape == sizes:
        mask = dj.keep_mask(key_of(answer), shape, answer["rate"])
        assert bits(mask) == answer["keep"]


@every_generator
def test_the_threshold_of_keep_mask_is_in_the_contract(generator):
    """To the last of 2^23 levels, of which digests of small masks see the highest."""
    key = jax.random.key(2013, impl=IMPLS[generator])
    words = reference.words(generator, data_of(key), np.arange(999))
    keep = (words >> np.uint32(9)).astype(np.float32) * np.float32(2.0**-23)
    message = f"keep_mask: contract {CONTRACT} (docs/streams.md) freezes its threshold"
    assert not dj.keep_mask(key, (999,), 1 - keep).any(), message
    above = keep + np.float32(2.0**-23)
    assert dj.keep_mask(key, (999,), 1 - above).all(), message


def masks_per_example(key, examples, weights, rate):
    levels = mask_levels(realized_rate(rate))
    groups = -(-examples // 32)
    packed = packed_kernel_masks(key, known_of(levels), levels, groups, (weights,))
    return lax.collapse(unpacked(packed, 32), 0, 2)[:examples]


@each("examples")
def test_masks_per_example(answer):
    said = (answer[it] for it in ("examples", "weights", "rate"))
    assert bits(masks_per_example(key_of(answer), *said)) == answer["keep"]


@every_generator
@pytest.mark.parametrize("rate", [1e-6, 1 - 1e-6])
def test_rates_per_example_are_not_rounded_to_certainty(generator, rate):
    key = jax.random.key(2013, impl=IMPLS[generator])
    mask = masks_per_example(key, 1000, 1000, rate)
    expected = reference.example_mask(generator, data_of(key), 1000, 1000, rate)
    np.testing.assert_array_equal(mask, expected)
    assert mask.any()
    assert not mask.all()


@each("subsets")
def test_subsets(answer):
    kept = len(answer["positions"][0])
    positions = smallest(key_of(answer), tuple(answer["shape"]), kept)
    assert positions.tolist() == answer["positions"]


@each("seeds")
def test_seeds(answer):
    key = jax.random.key(np.uint32(answer["seed"]), impl=answer["generator"])
    assert data_of(key) == answer["key"]


@each("children")
def test_children(answer):
    key, data = key_of(answer), answer["fold_in"]
    assert data_of(jax.random.fold_in(key, np.uint32(data))) == answer["child"]
    if data < 2:
        assert data_of(jax.random.split(key)[data]) == answer["child"]


@each("leaves")
def test_keys_of_leaves(answer):
    (key,) = leaf_keys(key_of(answer), [answer["path"]])
    assert data_of(key) == answer["child"]


def random_windows(generator, count):
    """Shapes of few and of very many elements, with windows of few."""
    for large in generator.choice([9, 2**16, 2**31], count):
        shape = generator.integers(1, large, generator.integers(5 if large < 10 else 3))
        sizes = generator.integers(1, np.minimum(shape, 6) + 1)
        start = generator.integers(0, shape - sizes + 1)
        yield tuple(tuple(part.tolist()) for part in (shape, start, sizes))


def assert_as_the_reference(generator, seed, shapes, keys):
    """For each shape its own rate and, of arrays of few elements, the whole mask."""
    source = np.random.default_rng(seed)
    windows = list(random_windows(source, shapes))
    rates = source.uniform(size=shapes).tolist()
    words = 2 if generator == THREEFRY else 4
    data = source.integers(2**32, size=(keys, words), dtype=np.uint32)

    def draw(data, start, shape, sizes, rate):
        window = draw_window(data, np.float32(1 - rate), shape, start, sizes)
        if np.prod(shape, dtype=float) > 10_000:
            return window, None
        key = jax.random.wrap_key_data(data, impl=IMPLS[generator])
        return window, dj.keep_mask(key, shape, rate)

    # The windows start elsewhere for each key.
    starts = [
        source.integers(0, np.array(shape) - sizes + 1, (keys, len(shape)))
        for shape, _, sizes in windows
    ]

    @jax.jit
    def drawn(data, starts):
        return [
            jax.vmap(lambda data, start: draw(data, start, shape, sizes, rate))(  # noqa: B023
                data, start
            )
            for (shape, _, sizes), rate, start in zip(
                windows, rates, starts, strict=True
            )
        ]

    found = drawn(data, [start.astype(np.uint32) for start in starts])
    for (shape, _, sizes), rate, start, (window, whole) in zip(
        windows, rates, starts, found, strict=True
    ):
        for which in range(keys):
            own = data[which].tolist(), shape, rate
            expected = reference.keep_mask(
                generator, *own, start[which].tolist(), sizes
            )
            np.testing.assert_array_equal(window[which], expected)
            if whole is not None:
                expected = reference.keep_mask(generator, *own)
                np.testing.assert_array_equal(whole[which], expected)


@every_generator
def test_masks_of_random_shapes_keys_and_offsets(generator):
    assert_as_the_reference(generator, 0, shapes=200, keys=5)


@pytest.mark.slow
@every_generator
@pytest.mark.parametrize("seed", range(10))
def test_masks_of_a_thousand_random_shapes(generator, seed):
    assert_as_the_reference(generator, 1 + seed, shapes=100, keys=1)
