"""The step graph: primitives, nodes, legality, serialisation. Pure data; knows nothing of torch or the chain."""
