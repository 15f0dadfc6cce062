"""Drop block: the share dropped is the rate, and blocks are whole."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax.functional.maps._blocks import (
    covers,
    find_seedless,
    known_seedless,
    solve_seedless,
)

KEY = jax.random.key(2018)
RATES = (0.0, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999)
MAPS = [((5,), (3,)), ((6,), (2,)), ((4,), (4,)), ((3, 4), (2, 2)), ((4, 3), (1, 2))]


@pytest.fixture
def key():
    return KEY


def every_outcome(sizes, sides):
    """All patterns of seeds: how many seeds there are, and the share dropped."""
    places = [n - side + 1 for n, side in zip(sizes, sides, strict=True)]
    for seeds in itertools.product((False, True), repeat=int(np.prod(places))):
        dropped = np.zeros(sizes, bool)
        for place in zip(*np.nonzero(np.reshape(seeds, places)), strict=True):
            spans = zip(place, sides, strict=True)
            dropped[tuple(slice(start, start + side) for start, side in spans)] = True
        yield sum(seeds), len(seeds), dropped.mean()


@pytest.mark.parametrize(("sizes", "sides"), MAPS)
def test_the_mean_share_over_all_masks_is_the_rate(sizes, sides):
    solved = solve_seedless(1 - jnp.float32(RATES), *covers(sizes, sides))
    outcomes = list(every_outcome(sizes, sides))
    for rate, seedless in zip(RATES, np.float64(solved), strict=True):
        mean = sum(
            (1 - seedless) ** seeds * seedless ** (places - seeds) * share
            for seeds, places, share in outcomes
        )
        assert abs(mean - rate) < 1e-6 + 1e-4 * rate, rate
    assert solve_seedless(jnp.float32(0.0), *covers(sizes, sides)) == 0


@pytest.mark.parametrize("sizes", [(7, 7), (56, 56), (224, 224), (32, 32, 32)])
@pytest.mark.parametrize("side", [2, 7, 31, 500])
def test_large_maps_are_solved_for_all_rates(sizes, side):
    sides = tuple(min(side, n) for n in sizes)
    blocks, share = covers(sizes, sides)
    some = np.geomspace(1e-6, 0.5)
    keep = np.r_[some, 1 - some].astype(np.float32)
    seedless = np.float64(solve_seedless(jnp.asarray(keep), blocks, share))[:, None]
    count = np.float64(blocks)
    over = np.sum(share * seedless**count, -1) - keep
    step = np.sum(share * count * seedless ** (count - 1), -1) * 2**-23
    rounded = (len(blocks) + blocks.max()) * 2.0**-31
    assert (over > -(2.0**-31)).all()
    assert (over < step + rounded).all()
    assert solve_seedless(jnp.float32(1.0), blocks, share) == 1


@pytest.mark.parametrize("sizes", [(9,), (28, 28), (97, 224), (16, 16, 16)])
@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize("gamma_scale", [1, 0.3, 7.0, 1e38])
def test_known_and_traced_rates_have_the_same_gamma(sizes, side, gamma_scale):
    sides = (side,) * len(sizes)
    find = functools.partial(
        find_seedless, shape=sizes, window=sides, gamma_scale=gamma_scale
    )
    keep = 1 - np.r_[np.linspace(0, 1, 101), np.geomspace(1e-7, 1)].astype(np.float32)
    traced = jax.jit(find)(keep)
    np.testing.assert_array_equal(find(keep), traced)
    for own, seedless in zip(keep[::10], traced[::10], strict=True):
        assert known_seedless(float(own), sizes, sides, gamma_scale) == seedless
        assert jax.jit(find)(own) == seedless


def test_gamma_is_the_least_that_a_coin_can_have():
    # In float64 and by bisection; a block of one element is a coin of its own.
    rates = np.r_[np.linspace(0.01, 0.99, 50), np.geomspace(1e-5, 1)]
    for sizes, side in [((14, 14), 7), ((30,), 4), ((5, 5), 1)]:
        blocks, share = covers(sizes, (side,) * len(sizes))
        keep = (1 - rates).astype(np.float32)
        low, high = np.zeros(rates.shape), np.full(rates.shape, 2.0**23)
        while (low < high).any():
            middle = (low + high) // 2
            power = (middle / 2**23)[:, None] ** np.float64(blocks)
            short = np.sum(share * power, -1) < keep
            low, high = np.where(short, middle + 1, low), np.where(short, high, middle)
        levels = 2.0**23 * np.float64(solve_seedless(keep, blocks, share))
        assert np.abs(levels - low).max() <= (side > 1)


@pytest.mark.parametrize("impl", [None, dj.fast_prng])
def test_a_known_rate_is_solved_while_tracing(impl):
    # A loop on a GPU is several launches a step.
    x, own = jnp.ones((2, 14, 14, 3)), jax.random.key(0, impl=impl)
    known = jax.jit(functools.partial(dj.drop_block, rate=0.1)).lower(own, x)
    assert "stablehlo.while" not in known.as_text()
    traced = jax.jit(dj.drop_block).lower(own, x, jnp.float32(0.1))
    assert traced.as_text().count("stablehlo.while") == 1


def published(rate, size, side):
    """The paper's gamma, in the mean over masks, by where seeds are drawn."""
    gamma = rate / side**2 * size**2 / (size - side + 1) ** 2
    blocks, share = covers((size, size), (side, side))
    inside = 1 - np.sum(share * (1 - gamma) ** np.float64(blocks))
    position = np.arange(size)
    reach = np.minimum(position + side // 2, size - 1) - np.maximum(
        position - side // 2, 0
    )
    everywhere = 1 - np.mean((1 - gamma) ** np.outer(reach + 1.0, reach + 1.0))
    return inside, everywhere


