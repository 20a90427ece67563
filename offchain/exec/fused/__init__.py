"""The fast executor for CPUs: one native kernel per distinct map or reduction, matrix products in torch's BLAS."""
