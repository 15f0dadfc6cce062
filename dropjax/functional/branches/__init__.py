"""Methods for residual branches and whole layers."""

from ._drop_path import drop_path as drop_path
from ._drop_path import drop_path_mask as drop_path_mask
from ._layer_drop import layer_drop as layer_drop
from ._shake_drop import shake_drop as shake_drop
