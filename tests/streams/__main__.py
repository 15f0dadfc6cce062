"""Writes golden.toml and known_answers.json: adds to them, and changes nothing tacitly.

    python -m tests.streams             # adds what is new
    python -m tests.streams --breaks 1  # changes or removes lines: contract 1 is broken

Streams change only with a new contract, in a major version: see docs/streams.md.
"""

import argparse
import json
import sys

from tests.streams import GOLDEN, STREAMS, _answers, golden, line

HEADER = """\
# What each method draws for the keys of jax.random.key(2013), as docs/streams.md
# promises: the first 64 bits of a SHA-256. `python -m tests.streams` writes this file.
# The shape is that of x; of linear maps with options, those of x and of the kernel; of
# trees, the number of leaves.
contract = {contract}

[streams]
"""


def written(contract, lines):
    """The content of the file: one line per stream, in the order of the table."""
    return HEADER.format(contract=contract) + "".join(
        f"{json.dumps(name, ensure_ascii=False)} = {_inline(own)}\n"
        for name, own in lines.items()
    )


def _inline(fields):
    parts = (f"{name} = {json.dumps(value)}" for name, value in fields.items())
    return "{ " + ", ".join(parts) + " }"


def broken(old, new):
    """The names of the lines that would change or go."""
    return [name for name in old if old[name] != new.get(name)]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--breaks", type=int, help="the contract that is broken")
    breaks = parser.parse_args(arguments).breaks
    contract, old = golden()
    new = {stream.name: line(stream) for stream in STREAMS}
    known = _answers.answers(contract)
    changed = broken(old, new) + _answers.broken(_answers.read(), known)
    if changed and breaks != contract:
        names = "".join(f"\n  {name}" for name in changed)
        return (
            f"Contract {contract} freezes these streams, which have changed:{names}\n"
            f"If a new major version is to break it, pass --breaks {contract}."
        )
    if breaks is not None and not changed:
        return f"No stream has changed, so that contract {contract} is not broken."
    contract += bool(changed)
    GOLDEN.write_text(written(contract, new))
    _answers.PATH.write_text(_answers.written(known | {"contract": contract}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
