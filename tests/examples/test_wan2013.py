"""The paper's experiment: its schedule, five nets at once, their vote, their parts."""

import json
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabulate
from ml_collections import ConfigDict
from training import data, ensemble, inference, models, optimizers, settings
from training.command_line import load_config
from training.errors import UserError
from training.experiment import prepare

import dropjax as dj

from .conftest import ROOT, Program, write_dataset
from .test_resume import result, stop_after, without_times

METHODS = ("none", "dropout", "dropconnect")
TINY = (
    "--config.dataset=digits",
    "--config.train_examples=320",
    "--config.test_examples=50",
    "--config.batch_size=32",
    "--config.hidden=(16,)",
    "--config.nets=3",
    "--config.steps_per_call=4",
    "--config.epochs=4",
)


def tiny(method: str, **changes: object) -> ConfigDict:
    config = settings.wan2013_config(method)
    config.update(dataset="digits", train_examples=96, test_examples=40)
    config.update({"hidden": (8, 6), "batch_size": 32, "epochs": 2, **changes})
    return config


def digits(config: ConfigDict) -> data.Dataset:
    return data.load("digits", train_examples=config.train_examples, test_examples=40)


def test_the_configs_are_the_papers() -> None:
    for method in METHODS:
        config = load_config(ROOT / "configs" / f"wan2013_mnist_{method}.py")
        assert config.method == method
        assert (config.hidden, config.batch_size, config.rate) == ((800, 800), 128, 0.5)
        assert (config.nets, config.init_deviation) == (5, 0.1)
        assert (config.optimizer, config.weight_decay) == ("sgd", 0)
        assert config.mask_per == 1
        assert config.drop_biases
        assert config.scaling == "standard"


@pytest.mark.parametrize("steps_per_epoch", [1, 468])
def test_the_schedule_is_the_papers(steps_per_epoch: int) -> None:
    config = settings.wan2013_config("none")
    schedule = optimizers.stages(
        config.learning_rate, config.epochs * steps_per_epoch, config.stages
    )
    spans = (
        (0, 600, 0.1), (600, 1000, 0.05), (1000, 1400, 0.01), (1400, 1420, 0.005),
        (1420, 1440, 0.001), (1440, 1460, 0.0005), (1460, 1480, 0.0001),
    )  # fmt: skip
    for first, end, rate in spans:
        for step in (first * steps_per_epoch, end * steps_per_epoch - 1):
            assert schedule(step) == pytest.approx(rate)


def test_fewer_epochs_shorten_all_stages() -> None:
    schedule = optimizers.stages(1.0, 148, (600, 400, 20))
    rates = [float(schedule(step)) for step in range(148)]
    values, counts = np.unique(np.float32(rates), return_counts=True)
    np.testing.assert_allclose(values, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1], 1e-6)
    assert counts.tolist() == [2, 2, 2, 2, 40, 40, 60]


@pytest.mark.parametrize(
    "method", ["none", pytest.param("dropconnect", marks=pytest.mark.slow)]
)
def test_nets_side_by_side_are_single_nets(method: str) -> None:
    config = tiny(method, nets=5, seed=3, hidden=(6,))
    together = prepare(config, digits(config))
    state = jax.jit(together.init)(together.key)
    train = together.dataset.train.inputs, together.dataset.train.labels
    state = jax.jit(together.scan(2))(together.key, state, *train)
    assert state.step == 2
    config.nets = 1
    alone = prepare(config, digits(config))
    init, advance = jax.jit(alone.init), jax.jit(alone.scan(2))
    for net in (0, 4):
        key = jax.random.key(3 + net)
        own = advance(key, init(key), *train)
        for many, one in zip(*map(jax.tree.leaves, (state, own)), strict=True):
            many = many if many.ndim == 0 else many[net]
            np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)


def test_first_weights_are_normal() -> None:
    config = settings.wan2013_config("dropconnect")
    for host in models.HOSTS:
        config.host = host
        params = models.build(config, (28, 28, 1), 10).init(jax.random.key(0))
        for layer in ("hidden_0", "hidden_1", "logits"):
            assert params[layer]["kernel"].std() == pytest.approx(0.1, rel=0.03)
            assert abs(params[layer]["kernel"].mean()) < 0.005
            assert not params[layer]["bias"].any()


