"""Training: the loop, losses, optimisers, schedules and checkpoints. Knows no task by name."""
