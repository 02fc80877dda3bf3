"""Volumetric heatmaps of joints, differentiable on CPU and CUDA."""
