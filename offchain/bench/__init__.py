"""The verbs of `offchain bench`: what things cost beside what people use now, and how the cost grows."""
