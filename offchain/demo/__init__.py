"""A task that runs in seconds: handwritten digits."""
