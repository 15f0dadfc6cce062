"""Programs compiled for NVIDIA GPUs without a GPU."""

import needs

needs.packages(("dropjax", "jax", "flax", "rich", "jax_cuda13_plugin"), "gpus")
