"""The known answers of dropjax/known_answers.json, computed by the NumPy reference."""

import json
import pathlib

import dropjax
from tests import reference
from tests.reference import FAST, THREEFRY

PATH = pathlib.Path(dropjax.__file__).with_name("known_answers.json")
MOST = 2**32 - 1
# Of zeros, of ones, and of neighbors: a seed, its children, and keys one bit apart.
KEYS = {
    THREEFRY: [
        [0, 0],
        [MOST, MOST],
        reference.seed(THREEFRY, 2013),
        reference.derive(THREEFRY, reference.seed(THREEFRY, 2013), 0),
        [0x243F6A88, 0x85A308D3],
        [0x243F6A88, 0x85A308D2],
    ],
    FAST: [
        [0, 0, 0, 0],
        [MOST, MOST, MOST, MOST],
        reference.seed(FAST, 2013),
        reference.derive(FAST, reference.seed(FAST, 2013), 0),
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0x243F6A88, 0x85A308D2, 0x13198A2E, 0x03707344],
    ],
}
INDICES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33 + 7, 2**62 - 1]
# Shapes, and windows of arrays that are too large to draw: (shape, start, sizes, rate).
MASKS = [
    ((), (), (), 0.5),
    ((31,), (0,), (31,), 0.5),
    ((5, 9), (0, 0), (5, 9), 0.1),
    ((2, 3, 4), (0, 0, 0), (2, 3, 4), 0.3),
    ((40,), (0,), (40,), 0.95),
    ((65536, 65536), (65535, 65526), (1, 10), 0.25),
    ((3, 65536, 65536), (0, 65535, 65532), (2, 1, 4), 0.5),
    ((2**31, 2**31), (2**31 - 2, 2**31 - 9), (2, 9), 0.7),
]
PATHS = ["kernel", "bias", "layers/0/kernel", "é"]


def answers(contract):
    """The content of the file."""
    return {
        "about": "Known answers of dropjax's random bits; see docs/streams.md.",
        "contract": contract,
        "words": [_words(name, key) for name, keys in KEYS.items() for key in keys],
        "masks": [
            _mask(name, KEYS[name][4], *window) for name in KEYS for window in MASKS
        ],
        "examples": [_examples(name, KEYS[name][4], 0.3) for name in KEYS],
        "subsets": [_subset(name, KEYS[name][4]) for name in KEYS],
        "seeds": [_seed(name, seed) for name in KEYS for seed in (0, 1, MOST)],
        "children": [
            _child(name, key, data)
            for name, keys in KEYS.items()
            for key in keys[3:5]
            for data in (0, 1, MOST)
        ],
        "leaves": [_leaf(name, KEYS[name][4], path) for name in KEYS for path in PATHS],
    }


def written(content):
    """The content as JSON, one answer per line."""
    parts = []
    for name, part in content.items():
        said = json.dumps(part, ensure_ascii=False)
        if isinstance(part, list):
            lines = ",\n    ".join(json.dumps(it, ensure_ascii=False) for it in part)
            said = f"[\n    {lines}\n  ]"
        parts.append(f"  {json.dumps(name)}: {said}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def broken(old, new):
    """The answers that would change or go."""
    return [
        f"an answer of known_answers.json among its {name}: {one}"
        for name, part in old.items()
        if isinstance(part, list)
        for one in part
        if one not in new.get(name, [])
    ]


def read():
    return json.loads(PATH.read_text(encoding="utf-8"))


def _words(name, key):
    words = reference.words(name, key, INDICES).tolist()
    indices = [[index >> 32, index & MOST] for index in INDICES]
    return {"generator": name, "key": key, "indices": indices, "words": words}


def _mask(name, key, shape, start, sizes, rate):
    mask = reference.keep_mask(name, key, shape, rate, start, sizes)
    return {
        "generator": name,
        "key": key,
        "shape": list(shape),
        "start": list(start),
        "sizes": list(sizes),
        "rate": rate,
        "threshold": reference.threshold(rate),
        "keep": _bits(mask),
    }


def _examples(name, key, rate):
    mask = reference.example_mask(name, key, 34, 3, rate)
    said = {"generator": name, "key": key, "examples": 34, "weights": 3, "rate": rate}
    return {**said, "keep": _bits(mask)}


def _subset(name, key):
    positions = reference.subset(name, key, 2, 12, 5).tolist()
    return {"generator": name, "key": key, "shape": [2, 12], "positions": positions}


def _seed(name, seed):
    return {"generator": name, "seed": seed, "key": reference.seed(name, seed)}


def _child(name, key, data):
    child = reference.derive(name, key, data)
    return {"generator": name, "key": key, "fold_in": data, "child": child}


def _leaf(name, key, path):
    leaf = reference.leaf_key(name, key, path)
    return {"generator": name, "key": key, "path": path, "child": leaf}


def _bits(mask):
    return "".join("01"[int(kept)] for kept in mask.ravel())
