"""Plans of steps, and what the executors that run plans share."""
