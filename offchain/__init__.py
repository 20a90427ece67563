"""A market for neural-network training whose results anybody can dispute down to one operation."""

__version__ = "0.1.0"
