"""The nets: one interface, two libraries, four methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from training import layers, models, settings

IMAGES = jax.random.uniform(jax.random.key(7), (6, 8, 8, 1))
ALL = [
    (host, model, method)
    for model, methods in models.METHODS.items()
    for host in models.hosts_of(model)
    for method in methods
]


def inputs(model: str) -> jax.Array:
    characters = (10 * IMAGES[:, :, 0, 0]).astype(int)
    return characters if model in layers.ON_TEXT else IMAGES


def config(host: str, model: str, method: str) -> ConfigDict:
    config = settings.default_config()
    config.update(host=host, model=model, method=method)
    one_width = model in ("transformer", "decoder")
    widths = (8, 8 if one_width else 7)
    config.update(
        channels=(4, 6), hidden=(8, 6, 7) if model == "perceptron" else widths
    )
    return config


def make(host: str, model: str, method: str) -> models.Model:
    shape = inputs(model).shape[1:]
    return models.build(config(host, model, method), shape, 10)


@pytest.mark.parametrize(("host", "model", "method"), ALL)
def test_noise_in_training_only(host: str, model: str, method: str) -> None:
    net = make(host, model, method)
    params = net.init(jax.random.key(0))
    apply = jax.jit(net.apply, static_argnums=3)
    calm = apply(params, inputs(model), None, True)
    noisy, again, other = (
        apply(params, inputs(model), jax.random.key(seed), False, 0)
        for seed in (1, 1, 2)
    )
    assert calm.shape == ((6, 8, 10) if model in layers.ON_TEXT else (6, 10))
    assert noisy.shape == ((8,) if method == "multi_sample" else ()) + calm.shape
    np.testing.assert_array_equal(noisy, again)
    assert jnp.array_equal(noisy, other) == (method == "none")
    assert jnp.array_equal(noisy, calm) == (method == "none")
    if method != "shake_drop":  # which scales branches by a mean other than 1
        baseline = make(host, model, "none")
        same = baseline.apply(params, inputs(model), None, True)
        np.testing.assert_allclose(same, calm, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("host", "model"), [(h, m) for m in models.METHODS for h in models.hosts_of(m)]
)
def test_methods_start_from_the_same_parameters(host: str, model: str) -> None:
    nets = [make(host, model, method) for method in models.METHODS[model]]
    first, *others = (net.init(jax.random.key(3)) for net in nets)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)


def as_in_linen(params: dict) -> dict:
    """Leave out the wrapper, and rename what NNX cannot call ``if``, a word of Python.

    Linen's wrapper shares the scope of what it wraps.
    """
    if not isinstance(params, dict):
        return params
    if "module" in params:
        return as_in_linen(params["module"])
    return {
        "if" if name == "if_" else name: as_in_linen(leaf)
        for name, leaf in params.items()
    }


@pytest.mark.parametrize(
    "model", [it for it in models.METHODS if len(models.hosts_of(it)) == 2]
)
def test_linen_and_nnx_are_the_same_net(model: str) -> None:
    linen, nnx = (make(host, model, "none") for host in ("linen", "nnx"))
    params = nnx.init(jax.random.key(3))
    np.testing.assert_allclose(
        linen.apply(as_in_linen(params), inputs(model), None, True),
        nnx.apply(params, inputs(model), None, True),
        rtol=1e-5,
        atol=1e-6,
    )
    assert models.count(params) == models.count(linen.init(jax.random.key(0)))
