"""Every config runs, and wrong settings get one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import calibrate
import compare
import pytest
import tabulate
import train
import train_parallel
import uci
import uncertainty
from training import settings
from training.command_line import load_config
from training.errors import UserError

from .conftest import ROOT, Program, write_dataset, write_text

# Those of uncertainty.py and uci.py have tests of their own.
CONFIGS = sorted((ROOT / "configs").glob("[!u]*.py"))
# One of each kind; the others, of which a few compile for minutes, are for test-all.
OFTEN = {
    "digits_compare",
    "digits_dropconnect",
    "digits_dropconnect_nnx",
    "digits_transformer",
    "fashion_spatial",
    "shakespeare_dropconnect",
    "shakespeare_transformer",
}
DIGITS = f"--config={ROOT / 'configs' / 'digits_none.py'}"


@pytest.fixture(autouse=True)
def small_files(places: dict[str, Path]) -> None:
    for name in ("mnist", "fashion-mnist"):
        write_dataset(places["cache"] / name)
    write_text(places["cache"] / "tinyshakespeare")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in OFTEN)
        )
        for path in CONFIGS
    ],
)
def test_every_config_runs_two_steps(
    path: Path, tmp_path: Path, run_train: Program, run_compare: Program
) -> None:
    config = load_config(path)
    compares, batch = "methods" in config, min(config.batch_size, 128)
    outcome = (run_compare if compares else run_train)(
        f"--config={path}",
        f"--workdir={tmp_path / 'run'}",
        "--config.epochs=1",
        f"--config.train_examples={2 * batch}",
        f"--config.batch_size={batch}",
        "--config.test_examples=30",
        "--config.hidden=(8,)",
        "--config.channels=(2,3)",
        "--config.length=5",
        "--config.heads=2",
        *(["--config.seeds=2"] if compares else []),
        *(["--config.rates=(0.5,)"] if compares and config.rates else []),
    )
    assert outcome.code == 0, outcome.err
    written = {file.name for file in (tmp_path / "run").iterdir()}
    if compares:
        assert written >= {"config.json", "compare.md", "compare.json", "compare.png"}
    else:
        assert written >= {"metrics.jsonl", "curves.png", "result.json", "checkpoints"}
        assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 2


def test_every_config_is_sound() -> None:
    for path in CONFIGS:
        config = load_config(path)
        compares = "methods" in config
        template = settings.comparison_config if compares else settings.default_config
        settings.check(config, template())


def test_linen_nnx_and_every_method_are_exercised() -> None:
    configs = [load_config(path) for path in CONFIGS]
    assert {it.host for it in configs} == {"linen", "nnx"}
    assert {it.model for it in configs} == {
        "mlp", "cnn", "lstm", "perceptron", "residual", "transformer", "decoder",
    }  # fmt: skip
    assert {it.dataset for it in configs} == {
        "digits", "mnist", "fashion_mnist", "tiny_shakespeare",
    }  # fmt: skip
    assert {it.method for it in configs} == {
        "none", "dropout", "dropconnect", "spatial", "drop_path", "all", "multi_sample",
        "attention",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.ratte=0.3"], "no key 'ratte'; did you mean 'rate'?"),
        (["--config.rate.x=0.3"], "no key 'rate.x'"),
        (["--config.rate=abc"], "--config.rate=abc: could not convert"),
        (["--config.method=dropout", "--config.rate=1.5"], "below 1, got 1.5"),
        (["--config.method=dropout", "--config.rate=-0.1"], "below 1, got -0.1"),
        (["--config.method=dropout", "--config.rate=nan"], "below 1, got nan"),
        (["--config.method=dropconect"], "method 'dropconect' does not fit"),
        (["--config.method=spatial"], "method 'spatial' does not fit model 'mlp'"),
        (
            ["--config.model=mpl"],
            "of mlp, cnn, lstm, perceptron, residual, transformer, decoder, got 'mpl'",
        ),
        (["--config.host=haiku"], "config.host must be one of linen, nnx"),
        (["--config.dataset=minst"], "config.dataset must be one of digits, mnist"),
        (["--config.optimizer=x"], "config.optimizer must be one of adamw, sgd"),
        (
            ["--config.schedule=x"],
            "must be one of constant, cosine, stages, got",
        ),
        (["--config.scan=x"], "config.scan must be one of auto, always, never"),
        (["--config.activation=x"], "must be one of relu, sigmoid, tanh, got 'x'"),
        (["--config.scaling=x"], "config.scaling must be one of inverted, standard"),
        (["--config.stages=(1, 2)"], "must be a tuple of three positive integers"),
        (["--config.model=residual", "--config.host=nnx"], "must be linen for model"),
        (
            ["--config.model=transformer", "--config.host=nnx", "--config.hidden=(6,)"],
            "config.hidden must be a multiple of 4, the same for each block",
        ),
        (
            [
                "--config.model=decoder",
                "--config.dataset=tiny_shakespeare",
                "--config.hidden=(12,)",
            ],
            "config.hidden must be a multiple of 8, the same for each block",
        ),
        (["--config.model=perceptron"], "config.hidden must be an odd number of"),
        (["--config.model=decoder"], "model 'decoder' does not fit dataset 'digits'"),
        (["--config.consistency=-1"], "must be 0 or a positive number, got -1.0"),
        (["--config.nets=0"], "config.nets must be 1 or more, got 0"),
        (["--config.nets=2", "--config.scan=never"], "are trained in a scan"),
        (["--config.model=lstm"], "model 'lstm' does not fit dataset 'digits'"),
        (["--config.dataset=tiny_shakespeare"], "model 'mlp' does not fit dataset"),
        (["--config.epochs=0"], "config.epochs must be 1 or more, got 0"),
        (["--config.epochs=1.5"], "--config.epochs=1.5: invalid literal"),
        (["--config.batch_size=0"], "config.batch_size must be 1 or more"),
        (["--config.batch_size=2000"], "batch_size is 2000, but there are 1442"),
        (["--config.learning_rate=inf"], "must be a positive number, got inf"),
        (["--config.weight_decay=-1"], "must be 0 or a positive number, got -1.0"),
        (["--config.seed=-1"], "config.seed must be at least 0"),
        (["--config.hidden=(4, 'a')"], "config.hidden must be a tuple"),
        (["--config.hidden=()"], "config.hidden must be a tuple"),
        (["--config.model=cnn", "--config.channels=(4,4,4,4)"], "to nothing"),
        (["--wordkir=x"], "unknown flag --wordkir; did you mean 'workdir'?"),
        (["--config.rate"], "Missing value for flag --config.rate"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_wrong_setting_gets_one_line(
    arguments: list[str], words: str, tmp_path: Path, run_train: Program
) -> None:
    outcome = run_train(DIGITS, f"--workdir={tmp_path / 'run'}", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("train.py: ")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("x = 1", "has no attribute 'get_config'"),
        ("def get_config(): return {}", "must return a ConfigDict, got a dict"),
        (
            "from ml_collections import ConfigDict as get_config",
            "the config lacks activation, batch_size, channels",
        ),
        (
            "from training.settings import default_config\n"
            "def get_config():\n"
            "  config = default_config()\n"
            "  config.epoch = 3\n"
            "  return config",
            'Did you mean "epochs"',
        ),
        (
            "from training.settings import default_config\n"
            "def get_config():\n"
            "  config = default_config()\n"
            "  config.epochs = 'many'\n"
            "  return config",
            "TypeError",
        ),
    ],
)
def test_a_wrong_config_file_gets_one_line(
    text: str, words: str, tmp_path: Path, run_train: Program
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(text)
    outcome = run_train(f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("configs/nope.py", ""),
        (
            "configs/digit_dropconect.py",
            "; did you mean configs/digits_dropconnect.py?",
        ),
        ("digits_dropconnect", "; did you mean configs/digits_dropconnect.py?"),
        ("digits_dropconnect.py", "; did you mean configs/digits_dropconnect.py?"),
        ("elsewhere/mnist_none.py", "; did you mean configs/mnist_none.py?"),
    ],
)
def test_a_missing_config_file(
    name: str, hint: str, run_train: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    outcome = run_train(f"--config={name}")
    said = f"train.py: there is no config file {name}{hint}\n"
    assert outcome == (2, "", said)


def test_a_file_beside_a_missing_one_is_the_first_guess(
    tmp_path: Path, run_train: Program
) -> None:
    (tmp_path / "digits_none.py").touch()
    outcome = run_train(f"--config={tmp_path}/digit_none.py")
    assert outcome.err.endswith(f"; did you mean {tmp_path}/digits_none.py?\n")


def test_train_and_compare_tell_their_configs_apart(
    run_train: Program, run_compare: Program, tmp_path: Path
) -> None:
    comparison = f"--config={ROOT / 'configs' / 'digits_compare.py'}"
    outcome = run_train(comparison, f"--workdir={tmp_path / 'run'}")
    assert "of no use here: methods, rates, seeds" in outcome.err
    outcome = run_compare(DIGITS, f"--workdir={tmp_path / 'run'}")
    assert "the config lacks methods, rates, seeds" in outcome.err


@pytest.mark.parametrize("flag", ["--help", "-h", "-help"])
@pytest.mark.parametrize(
    "program", [train, compare, calibrate, uci, uncertainty, train_parallel, tabulate]
)
def test_help(flag: str, program: object, capsys: pytest.CaptureFixture) -> None:
    assert program.main([f"examples/{program.__name__}.py", flag]) == 0
    out = capsys.readouterr().out
    assert f"python examples/{program.__name__}.py" in out
    assert "-h,--[no]help" in out


def test_missing_data_gets_one_line_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    program = [sys.executable, str(ROOT / "examples" / "train.py")]
    done = subprocess.run(
        [*program, DIGITS, "--config.dataset=mnist", f"--workdir={tmp_path / 'run'}"],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("train.py: the files of mnist are in none of ")
    assert done.stderr.count("\n") == 1


def test_the_default_config_has_a_rule_for_every_number() -> None:
    config = settings.default_config()
    for name, value in config.items():
        if type(value) in (int, float) and name != "rate":
            with config.unlocked():
                config[name] = type(value)(-1)
            with pytest.raises(UserError, match=name):
                settings.check(config, settings.default_config())
            config[name] = value
