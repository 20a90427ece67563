"""What is planned before a step runs, for whichever backend launches it."""
