"""tar archives: bytes to bytes."""
