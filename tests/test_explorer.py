"""The masks that docs/_static/masks.js draws are those of the package."""

import json
import pathlib
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropjax as dj
from tests.streams._answers import read

SCRIPT = pathlib.Path(__file__).parents[1] / "docs" / "_static" / "masks.js"
PROGRAM = """
const { METHODS, keyOf, word } = require(process.argv[1]);
const asked = JSON.parse(require("fs").readFileSync(0));
const mask = ({ method, seed, shape, rate, block_size }) =>
  METHODS[method].draw(keyOf(seed), shape, rate, block_size);
console.log(JSON.stringify({
  methods: Object.keys(METHODS),
  masks: asked.settings.map((it) => mask(it).map(Number)),
  shapes: asked.settings.map((it) => METHODS[it.method].maskShape(it.shape)),
  words: asked.words.map(({ key, indices }) =>
    indices.map(([high, low]) => word(key, high, low))),
  seeds: asked.seeds.map(({ seed }) => keyOf(seed)),
}));
"""
FAST = [it for it in read()["words"] if it["generator"] == "dropjax_fast_v1"]
SEEDS = [it for it in read()["seeds"] if it["generator"] == "dropjax_fast_v1"]
RANKS = {
    **dict.fromkeys(["word_dropout", "embedding_dropout", "dropconnect"], 2),
    **dict.fromkeys(["dropout", "variational_dropout", "drop_path"], 3),
    **dict.fromkeys(["random_masking", "subset_branch"], 3),
    **dict.fromkeys(["spatial_dropout", "drop_block", "drop_head"], 4),
    "attention_dropout": 4,
}


def settings():
    """For each method two shapes with rates at the ends, in the middle, at random."""
    random = np.random.default_rng(0)
    for method, rank in RANKS.items():
        highest = 0.99 if method == "subset_branch" else 1.0
        for first in (0.0, highest):
            shape = random.integers(1, 9 if rank == 4 else 17, rank).tolist()
            for rate in (first, 0.5, *random.uniform(size=2).round(2)):
                yield {
                    "method": method,
                    "seed": int(random.integers(2**32)),
                    "shape": shape,
                    "rate": rate,
                    "block_size": int(random.integers(1, 7)),
                }


SETTINGS = list(settings())


@pytest.fixture(scope="module")
def drawn():
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    asked = json.dumps({"settings": SETTINGS, "words": FAST, "seeds": SEEDS})
    command = [node, "-e", PROGRAM, str(SCRIPT)]
    output = subprocess.run(
        command, input=asked, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(output.stdout)


def test_words_and_seeds_are_the_known_answers(drawn):
    assert drawn["words"] == [answer["words"] for answer in FAST]
    assert drawn["seeds"] == [answer["key"] for answer in SEEDS]


def test_masks_are_those_of_the_package(drawn):
    assert drawn["methods"] == sorted(RANKS, key=drawn["methods"].index)
    found = zip(SETTINGS, drawn["masks"], drawn["shapes"], strict=True)
    for setting, mask, shape in found:
        expected = mask_of(**setting)
        assert list(expected.shape) == shape, setting
        np.testing.assert_array_equal(np.ravel(expected), mask, str(setting))


def mask_of(method, seed, shape, rate, block_size):
    key = jax.random.key(np.uint32(seed), impl=dj.fast_prng)
    draw = getattr(dj, f"{method}_mask")
    if method == "dropconnect":
        return draw(key, jnp.ones(shape), rate)
    options = {"block_size": block_size} if method == "drop_block" else {}
    return draw(key, shape, rate, **options)
