"""What it costs beside what people use now: each verb of `offchain bench`, and how the cost grows."""
