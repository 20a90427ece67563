"""Files that travel: tasks and checkpoints, as safetensors, checked against their roots when they are read."""