@pytest.mark.parametrize("host", models.HOSTS)
def test_masks_are_per_example(host: str) -> None:
    net = models.build(tiny("dropconnect", host=host), (4, 4, 1), 10)
    params = net.init(jax.random.key(0))
    same = jnp.ones((6, 4, 4, 1))
    logits = net.apply(params, same, jax.random.key(1), False)
    assert len(np.unique(np.asarray(logits), axis=0)) == 6


@pytest.mark.parametrize("host", models.HOSTS)
def test_biases_are_dropped_too(host: str) -> None:
    nets = [
        models.build(tiny("dropconnect", host=host, drop_biases=drop), (4, 4, 1), 10)
        for drop in (True, False)
    ]
    ones = jax.tree.map(jnp.ones_like, nets[0].init(jax.random.key(0)))
    ones["hidden_1"]["kernel"] = jnp.zeros((8, 6))
    nothing = jnp.zeros((6, 4, 4, 1))
    dropped, whole = (it.apply(ones, nothing, jax.random.key(1), False) for it in nets)
    assert (whole == 7).all()
    assert dropped.min() < 7


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("host", models.HOSTS)
def test_activations(host: str, activation: str) -> None:
    config = tiny("none", host=host, activation=activation)
    net = models.build(config, (4, 4, 1), 10)
    params = net.init(jax.random.key(0))
    x = hidden = jax.random.uniform(jax.random.key(1), (2, 4, 4, 1))
    hidden = x.reshape(2, 16)
    for name in ("hidden_0", "hidden_1"):
        hidden = getattr(jax.nn, activation)(
            hidden @ params[name]["kernel"] + params[name]["bias"][None]
        )
    expected = hidden @ params["logits"]["kernel"] + params["logits"]["bias"][None]
    np.testing.assert_allclose(
        net.apply(params, x, None, True), expected, rtol=1e-4, atol=1e-5
    )


def test_the_vote_is_of_mean_probabilities() -> None:
    # A majority would take 0 for the second example, the largest 0 for the third.
    probabilities = np.array(
        [
            [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.7, 0.0, 0.3]],
            [[0.4, 0.6, 0.0], [0.0, 1.0, 0.0], [0.1, 0.3, 0.6]],
            [[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.3, 0.6]],
        ]
    )
    assert ensemble.errors(probabilities, np.array([0, 1, 2])) == {
        "errors": [66.6667, 33.3333, 33.3333],
        "mean": 44.4444,
        "deviation": 19.245,
        "vote": 0.0,
    }
    assert ensemble.errors(probabilities, np.array([0, 0, 2])) == {
        "errors": [33.3333, 66.6667, 0.0],
        "mean": 33.3333,
        "deviation": 33.3333,
        "vote": 33.3333,
    }
    assert ensemble.errors(probabilities[:1], np.array([0, 0, 0]))["deviation"] is None


@pytest.mark.slow
def test_the_configs_run_and_go_on_bit_for_bit(
    tmp_path: Path,
    run_train: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = f"--config={ROOT / 'configs' / 'wan2013_mnist_dropconnect.py'}"
    whole, folder = tmp_path / "whole", tmp_path / "run"
    outcome = run_train(config, *TINY, f"--workdir={whole}")
    assert outcome.code == 0, outcome.err
    # The fifth call ends in the midst of an epoch, and of the schedule's second part.
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        outcome = run_train(config, *TINY, f"--workdir={folder}")
    assert outcome.code == 128 + signal.SIGINT
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"10", "18"}
    assert run_train(config, *TINY, f"--workdir={folder}", "--resume").code == 0
    assert result(folder) == result(whole)
    assert without_times(folder) == without_times(whole)


