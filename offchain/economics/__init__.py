"""What the market's rules do to those who follow them: the rules over integers, bids, simulations."""
