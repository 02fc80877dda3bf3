"""The layer of fingers and jaw of the default body: MakeHuman's finger bones and jaw, on top of SMPL's 24 joints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import FINGERS

Array = NDArray[np.float64]

# Number of each finger in MakeHuman's names.
NUMBERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
TIP_DEPTH = 0.006  # metres from the end of a finger to its landmark
WEIGHTS_PER_VERTEX = 4


def finger_bones() -> list[str]:
    """MakeHuman's bones of the layer: the left fingers in the order of FINGERS, the right ones, the jaw."""
    names = [f"finger{NUMBERS[joint[:-1]]}-{joint[-1]}" for joint in FINGERS]
    return [*(f"{name}.L" for name in names), *(f"{name}.R" for name in names), "jaw"]


def build_fingers(
    labels: list[str],
    parents: list[int],
    weights: Array,
    vertices: Array,
    heads: Array,
    regress: Callable[[Array], tuple[Array, Array]],
) -> dict[str, NDArray[np.generic]]:
    """Return the layer's arrays of default_body.npz.

    labels and parents (B,) of the bones, weights (V, B), vertices (N, V, 3) and heads (N, B, 3) of the sampled bodies;
    `regress` returns template and shape components of points (N, P, 3).
    """
    bones = finger_bones()
    rows = [labels.index(bone) for bone in bones]
    moved = np.zeros((len(weights), len(bones)))
    for bone in range(len(labels)):
        ancestor = bone
        while ancestor >= 0 and ancestor not in rows:
            ancestor = parents[ancestor]
        if ancestor >= 0:
            moved[:, rows.index(ancestor)] += weights[:, bone]
    affected = np.flatnonzero(moved.max(1) > 1e-3)
    order = np.argsort(-moved[affected], axis=1, kind="stable")[:, :WEIGHTS_PER_VERTEX]
    strongest = np.take_along_axis(moved[affected], order, 1)
    tips = _tips(moved, vertices, heads[:, rows])
    template, directions = regress(np.concatenate((heads[:, rows], tips), 1))
    return {
        "fingers.joint_template": template.astype(np.float32),
        "fingers.joint_directions": directions.astype(np.float32),
        "fingers.vertices": affected.astype(np.uint16),
        "fingers.bone_indices": np.where(strongest > 0, order, 0).astype(np.uint8),
        "fingers.bone_weights": np.rint(strongest * np.iinfo(np.uint16).max).astype(np.uint16),
    }


def _tips(moved: Array, vertices: Array, heads: Array) -> Array:
    """Return the fingertips (N, 10, 3): of the last bones' vertices the farthest ones, drawn back into the finger."""
    tips = []
    for bone in range(2, 30, 3):
        along = heads[:, bone] - heads[:, bone - 1]
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        own = np.flatnonzero(moved[:, bone] > 0.5)
        reach = np.einsum("vc,c->v", vertices.mean(0)[own] - heads.mean(0)[bone], along.mean(0))
        farthest = own[np.argsort(-reach)[:12]]
        tips.append(vertices[:, farthest].mean(1) - TIP_DEPTH * along)
    return np.stack(tips, 1)
