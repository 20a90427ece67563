"""The demo: a task that takes seconds, trained honestly, then by a cheat who is convicted."""
