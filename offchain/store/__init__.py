"""Files that travel between machines: tasks and checkpoints, as safetensors, checked against their roots when read."""