def test_another_length_is_another_schedule(tmp_path: Path, run_train: Program) -> None:
    config = f"--config={ROOT / 'configs' / 'wan2013_mnist_none.py'}"
    arguments = (config, *TINY, "--config.epochs=1", f"--workdir={tmp_path}")
    assert run_train(*arguments).code == 0
    outcome = run_train(*arguments, "--resume", "--config.epochs=2")
    assert outcome.code == 2
    assert "with another epochs: it has 1, got 2" in outcome.err


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_the_forms_of_inference(activation: str) -> None:
    config = tiny("dropconnect", activation=activation, nets=2, samples=4000)
    config.hidden = (32,)
    net = models.build(config, (8, 8, 1), 10)
    params = net.init(jax.random.key(0))
    x = digits(config).test.inputs[:3] / np.float32(255)
    forms = inference.forms(config, net)
    key = jax.random.key(0, impl=dj.fast_prng)
    said = {name: form(key, params, x) for name, form in forms.items()}
    np.testing.assert_array_equal(
        said["mean network"], net.apply(params, x, None, True)
    )
    draws = jax.random.split(jax.random.key(5), 4000)
    sampled = jax.jit(
        lambda: jax.lax.map(
            lambda key: net.apply(params, x, key, False), draws, batch_size=100
        ).mean(0)
    )()
    # One hidden layer of 64 weights to a unit: nearly Gaussian.
    for name, logits in said.items():
        if name != "mean network":
            np.testing.assert_allclose(logits, sampled, atol=0.05, err_msg=name)


def test_other_nets_have_the_mean_network_alone() -> None:
    config = tiny("dropout")
    net = models.build(config, (8, 8, 1), 10)
    assert list(inference.forms(config, net)) == ["mean network"]


def test_the_result_holds_nets_and_vote(tmp_path: Path, run_train: Program) -> None:
    config = f"--config={ROOT / 'configs' / 'wan2013_mnist_dropconnect.py'}"
    outcome = run_train(
        config, *TINY, "--config.epochs=1", "--config.samples=8",
        f"--workdir={tmp_path}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    forms = result(tmp_path)["nets"]
    assert list(forms) == ["mean network", "closed form", "Gaussian sampling"]
    mean = forms["mean network"]
    assert len(mean["errors"]) == 3
    accuracy = result(tmp_path)["test"]["accuracy"]
    assert mean["mean"] == pytest.approx(100 - 100 * accuracy, abs=1e-3)
    for name in forms:
        assert name in outcome.out
    out = tmp_path / "table.json"
    assert tabulate.main(["tabulate.py", str(tmp_path), f"--out={out}"]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["test"] == forms
    assert (run["method"], run["epochs"], run["samples"]) == ("dropconnect", 1, 8)
    with pytest.raises(UserError, match="Tabulate runs: python examples"):
        tabulate.main(["tabulate.py"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "config.json is not JSON: "),
        ("config.json", "[]", "config.json must contain a JSON object, got a list"),
        ("result.json", "nets", "result.json is not JSON: "),
        ("result.json", '{"nets": {}}', "result.json has no train accuracy"),
        ("metrics.jsonl", "{}\n", "metrics.jsonl must have a number for step, got {};"),
    ],
)
def test_a_damaged_run_is_not_tabulated(
    name: str, content: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    whole = {"nets": {}, "train": {"accuracy": 0.5}}
    (tmp_path / "result.json").write_text(json.dumps(whole))
    assert tabulate.main(["tabulate.py", str(tmp_path)]) == 0
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        tabulate.main(["tabulate.py", str(tmp_path)])
    assert words in str(caught.value)


def test_the_sweep(
    tmp_path: Path, places: dict[str, Path], run_compare: Program
) -> None:
    write_dataset(places["cache"] / "mnist", train=256, test=40)
    outcome = run_compare(
        f"--config={ROOT / 'configs' / 'wan2013_sweep.py'}",
        "--config.epochs=1",
        "--config.hidden=(8,)",
        "--config.seeds=2",
        "--config.rates=(0.25, 0.5)",
        "--config.methods={'none': 0.0, 'dropout': 0.5}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "run" / "compare.json").read_text())
    assert [(row["method"], row["rate"]) for row in content["rows"]] == [
        ("none", 0.0),
        ("dropout", 0.25),
        ("dropout", 0.5),
    ]
    assert (tmp_path / "run" / "compare.png").stat().st_size > 1000
