"""Statistics of the masks, and that they would notice a broken generator.

One chance in a million, over all p-values of a generator together, that an ideal one
fails: the keys are fixed, so nothing here is flaky.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dropjax._masks import draw_mask
from tests.battery import counts, statistics, streams
from tests.battery.streams import draw

FAMILY_WISE_ERROR = 1e-6
SIDE = 256


def smallest(draw, batches, keep):
    found = list(streams.examine(draw, batches, SIDE, keep))
    name, p = min(found, key=lambda each: each[1])
    return name, p * len(found)


@pytest.mark.parametrize("keep", [0.5, 0.9])
@pytest.mark.parametrize("generator", ["threefry", "fast"])
def test_every_statistic_of_every_generator(generator, keep):
    batches = streams.related_keys(streams.GENERATORS[generator])
    name, p = smallest(draw, batches, keep)
    assert p > FAMILY_WISE_ERROR, name


def test_the_words_examined_are_those_of_masks():
    key = jax.random.key(3)
    words = np.asarray(draw(key[None], (64, 64))[0])
    mask = draw_mask(key, jnp.float32(0.9), (64, 64))
    np.testing.assert_array_equal(mask, words >> 9 < np.ceil(np.float32(0.9) * 2**23))


def stuck_bit(keys, shape, bit):
    return np.asarray(draw(keys, shape)) | np.uint32(1 << bit)


def reused_counter(keys, shape):
    words = np.array(draw(keys, shape))
    words[:, shape[0] // 2 :] = words[:, : shape[0] // 2]
    return words


def one_key_for_all(keys, shape):
    return np.broadcast_to(np.asarray(draw(keys[:1], shape)), (len(keys), *shape))


def permuted_by_key(keys, shape, permute):
    """Every stream is the first one's words in another order."""
    words = np.asarray(draw(keys[:1], shape)).reshape(-1)
    orders = (permute(np.arange(words.size), index) for index in range(len(keys)))
    return np.stack([words[order].reshape(shape) for order in orders])


def wrong_rate(keys, shape):
    words = np.asarray(draw(keys, shape)).astype(np.float64)
    return np.minimum(words * (1 + 2 / 256), 2**32 - 1).astype(np.uint32)


def neighbours_alike(keys, shape):
    """One word in a hundred is its left neighbour's."""
    words = np.array(draw(keys, shape))
    words[..., 100::100] = words[..., 99:-1:100]
    return words


def no_mixing(keys, shape):
    data = np.asarray(jax.random.key_data(keys))[:, :1, None].astype(np.uint64)
    index = np.arange(shape[0] * shape[1], dtype=np.uint64)
    words = (index * np.uint64(0x9E3779B9) + data[:, 0] * np.uint64(0x85EBCA6B)) % 2**32
    return words.astype(np.uint32).reshape(len(keys), *shape)


BROKEN = {
    "a low bit stuck": functools.partial(stuck_bit, bit=0),
    "a high bit stuck": functools.partial(stuck_bit, bit=31),
    "a counter reused": reused_counter,
    "one key for all": one_key_for_all,
    "keys that shift": functools.partial(
        permuted_by_key, permute=lambda index, n: np.roll(index, 1000 * n)
    ),
    "keys that XOR": functools.partial(
        permuted_by_key, permute=lambda index, n: index ^ (1000 * n)
    ),
    "keys that permute": functools.partial(
        permuted_by_key,
        permute=lambda index, n: np.random.default_rng(n).permutation(index),
    ),
    "a rate off by 1/256": wrong_rate,
    "neighbours alike": neighbours_alike,
    "a counter without mixing": no_mixing,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_generator_is_caught(how):
    batches = list(streams.related_keys("threefry2x32"))[1:3]
    name, p = smallest(BROKEN[how], batches, 0.5)
    assert p < FAMILY_WISE_ERROR, name


def test_p_values_of_ideal_words_are_uniform():
    """The statistics themselves: with numpy's words no tail is heavy or light."""
    generator = np.random.default_rng(1)
    ps = []
    for _ in range(40):
        words = generator.integers(2**32, size=(2, 64, 64), dtype=np.uint32)
        masks = words < 2**31
        for found in (
            statistics.share(masks, 0.5),
            statistics.blocks(masks, 0.5, 4),
            statistics.bits(words),
            statistics.ranks(words),
        ):
            ps += [p for _, p in found]
    assert stats.kstest(ps, "uniform").pvalue > 1e-4


def counted(words):
    battery = list(counts.battery())
    counts.add(battery, words)
    name, p = counts.worst(battery)
    return name, p * len(battery)


def one_part(generator):
    key = jax.random.key(2013, impl=streams.GENERATORS[generator])
    return np.asarray(streams.draw_part(key, 300, 512, counts.PART))


@pytest.mark.parametrize("generator", ["threefry", "fast"])
def test_counts_of_a_part_of_a_stream_past_two_to_the_32(generator):
    name, p = counted(one_part(generator))
    assert p > FAMILY_WISE_ERROR, name


def test_a_part_of_a_stream_is_that_of_the_whole():
    key = jax.random.key(1)
    part = streams.draw_part(key, 2, 4, 64)
    np.testing.assert_array_equal(part, jax.random.bits(key, (4, 64))[2])


def never_twice(words):
    """A permutation of the index: the fast generator without its last step."""
    return words ^ np.arange(words.size, dtype=np.uint32)


def thinned(words):
    """One word in a thousand has its right neighbour's weight."""
    words = words.copy()
    words[::1000] = words[1::1000][: words[::1000].size]
    return words


def off_by_a_4096th(words):
    return np.minimum(words * (1 + 2.0**-11), 2**32 - 1).astype(np.uint32)


@pytest.mark.parametrize("how", [never_twice, thinned, off_by_a_4096th])
def test_counts_notice(how):
    name, p = counted(how(one_part("fast")))
    assert p < FAMILY_WISE_ERROR, name


def test_ranks_notice_a_linear_generator():
    """Each word is the sum, modulo 2, of the words of its index's bits."""
    of_bits = np.random.default_rng(3).integers(2**32, size=24, dtype=np.uint32)
    words = np.zeros(1, np.uint32)
    for word in of_bits:
        words = np.concatenate([words, words ^ word])
    battery = [each for each in counts.battery() if each.name.startswith("ranks")]
    for _ in range(2):
        counts.add(battery, words)
    assert len(battery) == 2
    assert all(each.p_value() < FAMILY_WISE_ERROR for each in battery)


def test_p_values_of_counts_of_ideal_words_are_uniform():
    generator, ps = np.random.default_rng(2), []
    for _ in range(3):
        words = generator.integers(2**32, size=counts.PART, dtype=np.uint32)
        battery = list(counts.battery())
        counts.add(battery, words)
        ps += [each.p_value() for each in battery]
    assert stats.kstest(ps, "uniform").pvalue > 1e-4
