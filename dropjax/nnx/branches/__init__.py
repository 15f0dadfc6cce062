"""NNX layers for residual branches and whole layers."""

from ._drop_path import DropPath as DropPath
from ._layer_drop import LayerDrop as LayerDrop
from ._shake_drop import ShakeDrop as ShakeDrop
