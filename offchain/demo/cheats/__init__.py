"""Cheats by name: each an honest worker with one false part, and how that ends."""
