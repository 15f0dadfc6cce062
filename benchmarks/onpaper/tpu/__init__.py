"""Training steps compiled for TPUs without a TPU."""

import needs

needs.packages(("dropjax", "jax", "rich", "libtpu"), "pods")
