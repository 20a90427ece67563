"""Machine code for this processor: made, kept on disk, run by all threads."""
