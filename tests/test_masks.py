"""What is drawn and what is certain, keep probabilities, and the shapes of masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dropjax._masks import (
    foregone,
    is_drawn,
    keep_probability,
    mask_shape_along,
    mask_shape_of,
    mask_shape_of_blocks,
    over_blocks,
    prepare,
)

KEY = jax.random.key(2013)


@pytest.mark.parametrize(
    ("rate", "deterministic", "mask"),
    [
        (0.0, False, True),
        (1.0, False, False),
        (0.5, False, None),
        (jnp.float32(0), False, None),
        (jnp.float32(1), False, None),
        (0.5, True, True),
        (1.0, True, True),
        (jnp.float32(0.5), True, True),
    ],
)
def test_what_is_certain_needs_no_key(rate, deterministic, mask):
    assert foregone(rate, deterministic) is mask
    assert is_drawn(rate, deterministic) == (mask is None)
    draw = prepare(KEY, rate, (3,), deterministic=deterministic)
    assert draw.certain is mask
    assert (draw.key is None) == (mask is not None)
    if mask is not None:
        assert prepare(None, rate, (3,), deterministic=deterministic) == draw
        assert draw.keep == mask
    else:
        np.testing.assert_allclose(draw.keep, 1 - rate)
        with pytest.raises(ValueError, match="key"):
            prepare(None, rate, (3,), deterministic=deterministic)


def test_more_than_a_mask_may_be_drawn_at_a_rate_of_one():
    for rate, drawn in ((1.0, True), (0.5, True), (0.0, False)):
        assert is_drawn(rate, False, draws_at_one=True) == drawn
        draw = prepare(KEY, rate, (3,), deterministic=False, draws_at_one=True)
        assert (draw.key is not None) == drawn


def test_a_mean_over_masks_needs_the_rate_but_no_key():
    draw = prepare(KEY, 0.25, (3,), deterministic=True, averages=True)
    assert draw == (None, np.float32(0.75), None)
    assert prepare(None, 0.0, (3,), deterministic=True, averages=True).certain


def test_keep_probabilities():
    known = keep_probability(0.25, jnp.bfloat16)
    assert isinstance(known, np.ndarray)
    assert (known.dtype, known) == (jnp.bfloat16, 0.75)
    traced = jax.jit(lambda rates: keep_probability(rates, jnp.float32))
    assert traced(jnp.array([-0.5, 0, 0.25, 1, 1.5])).tolist() == [1, 1, 0.75, 0, 0]
    assert jax.grad(traced)(0.5) == 0


def test_shapes_of_masks():
    assert mask_shape_of((2, 3, 4)) == (2, 3, 4)
    assert mask_shape_of((2, 3, 4), (-1, 0)) == (1, 3, 1)
    assert mask_shape_of((2, 3, 4), noise_shape=(None, 1, 4)) == (2, 1, 4)
    assert mask_shape_along((2, 3, 4), (0, 2)) == (2, 1, 4)
    assert mask_shape_of_blocks((2, 7, 4), (3, 2)) == (2, 3, 2)
    assert mask_shape_of_blocks((7,), (3,)) == (3,)


@pytest.mark.parametrize(
    ("shape", "block"),
    [((4,), (2,)), ((5,), (3,)), ((3, 5, 4), (3, 2)), ((3, 4), (1, 2)), ((7,), (1,))],
    ids=str,
)
def test_blocks_share_a_value(shape, block):
    blocks = mask_shape_of_blocks(shape, block)
    values = np.arange(np.prod(blocks), dtype=np.int32).reshape(blocks)
    places = np.indices(shape)
    for axis, side in zip(range(-len(block), 0), block, strict=True):
        places[axis] //= side
    np.testing.assert_array_equal(
        over_blocks(values, block, shape), values[tuple(places)], strict=True
    )


def test_what_all_blocks_share_is_not_repeated():
    scalar, row = jnp.float32(0.5), jnp.arange(2)[:, None]
    assert over_blocks(scalar, (2, 2), (4, 4)) is scalar
    assert over_blocks(row, (), (2, 4)) is row
    spread = over_blocks(row, (2, 2), (4, 4))
    assert spread.tolist() == [[0], [0], [1], [1]]
