"""The benchmark runs, relates its contenders and writes what it measured."""

import ctypes
import fnmatch
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _as_the_program_is_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    # Other libraries' code is not written for the strictness that ours is held to.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def tiny(monkeypatch):
    """The rows that are small whatever the grid: one array, one net, one call."""
    from sidebyside import (
        attention_rows,
        contenders,
        net_rows,
        rows,
        subset_rows,
        training,
        weight_rows,
    )

    monkeypatch.setattr(contenders, "absent", lambda: list(contenders.PEERS))
    monkeypatch.setattr(net_rows, "growth", lambda *net: 1.0)
    monkeypatch.setattr(subset_rows, "_DEPTH", 1)
    size = attention_rows.Size(2, 8)
    _, scanned = net_rows.rows_of({"mlp": (training.mlp(8, 4), 2)})
    return [
        rows.array_row("dropout", (16, 32), "float32", 0.1, backward=True),
        scanned,
        rows.eager_row(),
        attention_rows.timed_row(size, attention_rows.MASK),
        attention_rows.compiled_row(size, attention_rows.CAUSAL),
        subset_rows.subset_row(8, 2, 5, 10, 0.4),
        subset_rows.units_row(8, 32, 10, 4, 0.5),
        weight_rows.examples_row(128, 8, 0.5, "forward"),
        weight_rows.examples_row(4, 8, 0.5, "forward", plain=False),
        weight_rows.gaussian_row(4, 8, "forward+backward"),
        *_method_rows(),
    ]


def _method_rows():
    from sidebyside import method_rows

    shapes = {"array": (4, 8), "maps": (2, 8, 8, 4), "sequences": (2, 5, 4)}
    shapes |= {"heads": (2, 4, 2, 8), "images": (2, 8, 8, 3), "tokens": (2, 9, 4)}
    shapes |= {"steps": (2, 3, 4), "queries": (2, 4, 16)}
    return list(method_rows.rows_of(method_rows.Shapes(**shapes)))


def test_rows_are_measured_and_written(tiny, tmp_path, monkeypatch):
    from sidebyside import attention_rows, report, timing

    def measure(row):
        with monkeypatch.context() as patch:
            if row.group == attention_rows.COMPILED:  # No need to compile for a guess.
                patch.setattr(timing, "_calls_per_sample", lambda run: 1)
            return timing.measure(row, 2, lambda: ticks.append(1))

    ticks = []
    results = [measure(row) for row in tiny]
    assert len(ticks) == 2 * len(tiny)
    for row, result in zip(tiny, results, strict=True):
        assert result.name == row.name
        for entry in result.contenders.values():
            assert 0 < entry["q1_s"] <= entry["median_s"] <= entry["q3_s"]
            assert entry["times_faster"] > 0
            assert entry.get("times_floor", 1) > 0
        assert result.contenders[row.baseline]["times_faster"] == 1

    paths = report.write(tmp_path, results, command="python benchmarks/run.py")
    content = json.loads(paths[0].read_text())
    assert content == report.as_dict(results, "python benchmarks/run.py")
    assert [row["name"] for row in content["rows"]] == [row.name for row in tiny]
    assert {"cpu", "avx512", "cores", "memory_gib"} <= set(content["machine"])
    assert {bar["met"] for bar in content["bars"]} <= {True, False, None}
    table = paths[1].read_text()
    assert all(row.name in table for row in tiny)
    dense = results[-1 - len(_method_rows())].contenders["dense layer"]
    assert dense["tflop_per_s"] == 3 * 2 * 4 * 8 * 8 / dense["median_s"] / 1e12


@pytest.mark.slow
# What others do with versions of each other that are newer than they are.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_methods_are_measured_beside_every_peer_installed():
    from sidebyside import bars, contenders, timing

    rows, peers = _method_rows(), set()
    for row in rows:
        result = timing.measure(row, 1, lambda: None)
        names = list(result.contenders)
        assert names[0] == row.floor
        assert names[1] == row.baseline
        assert names[-2:] == [contenders.OURS, contenders.OURS_FAST]
        peers |= set(names[1:-2])
        verdicts = bars.verdicts([result], "cpu")
        assert [f"{row.name}, {name}" for name in names[-2:]] == [
            verdict.bar for verdict in verdicts
        ]
        assert {verdict.met for verdict in verdicts} <= {True, False, None}
    known = {contenders.FLAX, "keras", "torch", "torchvision", "timm"}
    assert peers == known - set(contenders.absent())
    assert len(rows) == (14 if peers == known else len(rows))


