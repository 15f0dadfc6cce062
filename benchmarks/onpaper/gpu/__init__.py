"""Programs compiled for NVIDIA GPUs that are not there."""

import needs

needs.packages(("dropjax", "jax", "flax", "rich", "jax_cuda13_plugin"), "gpus")
