"""Roles decide, the worker acts: `decide(view, …) -> list[Action]` is pure, and imports only words of the market."""
