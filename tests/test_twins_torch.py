"""Twins in PyTorch, torchvision and timm: the same numbers, through the same mask.

Where a twin can be given our coins it is; where it cannot, ours is given its mask. What
the twins do otherwise than they say is tested, too: a version that mends it is seen.
"""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
from dropjax._masks import draw_mask
from dropjax.functional.maps._blocks import covers, solve_seedless
from tests.methods import array
from tests.methods._activations import alpha
from tests.test_twins_units import kept_by, sides

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

KEY = jax.random.key(4)
RATE = 0.3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def vision():
    return pytest.importorskip("torchvision")


@pytest.fixture
def timm():
    return pytest.importorskip("timm.layers")


@pytest.fixture
def feed(monkeypatch):
    """Makes every Bernoulli variable of PyTorch one of these."""

    def give(coins):
        given = torch.tensor(np.asarray(coins, np.float32))
        monkeypatch.setattr(torch.Tensor, "bernoulli_", lambda x, p: x.copy_(given))

    return give


def tensor(x):
    return torch.tensor(np.array(x), requires_grad=True)


def both_ways_of(twin, x):
    """A twin's result, and the gradient of its sum."""
    given = tensor(x)
    y = twin(given)
    y.sum().backward()
    return y.detach().numpy(), given.grad.numpy()


def assert_equal_both_ways(twin, ours, x):
    y, back = jax.vjp(ours, x)
    theirs, gradient = both_ways_of(twin, x)
    np.testing.assert_allclose(theirs, y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, back(jnp.ones_like(y))[0], rtol=1e-5)


def through_their_mask(twin, x):
    """Checks a twin's numbers under its own mask, and returns the mask."""
    theirs, gradient = both_ways_of(twin, x)
    mask = theirs != 0
    y, back = jax.vjp(lambda x: dj.apply_mask(x, jnp.asarray(mask), keep=1 - RATE), x)
    np.testing.assert_allclose(theirs, y, rtol=1e-6)
    np.testing.assert_allclose(gradient, back(jnp.ones_like(y))[0], rtol=1e-6)
    return mask


def test_dropout():
    x = array((200, 300))
    mask = through_their_mask(torch.nn.Dropout(RATE), x)
    ours = dj.dropout_mask(KEY, x.shape, RATE)
    np.testing.assert_allclose([mask.mean(), ours.mean()], 1 - RATE, atol=0.01)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_dropout_of_maps_is_spatial_dropout(dimensions):
    x = array((30, 40, *(3, 2, 4)[:dimensions]))
    twin = getattr(torch.nn, f"Dropout{dimensions}d")(RATE)
    mask = through_their_mask(twin, x)
    ours = dj.spatial_dropout_mask(KEY, x.shape, RATE, channel_axis=1)
    assert ours.shape == (30, 40) + (1,) * dimensions
    own = mask.reshape(30, 40, -1)
    np.testing.assert_array_equal(own, np.broadcast_to(own[..., :1], own.shape))
    np.testing.assert_allclose([mask.mean(), ours.mean()], 1 - RATE, atol=0.07)


def test_dropout_of_channels_is_variational_dropout():
    x = array((30, 40, 5))
    mask = through_their_mask(torch.nn.Dropout1d(RATE), x)
    ours = dj.variational_dropout_mask(KEY, x.shape, RATE, time_axis=-1)
    assert ours.shape == mask[..., :1].shape == (30, 40, 1)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout(name):
    x = array((40, 30, 4))
    twin = getattr(torch.nn.functional, name)
    theirs = twin(tensor(x), RATE, training=True).detach().numpy()
    kept = kept_by(theirs, x)
    np.testing.assert_allclose(theirs, alpha(kept, x, RATE), rtol=1e-5, atol=1e-5)
    options = {"channel_axis": 1} if name.startswith("feature") else {}
    ours = kept_by(getattr(dj, name)(KEY, x, RATE, **options), x)
    shared = name.startswith("feature")
    for mask in (kept, ours):
        assert (mask == mask[:, :, :1]).all() == shared


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_without_dropout(causal, kv_heads):
    query, key = array((2, 6, 4, 8)), array((2, 6, kv_heads, 8), seed=1)
    value = array((2, 6, kv_heads, 5), seed=2)
    given = (tensor(one.swapaxes(1, 2)) for one in (query, key, value))
    attend = torch.nn.functional.scaled_dot_product_attention
    theirs = attend(*given, is_causal=causal, enable_gqa=True).detach().numpy()
    ours = dj.dot_product_attention(query, key, value, is_causal=causal)
    np.testing.assert_allclose(theirs.swapaxes(1, 2), ours, rtol=1e-5, atol=1e-5)


