"""Times dropjax beside its peers; `benchmarks/run.py` is the program."""

import needs

needs.packages(("dropjax", "jax", "matplotlib", "rich"), "benchmarks")
