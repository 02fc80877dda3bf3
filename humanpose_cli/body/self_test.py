"""A check that SMPL's models are posed as by the package smplx, for `hpc doctor --body`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from humanpose_cli.body.smpl import load_smpl, read_model
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

_BODIES = 8
_HANDS = slice(22, 24)  # of SMPL24; the fingers of SMPL-H and SMPL-X stay straight


def difference_from_smplx(path: Path | str) -> float:
    """Pose random bodies of a model file with this package and with smplx.

    Args:
        path: The model file.

    Returns:
        The largest distance between corresponding vertices, metres.

    Raises:
        ImportError: If smplx is not installed; the extra of that name installs it.
        InputError: If the file is damaged or another model.
    """
    from smplx.lbs import lbs

    body = load_smpl(path)
    fields = {name: np.asarray(values, np.float64) for name, values in read_model(path)[1].items()}
    random = torch.Generator().manual_seed(0)
    poses = 0.4 * torch.randn(_BODIES, 24, 3, generator=random)
    poses[:, _HANDS] = 0
    betas = torch.randn(_BODIES, body.shape_count, generator=random)
    vertices = body.pose(axis_angle_to_matrix(poses), betas).vertices
    assert vertices is not None
    vertex_count, joint_count = fields["weights"].shape
    all_poses = torch.zeros(_BODIES, joint_count, 3, dtype=torch.float64)
    all_poses[:, : _HANDS.start] = poses[:, : _HANDS.start]
    expected, _ = lbs(
        betas.double(),
        all_poses.flatten(1),
        torch.from_numpy(fields["v_template"])[None],
        torch.from_numpy(fields["shapedirs"][..., : body.shape_count]),
        torch.from_numpy(fields["posedirs"].reshape(3 * vertex_count, -1).T.copy()),
        torch.from_numpy(fields["J_regressor"]),
        torch.from_numpy(fields["kintree_table"][0].astype(np.int64)),
        torch.from_numpy(fields["weights"]),
    )
    return float((vertices - expected).norm(dim=-1).max())
