"""Models of transformers are measured with Flax's dropout and with ours instead."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("BERT", "GPT-2", "ViT", "T5", "BART", "Whisper")


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The module of the rows, as the program imports it; each is compiled once."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from sidebyside import model_rows

    monkeypatch.setattr(model_rows, "COMPILATIONS", 1)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield model_rows


class Net(nn.Module):
    """It looks up Flax's layer when it is traced, as the models of transformers do."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(0.5)(nn.Dense(8)(x), deterministic=not train)
        return nn.Dropout(0.5)(nn.relu(x), deterministic=not train)


def model(x, params, dropout_rng, train):
    logits = Net().apply({"params": params}, x, train, rngs={"dropout": dropout_rng})
    return SimpleNamespace(logits=logits)


@pytest.fixture
def inputs():
    x = jax.random.normal(jax.random.key(1), (4, 8))
    return x, jax.jit(Net().init, static_argnums=2)(jax.random.key(2), x, False)


def test_a_swapped_layer_is_used_and_flaxs_is_put_back(rows, inputs):
    x, params = inputs
    flaxs, used = nn.Dropout, []

    class Dropout(rows.djl.Dropout):  # The name is part of the layer's rng.
        def __call__(self, *arguments, **options):
            used.append(self.name)
            return super().__call__(*arguments, **options)

    with rows.swapped(Dropout):
        y = model(x, params["params"], jax.random.key(0), True).logits
    assert used == ["Dropout_0", "Dropout_1"]
    with pytest.raises(KeyError), rows.swapped(Dropout):
        raise KeyError
    assert nn.Dropout is flaxs
    expected = model(x, params["params"], jax.random.key(0), True).logits
    np.testing.assert_array_equal(y, expected)
    assert len(used) == 2


def test_a_step_is_measured_with_each_dropout(rows, inputs):
    x, params = inputs
    calls = rows.step_calls(model, params["params"], {"x": x})
    logits = {name: np.asarray(call.run()[0]) for name, call in calls.items()}
    none, flax, ours, fast, flax_fast = logits
    np.testing.assert_array_equal(logits[ours], logits[flax])
    np.testing.assert_array_equal(logits[fast], logits[flax_fast])
    assert (logits[none] == 0).sum() < (logits[flax] == 0).sum()
    assert (logits[fast] != logits[flax]).any()
    for name in (ours, fast):
        facts = calls[name].facts
        assert (facts["logits_ulps"], facts["gradient_ulps"]) == (0, 0)
    assert all(call.facts["compile_cpu_s"] > 0 for call in calls.values())


def test_differences_are_those_from_flax_with_the_same_key(rows):
    one, off = jnp.array([1.0, -2.0]), jnp.array([1.0, -2.0 - 2**-21])
    trees = {"a": one, "b": off}, {"a": one, "b": one}
    names = list(rows._contenders())
    results = dict.fromkeys(names, (one, trees[1]))
    results[rows.who.OURS_FAST] = off, trees[0]
    found = rows._differences(results)
    assert found[rows.who.OURS] == {"logits_ulps": 0, "gradient_ulps": 0}
    assert found[rows.who.OURS_FAST] == {"logits_ulps": 2, "gradient_ulps": 2}


def test_the_summary_has_a_line_for_each_model(rows):
    from sidebyside import report, timing

    facts = {"cpu_s": 0.05, "scratch_bytes": 3 * 2**20, "compile_cpu_s": 1.25}
    facts |= {"logits_ulps": 0.0, "gradient_ulps": 0.0}
    entries = dict.fromkeys(rows._contenders(), facts)
    off = {**entries, rows.who.OURS_FAST: {**facts, "gradient_ulps": 0.5}}
    results = [
        timing.Result(f"{rows.GROUP}, {name}", rows.GROUP, {}, found, rows.who.FLAX)
        for name, found in (("BERT", entries), ("ViT", off))
    ]
    head, _, *lines = report.table(*rows.summary(results))
    cells = " | ".join(["50 ms, 3 MiB, 1.2 s"] * 5)
    assert head.count("|") == lines[0].count("|") == 8
    assert lines == [
        f"| BERT | {cells} | no bit |",
        f"| ViT | {cells} | logits: 0 ulp, gradient: 0.5 ulp |",
    ]


@pytest.mark.parametrize("folder", [".", "oldest"])
def test_the_page_shows_the_summary_of_the_results(rows, folder):
    from sidebyside import report, timing

    path = ROOT / "benchmarks" / "results" / "models" / folder / "cpu.json"
    results = [timing.Result(**row) for row in json.loads(path.read_text())["rows"]]
    _, _, *lines = report.table(*rows.summary(results))
    page = (ROOT / "docs" / "speed.md").read_text()
    assert len(lines) >= 4
    assert [line for line in lines if line not in page] == []


def test_without_transformers_a_line_says_so(rows, monkeypatch, capsys):
    monkeypatch.setattr(rows.who, "absent", lambda: ["transformers"])
    monkeypatch.delitem(sys.modules, "run", raising=False)
    program = importlib.import_module("run")
    assert program.main(["--only", "real models*"]) == 2
    assert "transformers is not installed and is skipped." in capsys.readouterr().err


# T5 is the one that needs a former argument of JAX.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [pytest.param(it, marks=() if it == "T5" else pytest.mark.slow) for it in NAMES],
)
def test_a_model_of_transformers_keeps_its_bits(rows, name):
    pytest.importorskip("transformers")
    from sidebyside import timing

    size = rows.models.Size(2, 16, 16, 2, 1, 32)
    found = {row.name: row for row in rows.rows_of(size)}
    assert list(found) == [f"{rows.GROUP}, {name}" for name in NAMES]
    result = timing.measure(found[f"{rows.GROUP}, {name}"], 1, lambda: None)
    for ours in (rows.who.OURS, rows.who.OURS_FAST):
        assert result.contenders[ours]["logits_ulps"] == 0
        assert result.contenders[ours]["gradient_ulps"] <= 4
