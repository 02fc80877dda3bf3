"""VPoser's checkpoints as a pose prior."""
