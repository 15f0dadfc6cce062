"""The table: every method in every form, with the coins that it claims to toss."""

from tests.methods import (
    _dropconnect,
    _dropout,
    _sequences,
    _states,
    _trees,
    _units,
    _wrappers,
)
from tests.methods._row import Method as Method
from tests.methods._row import array as array

METHODS = [
    *_dropout.ROWS,
    *_dropconnect.ROWS,
    *_trees.ROWS,
    *_units.ROWS,
    *_states.ROWS,
    *_sequences.ROWS,
    *_wrappers.ROWS,
]