def test_attention_drops_weights_that_nobody_shares():
    query, key = array((3, 16, 4, 8)), array((3, 20, 4, 8), seed=1)
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", query, key) / 8**0.5)
    # Of the unit vectors, the sums that attention makes are the weights themselves.
    units = jnp.broadcast_to(jnp.eye(20)[:, None], (3, 20, 4, 20))
    given = [tensor(one.swapaxes(1, 2)) for one in (query, key, units)]
    attend = torch.nn.functional.scaled_dot_product_attention
    theirs = attend(*given, dropout_p=RATE).detach().numpy()
    mask = jnp.asarray(theirs != 0)
    np.testing.assert_allclose(
        theirs, dj.apply_mask(weights, mask, keep=1 - RATE), rtol=1e-5, atol=1e-6
    )
    options = {"dropout_rng": KEY, "dropout_rate": RATE}
    ours = dj.dot_product_attention(query, key, units, **options).swapaxes(1, 2)
    kept = dj.attention_dropout_mask(KEY, weights.shape, RATE)
    np.testing.assert_array_equal(ours != 0, kept)
    for coins in (mask, kept):
        assert not (coins == coins[:1, :1]).all()
        assert coins.mean() == pytest.approx(1 - RATE, abs=0.04)


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_torchvisions_stochastic_depth_is_drop_path(mode, vision, feed):
    x = array((50, 3, 2))
    for key in jax.random.split(KEY, 4):
        feed(dj.drop_path_mask(key, x.shape, RATE, mode=mode))
        twin = vision.ops.StochasticDepth(RATE, mode)
        assert_equal_both_ways(
            twin, lambda x, key=key: dj.drop_path(key, x, RATE, mode=mode), x
        )


@pytest.mark.parametrize("scale_by_keep", [True, False])
def test_timms_drop_path_is_ours(scale_by_keep, timm, feed):
    x, options = array((50, 3, 2)), {"scaling": "inverted" if scale_by_keep else "none"}
    feed(dj.drop_path_mask(KEY, x.shape, RATE))
    twin = timm.DropPath(RATE, scale_by_keep)
    assert_equal_both_ways(twin, lambda x: dj.drop_path(KEY, x, RATE, **options), x)


