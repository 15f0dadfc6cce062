"""Methods for feature maps and images."""

from ._cutout import cutout as cutout
from ._cutout import cutout_mask as cutout_mask
from ._drop_block import drop_block as drop_block
from ._drop_block import drop_block_mask as drop_block_mask
from ._random_erasing import random_erasing as random_erasing
from ._random_erasing import random_erasing_mask as random_erasing_mask
from ._spatial_dropout import spatial_dropout as spatial_dropout
from ._spatial_dropout import spatial_dropout_mask as spatial_dropout_mask
from ._weighted_channel_dropout import (
    weighted_channel_dropout as weighted_channel_dropout,
)
