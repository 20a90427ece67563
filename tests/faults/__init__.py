"""Real workers on a real chain, under whatever breaks machines and networks."""
