"""The torch executor: runs torch's own operations, one after the other."""
