"""The tests that a mutated file must face, those that are quick and near first.

    python -m tests.mutation.suite [FILE]

Without a file it is the one that differs from git's. The exit code is not 0 where a
test fails.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

# By file: test files of its own, and its rows in the table of methods. A method that
# is not here has its own name for its rows, and test_units.py.
TESTS = {
    "_apply": ("apply", "[dropout] or -dropout] or standard] or alpha_dropout"),
    "_loops": ("compilations monte_carlo gaussian", "dropconnect_dense"),
    "_masks": (
        "masks random known_answers apply",
        "[dropout] or -dropout] or drop_path",
    ),
    "_fast_prng": (
        "known_answers random attention_blocks saving per_example",
        "fast-dropout] or attention or dense-example",
    ),
    "_registry": ("saving", "[fast-dropout]"),
    "_random": (
        "random known_answers noise_and_words symbolic trees",
        "[dropout] or gaussian_dropout",
    ),
    "_alpha_dropout": ("twins_units", "alpha_dropout"),
    "_inference": ("dropconnect_examples gaussian", "dropconnect_dense"),
    "_attention_blocks": ("attention_blocks attention_ring", "attention"),
    "_attention_dropout": ("attention", "attention"),
    "_attention_fused": ("attention", "attention"),
    "_attention_logits": ("attention attention_blocks", "attention"),
    "_attention_ring": ("attention_ring", "attention"),
    "_dot_product_attention": ("attention attention_blocks", "attention"),
    "_blocks": ("drop_block", "drop_block"),
    "_boxes": ("twins_units", "cutout or erasing"),
    "_condition_dropout": ("inputs", "condition_dropout"),
    "_modality_dropout": ("inputs", "modality_dropout"),
    "_present": ("inputs", "condition_dropout or modality_dropout"),
    "_concrete_dropout": ("concrete_dropout", "concrete"),
    "_conv": ("apply dropconnect_examples parity gaussian", "dropconnect_conv"),
    "_cutout": ("twins_units", "cutout"),
    "_dense": ("dropconnect_examples parity", "dropconnect_dense"),
    "_einsum": ("contractions", "dropconnect_einsum"),
    "_linear": ("contractions dropconnect_examples gaussian", "dropconnect_dense"),
    "_drop_block": ("drop_block", "drop_block"),
    "_drop_head": ("", "drop_head"),
    "_drop_path": ("twins_units", "drop_path"),
    "_dropconnect": ("trees", "dropconnect]"),
    "_dropconnect_conv": ("apply dropconnect_examples", "dropconnect_conv"),
    "_dropconnect_dense": ("apply dropconnect_examples", "dropconnect_dense"),
    "_dropconnect_dense_general": ("contractions", "dropconnect_dense_general"),
    "_dropconnect_einsum": ("contractions", "dropconnect_einsum"),
    "_dropout": ("", "[dropout] or -dropout] or dropout-"),
    "_embedding_dropout": ("noise_and_words", "embedding"),
    "_packed_masks": ("dropconnect_examples concrete_dropout", "dropconnect_dense"),
    "_gaussian": ("gaussian inference", "gaussian_dropout"),
    "_gaussian_dropout": ("noise_and_words twins_units", "gaussian"),
    "_spans": ("spans", "spec_augment or span_dropout"),
    "_spec_augment": ("spans", "spec_augment"),
    "_span_dropout": ("spans", "span_dropout"),
    "_uniform_noise": ("noise_and_words", "uniform_noise"),
    "_neftune": ("noise_and_words", "neftune"),
    "_mixout": ("mixout", "mixout"),
    "_moments": ("gaussian inference", "dropconnect_dense"),
    "_multi_sample_dropout": ("multi_sample_dropout", "multi_sample"),
    "_random_erasing": ("twins_units", "erasing"),
    "_recurrent": ("recurrent", "recurrent or zoneout"),
    "_per_example": ("per_example structure dropconnect_examples", "dropconnect_dense"),
    "_samples": (
        "gaussian noise_and_words inference monte_carlo compilations",
        "gaussian",
    ),
    "_random_masking": ("units", "random_masking"),
    "_patch_dropout": ("units", "patch_dropout or random_masking"),
    "_indices": ("subset_branch units", "patch_dropout or subset_branch"),
    "_paths": ("selection trees mixout", "dropconnect] or mixout"),
    "_selected": ("selection trees", "dropconnect]"),
    "_selection": ("selection trees", "dropconnect]"),
    "_subset_branch": ("subset_branch", "subset_branch"),
    "_spatial_dropout": ("", "spatial-2d"),
    "_structured_dropout_mlp": ("structured_dropout", "structured_dropout"),
    "_targeted_dropout": ("targeted", "targeted"),
    "_trees": ("trees mixout targeted", "dropconnect] or mixout or targeted"),
    "_variational_dropout": ("", "variational"),
    "_dropped": ("dropconnect_examples gaussian compilations", "dropconnect_dense"),
    "_word_dropout": ("noise_and_words", "word_dropout"),
    "_zoneout": ("units recurrent", "zoneout or drop_activation"),
}
EVERYBODYS = "laws grammar messages"


def main(file: str, *, quick: bool = False) -> int:
    """Runs the tests of a file until one fails.

    Args:
      file: its path.
      quick: only the first of its test files.

    Returns:
      The exit code.
    """
    stem = Path(file).stem
    own, rows = TESTS.get(stem, ("units", stem.strip("_")))
    if _masks_differ():
        return 1
    stages = [([name], "") for name in own.split()]
    stages.append((["streams"], f"test_contract and (keep_mask or {rows})"))
    stages.append((EVERYBODYS.split(), f"not test_laws.py or {rows}"))
    return int(any(_fails(*stage) for stage in stages[: 1 if quick else None]))


def _masks_differ() -> bool:
    """Masks are those of `jax.random.bernoulli`: the quickest test, without pytest."""
    dropjax = importlib.import_module("dropjax")
    key, x = jax.random.fold_in(jax.random.key(2013), 7), np.ones((33, 5), np.float32)
    kept = dropjax.dropout(key, x, 0.3) * np.float32(0.7)
    mask = jax.random.bernoulli(key, 0.7, x.shape)
    return not np.allclose(kept, mask)


def _fails(names: list[str], chosen: str) -> bool:
    files = [f"tests/test_{name}.py" for name in names]
    options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-m", "not slow and not torch", "-k", chosen]
    code = pytest.main([*options, *files])
    return code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def _changed() -> str:
    command = ["git", "diff", "--name-only"]
    return subprocess.check_output(command, text=True).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else _changed()))