@pytest.mark.parametrize(("size", "side"), [(14, 7), (10, 5), (28, 7), (7, 5)])
def test_the_papers_gamma_misses_the_rate(size, side):
    inside, everywhere = published(0.1, size, side)
    assert inside < 0.0975, "seeds where blocks fit: overlap is not accounted for"
    assert everywhere > 0.11, "seeds everywhere, as in timm"


def opened(dropped, side):
    """What remains of a 2d pattern if only whole squares are kept."""
    windows = np.lib.stride_tricks.sliding_window_view(dropped, (side, side))
    remains = np.zeros_like(dropped)
    for row, column in zip(*np.nonzero(windows.all((-2, -1))), strict=True):
        remains[row : row + side, column : column + side] = True
    return remains


@pytest.mark.parametrize("side", [2, 3, 4])
def test_only_whole_blocks_are_dropped(side, key):
    mask = dj.drop_block_mask(key, (3, 11, 9, 2), 0.3, block_size=side)
    for dropped in np.moveaxis(~np.asarray(mask), -1, 1).reshape(-1, 11, 9):
        np.testing.assert_array_equal(opened(dropped, side), dropped)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 24, 24, 8), {"block_size": 7}),
        ((8, 17, 30, 8), {"block_size": (4, 6)}),
        ((8, 8, 30, 30), {"block_size": 7, "channel_axis": 1}),
        ((64, 5, 6, 64), {"block_size": 9}),
        ((64, 50, 16), {"block_size": 8}),
        ((8, 12, 12, 12, 4), {"block_size": 3}),
    ],
)
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_dropped_is_the_rate(shape, options, rate, key):
    draw = jax.jit(functools.partial(dj.drop_block_mask, **options), static_argnums=1)
    shares = [
        draw(own, shape, jnp.float32(rate)).mean() for own in jax.random.split(key, 16)
    ]
    error = np.std(shares) / 4
    assert abs(1 - np.mean(shares) - rate) < 5 * error
    assert error < 0.01


def blocks_of(seeds, sides, shape):
    """Who is dropped, by numpy: all within a block that begins at a seed."""
    dropped = np.zeros(shape, bool)
    for n, row, column, c in zip(*np.nonzero(seeds), strict=True):
        dropped[n, row : row + sides[0], column : column + sides[1], c] = True
    return dropped


@pytest.mark.parametrize("gamma_scale", [0.25, 1.7, 1e6])
@pytest.mark.parametrize("rate", [0.2, 1.0])
def test_gamma_scale_multiplies_the_probability_of_a_seed(gamma_scale, rate, key):
    shape, sides = (3, 12, 10, 4), (5, 3)
    seedless = solve_seedless(jnp.float32(1 - rate), *covers(shape, (0, *sides, 0)))
    gamma = min(1.0, gamma_scale * (1 - float(seedless)))
    seeds = ~np.asarray(dj.keep_mask(key, (3, 8, 8, 4), gamma))
    options = {"block_size": sides, "gamma_scale": gamma_scale}
    mask = dj.drop_block_mask(key, shape, rate, **options)
    np.testing.assert_array_equal(~mask, blocks_of(seeds, sides, shape))
    x, options = jnp.ones(shape), {**options, "scale_by_keep": False}
    np.testing.assert_array_equal(dj.drop_block(key, x, rate, **options), mask)
    made = djl.DropBlock2D(rate, **options)
    np.testing.assert_array_equal(made.apply({}, x, False, rng=key), mask)
    made = djn.DropBlock2D(rate, **options)
    np.testing.assert_array_equal(made(x, rngs=key), mask)


