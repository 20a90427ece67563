"""The fused executor on CUDA: generated Triton kernels, and matrix products of integers by the fastest exact engine."""
