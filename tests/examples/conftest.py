"""The examples' folder on the path, small data files, and the programs as calls."""

import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import compare  # noqa: E402
import train  # noqa: E402
from training import sources  # noqa: E402
from training.errors import run_program  # noqa: E402


class Outcome(NamedTuple):
    """What a program left: its exit code and its two streams."""

    code: int
    out: str
    err: str


Program = Callable[..., Outcome]


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an IDX file's content."""
    magic = bytes((0, 0, 8, array.ndim))
    return magic + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_dataset(folder: Path, train: int = 600, test: int = 40) -> Path:
    """Write four small files in the form of MNIST's, two of them gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, :10] = labels[:, None, None] * 25
        packed = gzip.compress(idx_bytes(images))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


def write_text(folder: Path, characters: int = 8000) -> Path:
    """Write a small text in the place of Tiny Shakespeare."""
    folder.mkdir(parents=True, exist_ok=True)
    words = np.random.default_rng(0).choice(["to ", "be ", "or ", "not\n"], characters)
    (folder / sources.TEXT).write_text("".join(words)[:characters])
    return folder


@pytest.fixture(autouse=True, scope="module")
def standard_promotion() -> Iterator[None]:
    """Allow what optax does: it divides by integer counts."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True, scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled programs: most of these tests run the same small one."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.getbasetemp() / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Move the search order's folders to where nothing is."""
    cache, system = tmp_path / "cache", tmp_path / "system"
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    monkeypatch.setattr(sources, "SYSTEM", system)
    monkeypatch.setattr(sources.platformdirs, "user_cache_dir", lambda _: str(cache))
    return {"cache": cache, "system": system}


def _program(name: str, module: object, capsys: pytest.CaptureFixture) -> Program:
    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        argv = [f"examples/{name}", *map(str, arguments)]
        code = run_program(name, module.main, argv)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def run_train(capsys: pytest.CaptureFixture) -> Program:
    """Return train.py as a function of its arguments."""
    return _program("train.py", train, capsys)


@pytest.fixture
def run_compare(capsys: pytest.CaptureFixture) -> Program:
    """Return compare.py as a function of its arguments."""
    return _program("compare.py", compare, capsys)
