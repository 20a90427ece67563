"""The two players of a dispute, and the replays from which they compute their moves."""
