"""Times dropjax beside its peers; `benchmarks/run.py` is the program."""
