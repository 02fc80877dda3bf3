"""Volumetric heatmaps of joints, differentiable on CPU and CUDA."""

from humanpose_cli.engine.heatmaps.op import gaussian_heatmaps as gaussian_heatmaps
