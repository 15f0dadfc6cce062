"""Methods that leave examples, tokens or units out of a computation."""
