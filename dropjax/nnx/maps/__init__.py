"""NNX layers for feature maps and images."""

from ._cutout import Cutout as Cutout
from ._drop_block import DropBlock1D as DropBlock1D
from ._drop_block import DropBlock2D as DropBlock2D
from ._drop_block import DropBlock3D as DropBlock3D
from ._random_erasing import RandomErasing as RandomErasing
from ._spatial_dropout import SpatialDropout1D as SpatialDropout1D
from ._spatial_dropout import SpatialDropout2D as SpatialDropout2D
from ._spatial_dropout import SpatialDropout3D as SpatialDropout3D
from ._weighted_channel_dropout import WeightedChannelDropout as WeightedChannelDropout
