"""Bodies from pictures by networks: models and inference, no optimisation."""
