"""The fast executor for CPUs: one native kernel per distinct map, reduction or product."""
