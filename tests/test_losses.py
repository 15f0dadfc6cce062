"""R-Drop's loss against the definition in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dropjax.losses import r_drop
from tests.methods import array


def definition(first, second, axis=-1):
    """Half of KL(P || Q) + KL(Q || P), each as it is written."""
    log_p, log_q = (
        z - np.log(np.exp(z - z.max(axis, keepdims=True)).sum(axis, keepdims=True))
        - z.max(axis, keepdims=True)
        for z in (np.asarray(first, np.float64), np.asarray(second, np.float64))
    )  # fmt: skip
    forward = (np.exp(log_p) * (log_p - log_q)).sum(axis)
    backward = (np.exp(log_q) * (log_q - log_p)).sum(axis)
    return 0.5 * (forward + backward)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
def test_it_is_the_definition(scale):
    first, second = scale * array((50, 7)), scale * array((50, 7), seed=1)
    found = jax.jit(r_drop)(first, second)
    np.testing.assert_allclose(found, definition(first, second), rtol=2e-4, atol=1e-9)
    np.testing.assert_allclose(found, r_drop(second, first), rtol=1e-6)


def test_any_axis():
    first, second = array((4, 7, 5)), array((4, 7, 5), seed=1)
    found = r_drop(first, second, axis=1)
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found, definition(first, second, 1), rtol=1e-4)


def test_equal_passes_cost_nothing_and_push_nowhere():
    logits = array((5, 7))
    assert not r_drop(logits, logits).any()
    assert not jax.grad(lambda z: r_drop(z, logits).sum())(logits).any()
    flat = jax.hessian(lambda z: r_drop(z, logits[0]))(logits[0])
    p = jax.nn.softmax(logits[0])
    np.testing.assert_allclose(flat, jnp.diag(p) - jnp.outer(p, p), atol=1e-6)


def test_never_negative_where_the_passes_nearly_agree():
    logits = array((2000, 10))
    found = r_drop(logits, logits * (1 + 3e-7))
    assert found.min() >= 0


def test_extreme_logits_neither_overflow_nor_lose_the_gradient():
    first = jnp.array([[500.0, 0.0, -500.0]])
    second = jnp.array([[-500.0, 0.0, 500.0]])
    np.testing.assert_allclose(r_drop(first, second), [1000.0], rtol=1e-6)
    gradients = jax.grad(lambda a, b: r_drop(a, b).sum(), (0, 1))(first, second)
    assert all(np.isfinite(g).all() for g in gradients)


def test_a_class_masked_in_both_passes_counts_nothing():
    masked = jnp.array([True, False, False, False])
    first, second = array((3, 4)), array((3, 4), seed=1)
    hide = lambda z: jnp.where(masked, -jnp.inf, z)  # noqa: E731
    loss = lambda a, b: r_drop(hide(a), hide(b)).sum()  # noqa: E731
    expected = definition(first[:, 1:], second[:, 1:]).sum()
    np.testing.assert_allclose(loss(first, second), expected, rtol=1e-4)
    gradient = jax.grad(loss)(first, second)
    assert np.isfinite(gradient).all()
    assert not gradient[:, 0].any()


def test_a_class_masked_in_both_passes_is_no_nan_on_the_way():
    first, second = (array((3, 4), seed=n).at[:, 0].set(-jnp.inf) for n in (0, 1))
    with jax.debug_nans(True):
        value, slopes = jax.value_and_grad(lambda *both: r_drop(*both).sum(), (0, 1))(
            first, second
        )
        assert np.isfinite(r_drop(first, second)).all()
    assert all(np.isfinite(number).all() for number in (value, *slopes))


def test_a_class_masked_in_one_pass_alone_is_infinitely_far():
    logits = jnp.zeros((1, 3))
    assert jnp.isinf(r_drop(logits, logits.at[0, 0].set(-jnp.inf))).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_logits_are_compared_in_float32(dtype):
    first, second = array((9, 7), jnp.dtype(dtype)), array((9, 7), jnp.dtype(dtype), 1)
    found = r_drop(first, second)
    assert found.dtype == jnp.float32
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    np.testing.assert_allclose(found, definition(first, second), rtol=1e-4)


def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        first, second = array((2, 5), np.float64), array((2, 5), np.float64, 1)
        check_grads(r_drop, (first, second), order=2, modes=("fwd", "rev"))


def test_numpys_doubles_are_jaxs_floats():
    first, second = array((2, 5)), array((2, 5), np.float32, 1)
    found = r_drop(np.asarray(first, np.float64), second)
    np.testing.assert_array_equal(found, r_drop(first, second))
