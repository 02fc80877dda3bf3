"""The operations of this package on small inputs, for `engine.self_test.self_test`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.engine.dispatch import Backend
from humanpose_cli.engine.self_test import Run
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.priors import default_prior
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


def _posed(backend: Backend) -> PosedRig:
    """Pose the landmarks of two bodies, four metres before the camera."""
    body, random = default_body(), torch.Generator().manual_seed(1)
    turns, shapes = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((2, 24, 3), (2, 10)))
    root = torch.tensor(((0.1, 0.2, 4.0),) * 2, dtype=torch.float64)
    state = axis_angle_to_matrix(0.4 * turns), root, shapes, torch.ones_like(turns[..., 0])
    return op.pose(LandmarkRig(body, body.landmarks("blazepose33")), state, jacobian=True, backend=backend)


def _posing(backend: Backend, _device: torch.device) -> Sequence[Tensor]:
    return [values for values in _posed(backend) if values is not None]


def _adding(backend: Backend, _device: torch.device) -> Sequence[Tensor]:
    posed = _posed("reference")
    assert posed.jacobian is not None
    equations = NormalEquations.zeros(posed.points, posed.jacobian.shape[3])
    camera = posed.points.new_full((2,), 900.0), posed.points.new_full((2, 2), 300.0)
    pixels = 305 + 900 * posed.points[..., :2] / posed.points[..., 2:]  # five pixels off
    counts = torch.ones_like(pixels[..., 0])
    term = Term.seen(range(pixels.shape[1]), camera, (pixels, counts / 4), counts, 3.0)
    op.add_term(equations, term, posed, backend=backend)
    energy = AngleEnergy.of_visible(posed.rotations, default_prior())
    op.add_angles(equations, posed.rotations, energy, backend=backend)
    return equations


OPERATIONS: Mapping[str, Run] = {"pose_landmarks": _posing, "normal_equations": _adding}
