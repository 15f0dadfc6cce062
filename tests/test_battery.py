"""The batteries of other projects read the words of masks through a pipe."""

import hashlib
import shutil
import stat
import subprocess
import sys

import jax
import numpy as np
import pytest

import dropjax as dj
from dropjax._random import random_words
from tests.battery import __main__ as battery
from tests.battery import external

READ = 3 * (1 << 16) + 5
"""Words: those of three keys and of a part of another."""

STAND_IN = f"""#!{sys.executable}
import hashlib, sys
print("arguments:", *sys.argv[1:])
print("bytes:", hashlib.sha256(sys.stdin.buffer.read({4 * READ})).hexdigest())
print("length= 1 megabyte (2^20 bytes), time= 0.1 seconds")
print("  no anomalies in 100 test result(s)")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs scripts on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(name, script):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


def run(tmp_path, monkeypatch, *arguments):
    own = ["--layouts", "short", "--generators", "fast", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["battery", *arguments, *own])
    return battery.main()


def test_practrand_reads_the_words_of_keys_end_to_end(
    installed, tmp_path, monkeypatch, capsys
):
    installed("RNG_test", STAND_IN)
    assert run(tmp_path, monkeypatch, "--parts", "practrand", "--gib", "2") == 0
    root = jax.random.key(2013, impl=dj.fast_prng)
    words = [random_words(jax.random.fold_in(root, i), (1 << 16,)) for i in range(4)]
    expected = np.concatenate(words)[:READ].astype("<u4").tobytes()
    lines = (tmp_path / "out" / "fast-short-practrand.txt").read_text().splitlines()
    assert lines[0] == "arguments: stdin32 -tlmin 1MB -tlmax 2GB"
    assert lines[1] == f"bytes: {hashlib.sha256(expected).hexdigest()}"
    assert "practrand: 1 megabyte: no anomalies" in capsys.readouterr().out


def test_what_is_not_installed_is_left_out(installed, tmp_path, monkeypatch, capsys):
    parts = ["dieharder", "practrand", "testu01"]
    assert run(tmp_path, monkeypatch, "--parts", *parts) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{part} is not installed: its part is left out" for part in parts]


def test_a_generator_that_fails_is_reported(installed, tmp_path, monkeypatch):
    failed = 'print("  BCFN(2+0,13-3,T)  R= +99.9  p = 1e-50   FAIL !!!")'
    installed("RNG_test", f"{STAND_IN}{failed}\n")
    assert run(tmp_path, monkeypatch, "--parts", "practrand") == 1


def test_a_battery_that_is_killed_has_not_passed(installed, tmp_path, monkeypatch):
    killed = (
        "import os, signal\nsys.stdout.flush()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    installed("RNG_test", f"{STAND_IN}{killed}\n")
    assert run(tmp_path, monkeypatch, "--parts", "practrand") == 1


@pytest.mark.parametrize(
    ("judge", "output"),
    [
        (external.verdict_of_dieharder, ""),
        (external.verdict_of_practrand, "Segmentation fault"),
        (external.verdict_of_testu01, ""),
    ],
)
def test_a_battery_that_says_nothing_has_not_passed(judge, output):
    assert judge(output) == ("nothing", True)


SMALL_CRUSH = """
========= Summary results of SmallCrush =========

 Number of statistics:  15
 Total CPU time:   00:00:08.66
{}
"""


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (" All tests were passed", False),
        ("  1  BirthdaySpacings                 eps  ", True),
        (" 10  RandomWalk1 H                    6.1e-9", True),
        (" 10  RandomWalk1 H                    6.1e-4", False),
        ("  3  Gap                            0.9995", False),
        ("  5  CouponCollector               1 -  4.1e-9", True),
        ("  8  MatrixRank                    1 - eps1", True),
    ],
)
def test_testu01_lists_what_is_extreme(lines, bad):
    assert external.verdict_of_testu01(SMALL_CRUSH.format(lines))[1] is bad


def test_testu01_gets_both_orders_of_bits(installed, tmp_path, monkeypatch):
    passed = SMALL_CRUSH.format(" All tests were passed")
    installed("testu01", f"{STAND_IN}print({passed!r})\n")
    assert run(tmp_path, monkeypatch, "--parts", "testu01", "--crush", "crush") == 0
    for order in ("forward", "reversed"):
        output = (tmp_path / "out" / f"fast-short-testu01-{order}.txt").read_text()
        assert output.startswith(f"arguments: crush {order}\n")


# In place of TestU01's header: its batteries print the first words.
HEADER = """
#define FALSE 0
typedef unsigned int (*unif01_Gen)(void);
static int swrite_Basic;
static unif01_Gen given;
static unif01_Gen *unif01_CreateExternGenBits(char *name, unif01_Gen bits) {
  given = bits;
  return &given;
}
static void unif01_DeleteExternGenBits(unif01_Gen *generator) {}
static void bbattery_SmallCrush(unif01_Gen *generator) {
  for (int i = 0; i < 3; i++) printf("%u\\n", (*generator)());
}
static void bbattery_Crush(unif01_Gen *generator) {}
static void bbattery_BigCrush(unif01_Gen *generator) {}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("order", external.BIT_ORDERS)
def test_the_driver_of_testu01_reads_the_words(tmp_path, order):
    (tmp_path / "TestU01.h").write_text(HEADER)
    driver = tmp_path / "testu01"
    subprocess.check_call(
        ["cc", "-Wall", "-I", tmp_path, "-o", driver, external.DRIVER]
    )
    words = np.array([1, 0x80000000, 0x12345678], np.uint32)
    output = external.run([driver, "small", order], [words], tmp_path / "words.txt")
    expected = words
    if order == "reversed":
        expected = [int(f"{word:032b}"[::-1], 2) for word in words]
    assert [int(line) for line in output.split()] == list(expected)
