"""Masks of body parts: which voxels or pixels their capsules cover."""
