"""Figures of the README, and of pages beside it, are those of the records they name."""

import datetime
import json
import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TEXT = " ".join(README.split())
SPEED = (ROOT / "docs" / "speed.md").read_text()
EXAMPLES = (ROOT / "examples" / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
FRESH = "dropout float32 4096x4096 rate 0.1 forward"
REUSED = f"{FRESH}, memory reused"
CONTENDERS = {
    "flax `Dropout`": "flax linen",
    "torch `F.dropout`, 2 threads": "torch",
    "dropjax `Dropout`, the same elements as flax": "dropjax",
    "dropjax `Dropout`, `fast_prng` key": "dropjax, fast key",
    "flax `Dropout`, unmodified, `fast_prng` key": "flax linen, fast key",
}


def read(path):
    content = json.loads(path.read_text())
    return content, {row["name"]: row["contenders"] for row in content["rows"]}


CONTENT, ROWS = read(RESULTS / "cpu.json")
GPU = json.loads((RESULTS / "gpu.json").read_text())


def cells_of(contender):
    for row in (FRESH, REUSED):
        found = ROWS[row][contender]
        ms = 1e3 * found["median_s"]
        yield f"{ms:.0f} ms" if ms >= 100 else f"{ms:#.3g} ms"
        yield f"{found['times_floor']:.1f}x"
        yield f"{found['times_faster']:.1f}x"
    scratch = found.get("scratch_bytes")
    yield "" if scratch is None else f"{scratch / 2**20:.0f}{' MiB' * bool(scratch)}"


@pytest.mark.parametrize("name", CONTENDERS)
def test_the_table_is_the_record(name):
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {name} |"))
    said = [cell.strip() for cell in line.split("|")[2:-1]]
    found = list(cells_of(CONTENDERS[name]))
    assert said[:-1] == found[:-1]
    # A kilobyte is none of the array's size.
    assert said[-1].split(" ")[0] == found[-1].split(" ")[0]


def test_the_table_names_its_machine():
    versions, machine = CONTENT["versions"], CONTENT["machine"]
    python = ".".join(versions["python"].split(".")[:2])
    said = f"jax {versions['jax']}, Python {python}, {CONTENT['date']}:"
    assert said in TEXT
    assert machine["cpu"] in TEXT
    assert (machine["cores"], machine["torch_threads"]) == (2, 2)
    found = set(re.findall(r"jax (\d[\d.]*\d)", TEXT))
    assert found == {versions["jax"], GPU["versions"]["jax"]}


def test_what_is_said_of_a_gpu_is_of_its_record():
    times = {}
    for dtype, shape in (("float32", "16384x4096"), ("bfloat16", "16384x8192")):
        name = f"dropout {dtype} {shape} rate 0.1 forward"
        (row,) = (row for row in GPU["rows"] if row["name"] == name)
        assert row["settings"]["mib"] == 256
        times[dtype] = {
            who: f"{entry['times_faster']:.1f}x"
            for who, entry in row["contenders"].items()
        }
    single, half = times["float32"], times["bfloat16"]
    fast = "dropjax, fast key"
    assert f"{single[fast]} as fast as Flax in float32 and {half[fast]}" in TEXT
    assert f"we are {single['dropjax']} and {half['dropjax']} as fast" in TEXT
    device = GPU["machine"]["device"]
    assert f"{device}, jax {GPU['versions']['jax']}, {GPU['date']}" in TEXT


def test_what_compilers_say_of_gpus_is_of_their_record():
    rows = json.loads((RESULTS / "gpus.json").read_text())

    def one(device, form, who, generator):
        wanted = {"device": device, "what": "dropout", "form": form, "who": who}
        wanted |= {"passes": "forward", "generator": generator, "face": "function"}
        (row,) = (row for row in rows if wanted.items() <= row.items())
        assert row["elements"] == 4096 * 4096
        return sum(row["microseconds"].values())

    for who in ("flax", "dropjax"):
        for generator in ("threefry", "rbg", "fast"):
            said = [f"{who}, {generator} key"]
            for device in ("H100", "B200", "A100"):
                for form in ("float32", "bfloat16"):
                    floor = one(device, form, "without", "threefry")
                    limit = one(device, form, who, generator)
                    said.append(f"{limit / floor:.2f}x")
            assert f"| {' | '.join(said)} |" in SPEED


def test_what_the_compiler_says_of_tpus_is_of_its_record():
    rows = json.loads((RESULTS / "pods.json").read_text())

    def plain(row):
        same = ("net", "topology", "model")
        return next(
            other
            for other in rows
            if other["noise"] == "none" and all(other[it] == row[it] for it in same)
        )

    dropped = [row for row in rows if row["noise"] == "dropout"]
    assert all(row["talk"] == plain(row)["talk"] for row in dropped)
    most = max(row["scratch"] / plain(row)["scratch"] for row in dropped)
    assert f"at most {most - 1:.0%}" in TEXT


def test_the_floor_was_as_noisy_as_is_said():
    floor = ROWS[FRESH]["x * c"]
    low, high = (f"{1e3 * floor[name]:.0f}" for name in ("q1_s", "q3_s"))
    said = f"that machine took {low} or {high} ms for the same `x * c`"
    assert said in " ".join(SPEED.split())


def test_the_command_measures_the_rows_of_the_table():
    pattern = re.search(r'run.py --only "(.*)"', README)[1]
    assert pattern == "dropout float32 4096x* rate 0.1 forward*"
    assert pattern.removesuffix("*").split("*")[0] in FRESH


def test_the_accuracy_on_mnist_is_of_a_record():
    path = re.search(r"\(\[record\]\((.*?)\)\)", EXAMPLES)[1]
    record = json.loads((ROOT / "examples" / path).read_text())
    assert f"classified {record['result']['test']['accuracy']:.1%}" in EXAMPLES
    assert record["config"]["epochs"] == len(record["epochs"]) == 10
    assert record["config"]["method"] == "dropconnect"
    assert record["config"]["train_examples"] == 0
    assert "configs/mnist_dropconnect.py" in record["command"]
    assert record["epochs"][-1]["test_accuracy"] == record["result"]["test"]["accuracy"]
    assert {"python", "jax", "flax"} <= record["versions"].keys()
    datetime.date.fromisoformat(record["date"])


def test_the_versions_of_python_are_those_of_the_classifiers():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    line = "Programming Language :: Python :: "
    found = [it.removeprefix(line) for it in project["classifiers"] if line in it]
    assert f"Python {found[0]} to {found[-1]}" in TEXT


def test_every_file_that_is_named_exists():
    named = re.findall(r"\]\(([^)#]+)", README)
    named += [f"examples/{it}" for it in re.findall(r"\]\(([^)#]+)", EXAMPLES)]
    named += re.findall(r"\b(?:configs|examples|benchmarks|docs)/[\w/.]+\.\w+", README)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
