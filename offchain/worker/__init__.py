"""The worker process: it looks, computes, acts, serves."""
