"""Where things are."""

import pathlib

HERE = pathlib.Path(__file__).parent.parent
ROOT = HERE.parent
RESULTS = ROOT / "benchmarks" / "results"
GENERATED = ("benchmarks", "methods", "project", "reference")