def seeds(shape, size, maps):
    """Where drop block draws a seed, channels last."""
    spatial = shape[1:-1]
    window = (0, *(size for _ in spatial), 0)
    seedless = solve_seedless(jnp.float32(1 - RATE), *covers(shape, window))
    places = (shape[0], *(n - size + 1 for n in spatial), maps)
    return ~np.asarray(draw_mask(KEY, seedless, places))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_torchvisions_drop_block_is_ours_of_one_example(dimensions, vision, feed):
    # The twin scales by what the batch keeps, ours by what the example keeps.
    x, size = array((1, *(12, 10, 9)[:dimensions], 6)), 3
    feed(np.moveaxis(seeds(x.shape, size, 6), -1, 1))
    twin = getattr(vision.ops, f"drop_block{dimensions}d")
    theirs, _ = both_ways_of(lambda x: twin(x, RATE, size), jnp.moveaxis(x, -1, 1))
    ours = dj.drop_block(KEY, x, RATE, block_size=size)
    assert 0 < (ours == 0).sum() < ours.size
    np.testing.assert_allclose(np.moveaxis(theirs, 1, -1), ours, rtol=1e-5)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_timms_drop_block_is_ours_of_one_example(size, shared, timm, feed):
    x = array((1, 12, 10, 6))
    # Its seeds are blocks' centres, ours their first positions.
    edge = (size // 2, size // 2)
    first = seeds(x.shape, size, 1 if shared else 6)
    centres = np.pad(first, ((0, 0), edge, edge, (0, 0)))
    feed(centres.transpose(0, 3, 1, 2))
    twin = timm.DropBlock2d(RATE, size, couple_channels=shared)
    theirs, _ = both_ways_of(twin, x.transpose(0, 3, 1, 2))
    ours = dj.drop_block(KEY, x, RATE, block_size=size, per_channel=not shared)
    assert 0 < (ours == 0).sum() < ours.size
    np.testing.assert_allclose(theirs.transpose(0, 2, 3, 1), ours, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_torchvision_and_timm_miss_drop_blocks_rate(rate, vision, timm):
    x = torch.ones((256, 16, 14, 14))
    below = (vision.ops.drop_block2d(x, rate, 7) == 0).float().mean()
    assert below < 0.98 * rate
    above = (timm.DropBlock2d(rate, 7, couple_channels=False)(x) == 0).float().mean()
    assert above > 1.1 * rate
    ours = dj.drop_block_mask(KEY, (256, 14, 14, 16), rate, block_size=7)
    assert 1 - ours.mean() == pytest.approx(rate, rel=0.02)


def test_torchvisions_random_erasing_is_ours_of_one_rectangle(vision, monkeypatch):
    x = array((8, 20, 24, 3))
    ours = dj.random_erasing(KEY, x, 1.0, fill=0.5)
    mask = np.asarray(dj.random_erasing_mask(KEY, x.shape, 1.0))[..., 0]
    for image, one, kept in zip(x, ours, mask, strict=True):
        rows, columns = (np.flatnonzero(~kept.all(axis)) for axis in (1, 0))
        box = rows[0], columns[0], rows.size, columns.size
        given = [int(n) for n in box], torch.tensor([0.5])[:, None, None]
        erase = vision.transforms.RandomErasing(1.0, value=0.5)
        monkeypatch.setattr(
            erase, "get_params", lambda *a, given=given, **o: (*given[0], given[1])
        )
        theirs = erase(torch.tensor(np.array(image)).permute(2, 0, 1))
        np.testing.assert_array_equal(theirs.permute(1, 2, 0), one)


def holes(images):
    """The height and width of what is erased of each of some images of ones."""
    return sides(np.asarray(images != 0).transpose(0, 2, 3, 1)[..., :1])


@pytest.mark.parametrize("who", ["torchvision", "timm"])
def test_random_erasing_has_the_moments_of_its_twins(who, vision, monkeypatch):
    area, ratio, images = (0.05, 0.2), (0.5, 2.0), torch.ones((3000, 3, 40, 40))
    if who == "torchvision":
        erase = vision.transforms.RandomErasing(1.0, area, ratio)
        theirs = torch.stack([erase(image) for image in images])
    else:
        timm = pytest.importorskip("timm.data.random_erasing")
        monkeypatch.setattr(timm, "random", random.Random(0))
        erase = timm.RandomErasing(1.0, *area, *ratio, device="cpu")
        theirs = erase(images)
    mask = dj.random_erasing_mask(KEY, (3000, 40, 40, 1), 1.0, area=area, ratio=ratio)
    for measure in (lambda h, w: h * w / 1600, lambda h, w: np.log(h / w)):
        own, twins = measure(*sides(mask)), measure(*holes(theirs))
        np.testing.assert_allclose(own.mean(), twins.mean(), atol=0.03)
        np.testing.assert_allclose(own.std(), twins.std(), rtol=0.05)


def test_torchvision_gives_up_where_rectangles_hardly_fit(vision):
    erase = vision.transforms.RandomErasing(1.0, (0.3, 0.4), (0.3, 3.3))
    images = [erase(torch.ones((1, 4, 40))) for _ in range(300)]
    assert np.mean([bool((image == 0).any()) for image in images]) < 0.9
    mask = dj.random_erasing_mask(KEY, (300, 4, 40, 1), 1.0, area=(0.3, 0.4))
    assert (~mask).any((1, 2, 3)).all()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("prefix", [0, 1])
def test_timms_patch_dropout_is_ours(ordered, prefix, timm, monkeypatch):
    x = array((5, 17, 4))
    options = {"prefix_tokens": prefix, "ordered": ordered}
    ours, indices = dj.patch_dropout(KEY, x, 0.5, **options)
    chosen = torch.tensor(np.asarray(indices[:, prefix:] - prefix, np.int64))
    monkeypatch.setattr(torch, "argsort", lambda *a, **o: chosen)
    twin = timm.PatchDropout(0.5, num_prefix_tokens=prefix, ordered=ordered)
    assert_equal_both_ways(
        twin, lambda x: dj.patch_dropout(KEY, x, 0.5, **options)[0], x
    )
    np.testing.assert_array_equal(twin(tensor(x)).detach(), ours)


def test_timm_keeps_a_patch_too_few(timm):
    x = array((1, 100, 2))
    twin = timm.PatchDropout(0.9, num_prefix_tokens=0)
    assert twin(tensor(x)).shape == (1, 9, 2)
    assert dj.patch_dropout(KEY, x, 0.9)[0].shape == (1, 10, 2)
