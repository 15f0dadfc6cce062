"""Training steps compiled for TPUs that are not there."""

import needs

needs.packages(("dropjax", "jax", "rich", "libtpu"), "pods")
