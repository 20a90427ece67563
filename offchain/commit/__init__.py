"""Commitments: Merkle trees over tensors, states, traces and graphs (docs/protocol.md, section 3)."""
