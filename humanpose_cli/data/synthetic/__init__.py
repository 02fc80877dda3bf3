"""The generator of synthetic people."""
