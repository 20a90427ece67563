"""What a requester's Python code keeps outside of tensors: a step graph would freeze it, so it is found and refused."""

from offchain.lower.host.check import Run, check_host, check_schedule
from offchain.lower.host.iterators import unmoved
from offchain.lower.host.world import World, kept

__all__ = ["Run", "World", "check_host", "check_schedule", "kept", "unmoved"]
