"""The words of the market: what a role sees, what it may ask for, what it remembers."""
