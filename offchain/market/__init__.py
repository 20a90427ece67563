"""The words of the market: what a role sees, what it may ask for, what a worker has noted."""