@pytest.mark.parametrize("options", [{"gamma_scale": 0.05}, {"fill": "random"}])
def test_layers_draw_a_key_where_a_rate_of_1_leaves_something_to_draw(options):
    x = jnp.ones((2, 12, 12, 2))
    y = djl.DropBlock2D(1, **options).apply({}, x, False, rngs={"dropout": KEY})
    assert (y != 0).any()
    assert (djn.DropBlock2D(1, **options, rngs=nnx.Rngs(0))(x) != 0).any()
    with pytest.raises(ValueError, match="key is None, but this call draws"):
        dj.drop_block(None, x, 1, **options)


@pytest.mark.parametrize("rate", [0.3, 1])
def test_timms_noise_fills_the_holes_and_nothing_is_scaled(rate, key):
    x = jnp.full((4, 32, 32, 8), 3.0)
    options = {"fill": "random", "scale_by_keep": False, "block_size": 5}
    y = np.asarray(dj.drop_block(key, x, rate, **options))
    mask = np.asarray(dj.drop_block_mask(key, x.shape, rate, block_size=5))
    np.testing.assert_array_equal(y[mask], np.asarray(x)[mask])
    noise = y[~mask]
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / noise.size)
    of_linen = djl.DropBlock2D(rate, **options).apply({}, x, False, rng=key)
    np.testing.assert_array_equal(y, of_linen)
    np.testing.assert_array_equal(y, djn.DropBlock2D(rate, **options)(x, rngs=key))


def test_holes_have_a_value_per_channel_and_survivors_are_scaled(key):
    x, fill = jnp.ones((3, 12, 12, 2)), (-1.0, -2.0)
    plain = np.asarray(dj.drop_block(key, x, 0.4, block_size=3))
    y = dj.drop_block(key, x, 0.4, block_size=3, fill=fill)
    np.testing.assert_array_equal(y, np.where(plain == 0, fill, plain))
    every = dj.drop_block(None, x, 1, block_size=3, fill=fill)
    np.testing.assert_array_equal(every, np.broadcast_to(fill, x.shape))


def test_blocks_of_one_element_are_dropout(key):
    mask = dj.drop_block_mask(key, (4, 6, 7, 3), 0.25, block_size=1)
    np.testing.assert_array_equal(mask, dj.dropout_mask(key, mask.shape, 0.25))


def test_each_example_keeps_its_mean(key):
    x = jnp.ones((6, 12, 12, 4))
    y = dj.drop_block(key, x, 0.4, block_size=5)
    np.testing.assert_allclose(y.mean((1, 2, 3)), 1, rtol=1e-5)
    assert len(np.unique(y.max((1, 2, 3)))) > 1


@pytest.mark.parametrize("side", [1, 4])
def test_what_is_dropped_as_a_whole_is_finite(side, key):
    x = jnp.ones((64, side, side, 1))
    draw = lambda x: dj.drop_block(key, x, 0.5, block_size=4)  # noqa: E731
    y, gradient = draw(x), jax.grad(lambda x: draw(x).sum())(x)
    assert set(np.unique(y)) == {0.0, 1.0}
    np.testing.assert_array_equal(gradient, y)


def test_rates_per_example_and_channel(key):
    x = jnp.ones((3, 12, 12, 2))
    rates = jnp.array([0.0, 0.5, 1.0])[:, None, None, None]
    y = dj.drop_block(key, x, rates, block_size=3)
    np.testing.assert_array_equal(y[0], x[0])
    assert 0 < (y[1] == 0).mean() < 1
    assert not y[2].any()
    y = dj.drop_block(key, x, jnp.array([[[[0.0, 1.0]]]]), block_size=3)
    np.testing.assert_array_equal(y[..., 0], jnp.full((3, 12, 12), 2.0))


@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 0, 4, 2), (2, 4, 4, 0)])
def test_nothing_to_drop(shape, key):
    x = jnp.ones(shape)
    for rate in (0.3, jnp.float32(0.3)):
        assert dj.drop_block(key, x, rate, block_size=3).shape == shape
        assert dj.drop_block_mask(key, shape, rate, block_size=3).shape == shape
