"""Rotations, similarity fits and cameras, as batched and differentiable torch functions."""
