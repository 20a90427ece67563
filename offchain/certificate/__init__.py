"""What was computed from what, and on which chain it was settled: a file that others can check."""