def test_a_method_that_is_slower_than_its_fastest_peer_is_told():
    from sidebyside import bars, contenders, timing

    def entry(median):
        return {"median_s": median, "q1_s": 0.9 * median, "q3_s": 1.1 * median}

    slow = {"flax linen": entry(2.0), "torch": entry(1.0), contenders.OURS: entry(1.5)}
    found = {**slow, contenders.OURS_FAST: entry(1.1), contenders.FLOOR: entry(0.5)}
    row = timing.Result("a", "method", {}, found, "flax linen")
    own, fast = bars.verdicts([row], "cpu")
    assert own.wanted == "not above its fastest peer, torch"
    assert (own.met, own.measured) == (False, "1.50 s against 1.00 s")
    assert fast.met is None
    assert fast.measured.endswith(", too noisy to tell")


@pytest.mark.slow
def test_attention_is_measured_beside_every_peer_installed():
    from sidebyside import attention_rows, contenders

    size = attention_rows.Size(2, 32)
    timed, compiled = (
        row.build()
        for row in (attention_rows.timed_row(size), attention_rows.compiled_row(size))
    )
    peers = {"equinox", "keras", "torch"} - set(contenders.absent())
    assert peers <= set(timed)
    assert peers - {"torch"} <= set(compiled)
    for name, call in compiled.items():
        call.run()
        assert call.facts == timed[name].facts
    if "torch" in timed:
        assert timed["torch"].facts["scratch_bytes"] >= 2 * 8 * 32 * 32 * 4


def test_attention_has_bars_for_time_scratch_memory_and_compilation():
    from sidebyside import attention_rows, bars, contenders, timing

    def verdicts(group, length, entries):
        settings = {"shape": [1, length, 8, 64]}
        found = timing.Result("a", group, settings, entries, contenders.FLAX)
        return [(it.wanted, it.met) for it in bars.verdicts([found], "cpu")]

    own = (contenders.OURS, contenders.OURS_FAST)
    none, flax = attention_rows.OURS_NONE, attention_rows.FLAX_NONE
    pieces = (attention_rows.PIECE, attention_rows.PIECE_FAST)
    times = {"median_s": 1.0, "q1_s": 0.9, "q3_s": 1.1, "times_floor": 0.6}
    entries = dict.fromkeys((*own, *pieces, none), times)
    assert verdicts(attention_rows.TIMED, 1024, entries) == [
        (f"at most 0.75 of the time of {flax}", True),
        (f"at most 0.5 of the time of {flax}", False),
        (f"at most 1.1 of the time of {none}", True),
    ]
    slow = {**times, "median_s": 2.0, "q1_s": 1.9}
    assert verdicts(attention_rows.TIMED, 64, {**entries, own[0]: slow}) == [
        (f"not above {pieces[0]}", False),
        (f"not above {pieces[1]}", True),
    ]
    large = {**slow, "scratch_bytes": 65 * 2**20}
    entries = {**dict.fromkeys(own, large), **dict.fromkeys(pieces, times)}
    memory, compilation = (
        verdicts(attention_rows.COMPILED, 2048, entries)[n] for n in (0, 1)
    )
    assert memory == ("at most 64 MiB of scratch", False)
    assert compilation == (f"compiled in at most 2x the time of {pieces[0]}", True)


def test_branches_left_out_have_bars_for_time_and_flops(monkeypatch):
    from sidebyside import bars, subset_rows, timing

    monkeypatch.setattr(subset_rows, "_DEPTH", 1)
    rows = [subset_rows.subset_row(16, 2, 20, 10, rate) for rate in subset_rows.RATES]
    results = [timing.measure(row, 1, lambda: None) for row in rows]
    for result in results:
        flops = {name: one["flops"] for name, one in result.contenders.items()}
        assert flops[subset_rows.TOKENS] < flops[subset_rows.EXAMPLES]
        assert flops[subset_rows.EXAMPLES] < flops["no dropout"]
    assert not bars.verdicts(results, "cpu")
    wide = [replace(it, settings={**it.settings, "width": 256}) for it in results]
    low, _, high, tokens = bars.verdicts(wide, "cpu")
    assert low.wanted == "at most 1.03 of the time of no dropout"
    assert high.wanted == "at most 0.7 of the time of no dropout, 0.66 of its FLOPs"
    assert tokens.bar == f"{rows[1].name}, {subset_rows.TOKENS}"


