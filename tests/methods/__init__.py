"""The table: every method in every form, with the mask shape that it claims."""

from tests.methods import (
    _activations,
    _branches,
    _inputs,
    _maps,
    _sequences,
    _subsets,
    _units,
    _weights,
)
from tests.methods._row import Method as Method
from tests.methods._row import array as array

METHODS = [
    *_activations.ROWS,
    *_maps.ROWS,
    *_branches.ROWS,
    *_inputs.ROWS,
    *_sequences.ROWS,
    *_subsets.ROWS,
    *_units.ROWS,
    *_weights.ROWS,
]
