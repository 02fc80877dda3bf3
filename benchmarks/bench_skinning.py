"""Posing bodies of SMPL's size (6,890 vertices), forwards and backwards, against smplx.lbs.

Both sides go from shape and axis-angle pose to vertices and back to both gradients. smplx cannot leave pose blend
shapes out: where ours does, theirs is also given without the time of their matrix product. The last figures are the
steps of a keypoint fit, 33 points on a body, against the engine's own reference in torch.

    python benchmarks/bench_skinning.py [--device cuda] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse
import time

import torch
from side_by_side import Work, compare
from smplx.lbs import lbs
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.skinning.op import forward_kinematics, pose_vertices, skin_vertices
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

VERTICES, SHAPES, BONES = 6890, 10, 4
PARENTS = SMPL24.parents
JOINTS = len(PARENTS)


class Model:
    """Random numbers of SMPL's shapes; a vertex's four bones neighbour those of the next vertex, as on a body."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        self.template = torch.randn(VERTICES, 3, device=device)
        self.shape_directions = 0.03 * torch.randn(VERTICES, 3, SHAPES, device=device)
        self.regressor = torch.softmax(torch.randn(JOINTS, VERTICES, device=device), -1)
        bones = torch.arange(VERTICES, device=device)[:, None] * JOINTS // VERTICES
        self.bone_indices = ((bones + torch.arange(BONES, device=device)) % JOINTS).int()
        self.bone_weights = torch.softmax(torch.randn(VERTICES, BONES, device=device), -1)
        self.weights = torch.zeros(VERTICES, JOINTS, device=device)
        self.weights.scatter_(1, self.bone_indices.long(), self.bone_weights)
        self.parents = torch.tensor(PARENTS, device=device)
        self.identity = torch.eye(3, device=device)
        self.joint_template = self.regressor @ self.template
        self.joint_directions = torch.einsum("jv,vcs->sjc", self.regressor, self.shape_directions).flatten(1)
        by_shape = self.shape_directions.flatten(0, 1).mT
        by_pose = 0.01 * torch.randn(9 * (JOINTS - 1), 3 * VERTICES, device=device)
        # One matrix product for both; smplx reads the same memory, so that neither side empties the other's cache.
        self.directions = torch.cat((by_shape, by_pose))
        self.shape_only, self.pose_directions = self.directions[:SHAPES], self.directions[SHAPES:]

    def smplx(self, betas: Tensor, pose: Tensor) -> Tensor:
        return lbs(
            betas,
            pose,
            self.template,
            self.shape_directions,
            self.pose_directions,
            self.regressor,
            self.parents,
            self.weights,
        )[0]

    def engine(self, betas: Tensor, pose: Tensor, pose_blend_shapes: bool = True) -> Tensor:
        batch = len(betas)
        return pose_vertices(
            self.template,
            self.bone_indices,
            self.bone_weights,
            pose.view(batch, JOINTS, 3),
            self.joint_template,
            PARENTS,
            betas=betas,
            directions=self.directions if pose_blend_shapes else self.shape_only,
            joint_directions=self.joint_directions.unflatten(1, (JOINTS, 3)),
            backend="kernel",
        )[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = Model(options.device)
    for batch, reach in ((1, 2.2), (64, 2.5), (256, 2.8)):
        complete_bodies(model, batch, reach if options.device == "cpu" else 5.0, options)
    for batch in (1, 16, 64):
        landmarks(batch, options)


def complete_bodies(model: Model, batch: int, reach: float, options: argparse.Namespace) -> None:
    """Two figures, with and without pose blend shapes, after a check that both sides give the same gradients."""
    betas = torch.randn(batch, SHAPES, device=options.device).requires_grad_()
    pose = (0.3 * torch.randn(batch, 3 * JOINTS, device=options.device)).requires_grad_()
    upstream = torch.randn(batch, VERTICES, 3, device=options.device)

    def both_ways(run, *extra):
        return torch.autograd.grad(run(betas, pose, *extra), (betas, pose), upstream)

    for a, b in zip(both_ways(model.engine), both_ways(model.smplx), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3 * float(b.abs().max()))
    repeats = {1: 10 * options.repeats, 256: 1 + options.repeats // 3}.get(batch, options.repeats)
    common = {"device": options.device, "repeats": repeats}
    compare(
        f"skinning, batch {batch}, with pose blend shapes",
        lambda: both_ways(model.engine),
        lambda: both_ways(model.smplx),
        against="smplx.lbs",
        reach=reach,
        work=min_work(batch, VERTICES, len(model.directions)),
        **common,
    )
    product = _product_ms(model, batch, options.device)
    compare(
        f"skinning, batch {batch}, without pose blend shapes",
        lambda: both_ways(model.engine, False),
        lambda: both_ways(model.smplx),
        against=f"smplx.lbs, of which {product:.2f} ms are its pose blend shapes' product",
        reach=5.0,
        work=min_work(batch, VERTICES, SHAPES),
        **common,
    )


def min_work(batch: int, vertices: int, shapes: int) -> Work:
    """What forwards and backwards need: a model's constants twice, results and their gradients once, in float32.

    Nothing between is counted, since a rest vertex could be made where it is moved. Each weight of a vertex multiplies
    a map of twelve numbers three times: to move it, to turn its gradient back, and to sum that of the map.
    """
    constants = vertices * (3 * shapes + 3 + 2 * BONES)
    arithmetic = 2 * 2 * 3 * shapes + 3 * 2 * 12 * BONES + 45
    return Work(4 * (2 * constants + 2 * 3 * batch * vertices), batch * vertices * arithmetic)


def landmarks(batch: int, options: argparse.Namespace) -> None:
    """A figure for the small sizes at which a keypoint fit calls the engine hundreds of times."""
    torch.manual_seed(0)
    rotations = axis_angle_to_matrix(torch.randn(batch, JOINTS, 3, device=options.device)).requires_grad_()
    joints = torch.randn(batch, JOINTS, 3, device=options.device).requires_grad_()
    points = torch.randn(batch, 33, 3, device=options.device).requires_grad_()
    bones = torch.randint(JOINTS, (33, BONES), device=options.device, dtype=torch.int32)
    weights = torch.softmax(torch.randn(33, BONES, device=options.device), -1)
    upstream = torch.randn(batch, 33, 3, device=options.device)

    def step(backend):
        posed = forward_kinematics(rotations, joints, PARENTS, backend=backend)
        moved = skin_vertices(points, joints, posed.linear, posed.positions, bones, weights, backend=backend)
        return torch.autograd.grad(moved, (rotations, joints, points), upstream)

    compare(
        f"33 landmarks, batch {batch}",
        lambda: step("kernel"),
        lambda: step("reference"),
        against="the engine's reference",
        reach=3.0,
        work=min_work(batch, 33, 0),
        device=options.device,
        repeats=5 * options.repeats,
    )


def _product_ms(model: Model, batch: int, device: str) -> float:
    """Least of ten times of the pose blend shapes' matrix product, forwards and backwards."""
    features = torch.randn(batch, len(model.pose_directions), device=device).requires_grad_()
    upstream = torch.randn(batch, model.pose_directions.shape[1], device=device)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.autograd.grad(features @ model.pose_directions, features, upstream)
        if device != "cpu":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 1000 * best


if __name__ == "__main__":
    main()