@pytest.mark.slow
def test_compile_time_is_measured():
    from sidebyside import bars, net_rows, timing

    result = timing.measure(net_rows.compile_row(sites=2), 1, lambda: None)
    verdicts = bars.verdicts([result], "cpu")
    assert [verdict.wanted for verdict in verdicts] == ["not above flax linen"] * 2


def test_the_figure(tmp_path):
    from sidebyside import contenders, figure, timing

    entry = {"times_floor": 2.0}
    settings = {"dtype": "float32", "mib": 64.0, "rate": 0.1, "pass": "forward"}
    settings["memory"] = "fresh"
    names = (contenders.FLOOR, contenders.OURS, contenders.FLAX)
    row = timing.Result(
        "a", "dropout", settings, dict.fromkeys(names, entry), contenders.FLAX
    )
    path = tmp_path / "cpu.png"
    assert figure.draw(path, [row], "here, today") == [path]
    assert path.stat().st_size > 0
    assert figure.draw(path, [], "here, today") == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_what_is_done_is_kept_however_it_ends(end, tmp_path, monkeypatch, tiny):
    program = _program(monkeypatch)
    monkeypatch.setenv("XLA_FLAGS", "--one=1 --two=2")
    measured = []

    def measure(row, repeats, tick):
        if measured:
            raise end
        measured.append(row)
        return real(row, repeats, tick)

    real = program.timing.measure
    monkeypatch.setattr(program.timing, "measure", measure)
    monkeypatch.setattr(program.rows, "all_rows", lambda quick: tiny)
    arguments = [f"--out={tmp_path}", "--repeats=1"]
    if end is KeyboardInterrupt:
        assert program.main(arguments) == 130
    else:
        with pytest.raises(end):
            program.main(arguments)
    content = json.loads((tmp_path / "cpu.json").read_text())
    assert [row["name"] for row in content["rows"]] == [tiny[0].name]
    program_run = "python benchmarks/run.py --repeats 1"
    assert content["command"] == f"XLA_FLAGS='--one=1 --two=2' {program_run}"


def test_rows_of_earlier_runs_are_kept_beside_what_is_measured_again(tmp_path, tiny):
    from sidebyside import report, timing

    first, second = (timing.measure(row, 1, lambda: None) for row in tiny[:2])
    assert report.read(tmp_path) is None
    path, *_ = report.write(tmp_path, [first], command="one")
    report.write(tmp_path, [second], report.read(tmp_path), command="two")
    again = timing.measure(tiny[0], 1, lambda: None)
    report.write(tmp_path, [again], report.read(tmp_path), command="one")
    content = json.loads(path.read_text())
    assert content["command"] == "one; two"
    assert content["rows"] == report.as_dict([again, second], "")["rows"]
    path.write_text(json.dumps({**content, "date": "2013-06-16"}))
    report.write(tmp_path, [second], report.read(tmp_path), command="two")
    dates = json.loads(path.read_text())["date"]
    assert dates.startswith("2013-06-16 to 20")
    path.write_text(json.dumps({**content, "versions": {}}))
    assert report.read(tmp_path) is None


@pytest.fixture
def environments(monkeypatch):
    """Environments without processes: who was asked, and when is the time measured."""
    from sidebyside import report, timing, versions

    asked = []

    def run(command, **options):
        python, _, *words = command
        if python == "broken":
            raise subprocess.CalledProcessError(1, command, stderr="no jax here")
        asked.append(python)
        name = words[words.index("--only") + 1]
        seconds = {"median_s": float(len(asked)), "times_faster": 2.0}
        facts = {**seconds, "q1_s": 0.0, "q3_s": 0.0}
        row = timing.Result(name, "a group", {}, {"dropjax": facts}, "dropjax")
        with monkeypatch.context() as patch:
            patch.setattr(report, "versions", lambda: {"jax": python})
            out = Path(words[words.index("--out") + 1])
            report.write(out, [row], command="python run.py")

    monkeypatch.setattr(versions.subprocess, "run", run)
    return asked


