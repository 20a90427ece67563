"""Roles decide, the runner acts: `decide(view, ...) -> list[Action]` is pure and knows nothing of the chain."""
