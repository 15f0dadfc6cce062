"""The training program: settings, data, models, steps, loop, reports.

The programs import this package before anything else, so that a missing package is
reported in one line instead of a traceback.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = {
    "absl": "absl-py",
    "dropjax": "dropjax",
    "jax": "jax",
    "matplotlib": "matplotlib",
    "ml_collections": "ml-collections",
    "orbax": "orbax-checkpoint",
    "platformdirs": "platformdirs",
    "rich": "rich",
    "sklearn": "scikit-learn",
}

if missing := [name for module, name in _PACKAGES.items() if not find_spec(module)]:
    sys.exit(
        f"{Path(sys.argv[0]).name}: not installed: {', '.join(missing)}; run "
        "pip install '.[examples]' in the project's directory"
    )