def test_versions_take_turns_and_share_a_table(
    tmp_path, monkeypatch, tiny, environments
):
    program = _program(monkeypatch)
    monkeypatch.setattr(program.rows, "all_rows", lambda quick: tiny[:1])
    arguments = ["--only", tiny[0].name, f"--out={tmp_path}", "--versions"]
    assert program.main([*arguments, "old", "new"]) == 0
    assert environments == ["old", "new", "old", "new"]
    content = json.loads((tmp_path / "versions.json").read_text())
    assert [found["jax"] for found in content["versions"]] == ["old", "new"]
    (row,) = content["rows"]
    assert row["name"] == tiny[0].name
    # The first and the third process, the second and the fourth.
    assert [one["dropjax"]["median_s"] for one in row["contenders"]] == [2, 3]
    lines = (tmp_path / "versions.md").read_text().splitlines()
    heads = "|  | jax old | faster | scratch MiB | jax new | faster | scratch MiB |"
    assert heads in lines
    assert "| dropjax | 2.00 s | 2.0x |  | 3.00 s | 2.0x |  |" in lines


def test_an_environment_that_fails_is_told_and_rows_done_are_kept(
    tmp_path, monkeypatch, capsys, tiny, environments
):
    from sidebyside import versions

    program = _program(monkeypatch)
    monkeypatch.setattr(program.rows, "all_rows", lambda quick: tiny[:2])
    monkeypatch.setattr(versions, "CHOSEN", ("*",))
    arguments = [f"--out={tmp_path}", "--versions"]
    assert program.main([*arguments, "broken"]) == 1
    assert "no jax here" in capsys.readouterr().err
    assert not (tmp_path / "versions.json").exists()
    works = versions.subprocess.run

    def run(command, **options):
        failing = tiny[1].name in command
        works(["broken" if failing else "old", *command[1:]], **options)

    monkeypatch.setattr(versions.subprocess, "run", run)
    assert program.main([*arguments, "old"]) == 1
    content = json.loads((tmp_path / "versions.json").read_text())
    assert [row["name"] for row in content["rows"]] == [tiny[0].name]


def test_the_rows_chosen_for_versions_exist():
    from sidebyside import rows, versions

    names = [row.name for quick in (0, 1) for row in rows.all_rows(quick=bool(quick))]
    assert all(fnmatch.filter(names, pattern) for pattern in versions.CHOSEN)


def test_what_is_smaller_than_32_mib_is_not_fetched_from_the_system_each_time():
    from sidebyside import memory

    if not memory.prepare():
        pytest.skip("the C library is another")
    libc = memory._libc()
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    memory.choose(memory.FRESH)
    size = 2**23
    libc.free(libc.malloc(size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(block)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages < 3 * size / resource.getpagesize()


def test_names_are_listed_and_unknown_ones_are_refused(monkeypatch, capsys):
    program = _program(monkeypatch)
    assert program.main(["--list", "--only", "dropout bfloat16*"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert names
    assert all(name.startswith("dropout bfloat16") for name in names)
    assert program.main(["--only", "nothing"]) == 2
    assert program.main(["--only", names[0][:-1]]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "No row matches 'nothing': see --list." in said
    assert f"did you mean '{names[0]}', or --list." in said


def test_nothing_is_measured_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    program = _program(monkeypatch)
    (tmp_path / "file").touch()
    assert program.main([f"--out={tmp_path / 'file'}"]) == 2
    assert f"Cannot write to {tmp_path}" in "".join(capsys.readouterr().err.split("\n"))


def test_results_stay_as_they_were_where_the_disk_is_full(tmp_path, monkeypatch):
    import output

    path = tmp_path / "cpu.json"
    output.replace(path, "before")
    write_text = Path.write_text

    def full(self, text):
        write_text(self, text[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        output.replace(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_profile_finds_the_loops_that_draw_masks():
    import step_profile

    import dropjax

    def kinds(function):
        inputs = jax.random.key(0), jnp.ones((512, 512))
        text = jax.jit(function).lower(*inputs).compile().as_text()
        return [loop.kind for _, loop in step_profile.parse(text)]

    assert kinds(lambda key, x: dropjax.dropout(key, x, 0.5)) == ["mask"]
    assert kinds(lambda key, x: jnp.tanh(x) + 1) == ["loop"]
    assert "product" in kinds(lambda key, x: x @ x)


def _program(monkeypatch) -> ModuleType:
    import importlib

    monkeypatch.delitem(sys.modules, "run", raising=False)
    return importlib.import_module("run")
