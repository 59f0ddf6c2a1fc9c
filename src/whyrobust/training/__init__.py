"""Training runs: models, objectives, the loop and its checkpoints."""
