"""Every error that dropjax raises on purpose.

Each message names the argument, the rule, what was got, and the way out.
"""

from ._arrays import *
from ._attention import *
from ._axes import *
from ._calibration import *
from ._inputs import *
from ._installed import *
from ._layers import *
from ._made import *
from ._mlp import *
from ._options import *
from ._products import *
from ._rates import *
from ._subsets import *
from ._trees import *
from ._words import *
