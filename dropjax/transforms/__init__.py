"""Transforms of whole trees of parameters."""

from ._dropconnect import dropconnect as dropconnect
from ._dropconnect import dropconnect_mask as dropconnect_mask
from ._mixout import mixout as mixout
from ._selected import selected as selected
from ._targeted_dropout import targeted_dropout as targeted_dropout
from ._trees import Where as Where
from ._trees import takes_deterministic as takes_deterministic
