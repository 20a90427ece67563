"""The executor on torch's own operations, one after the other."""
