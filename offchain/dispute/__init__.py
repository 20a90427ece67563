"""Both players of a dispute, and the replays that they move by."""
