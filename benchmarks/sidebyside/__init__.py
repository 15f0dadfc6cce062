"""Benchmarks of dropjax and other libraries, for `benchmarks/run.py`."""

import needs

needs.packages(("dropjax", "jax", "matplotlib", "rich"), "benchmarks")
