"""The table: every method in every form, with the coins that it claims to toss."""

from tests.methods import _dropconnect, _dropout, _states, _units
from tests.methods._row import Method as Method
from tests.methods._row import array as array

METHODS = [*_dropout.ROWS, *_dropconnect.ROWS, *_units.ROWS, *_states.ROWS]
