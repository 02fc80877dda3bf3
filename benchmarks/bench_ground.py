"""The ground under several people: focal length, up and distances on rendered crowds, with it and without.

Two to six people on a plane before a camera that looks down by 0 to 35°, 1 to 6 m above it, with a lens of 0.9 times
the longer side times exp(N(0, 0.35)). Of ten people, nine stand or walk in poses of held-out activities and one has
another pose; of seven, one is a child of 0.62 to 0.85 of an adult's size. The true boxes are given, the focal length is
not. `up_degrees` without the ground is what balance says (`avatar.ground.tilt_of`).
A line for the images where the ground is found and gives the focal length, one where the default stays, and one of the
images without a ground, which have to be equal.

    python benchmarks/bench_ground.py [images [seed]]      default: 60 2026
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import torch
from _rendered_people import _background, _colours
from torch import Tensor

from humanpose_cli.avatar.ground import tilt_of
from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import Camera, default_focal
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.detector import people_in_boxes
from humanpose_cli.detect.models import ModelPool, PoseModels
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.search import SCHEMES
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.ground import up_of_camera
from humanpose_cli.fitting.options import CommonGroundOptions, FitOptions
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.people import PeopleSource
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Lighting, Surface

SIZES = ((960, 720), (720, 960), (1080, 720))
BODY = default_body()


@dataclass(frozen=True)
class Crowd:
    """An image with its truth: camera, up (3,), joints (N, 24, 3) in camera axes, boxes (N, 4), who is a child (N,)."""

    image: np.ndarray
    camera: Camera
    up: np.ndarray
    joints: np.ndarray
    boxes: np.ndarray
    child: np.ndarray


@dataclass(frozen=True)
class Placed:
    vertices: Tensor
    joints: np.ndarray
    box: np.ndarray
    child: bool


def poses_by_stance(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Poses that stand or walk, with a straight trunk and steep thighs and shanks, and all others."""
    poses = sample_poses(count, generator, split="held_out")
    joints = BODY.pose(poses, torch.zeros(1, 10), vertices=False).joints

    def steepness(lower: str, upper: str) -> Tensor:
        bone = joints[:, SMPL24.index(upper)] - joints[:, SMPL24.index(lower)]
        return torch.nn.functional.normalize(bone, dim=-1)[:, 1]

    standing = steepness("pelvis", "neck") > 0.92
    for side in ("left", "right"):
        standing &= (steepness(f"{side}_knee", f"{side}_hip") > 0.82) & (
            steepness(f"{side}_ankle", f"{side}_knee") > 0.75
        )
    return poses[standing], poses[~standing]


def draw_crowd(standing: Tensor, others: Tensor, random: np.random.Generator) -> Crowd | None:
    """None where fewer than two people found room."""
    width, height = SIZES[random.integers(len(SIZES))]
    camera = Camera.of_image((width, height), default_focal(width, height) * float(np.exp(random.normal(0, 0.35))))
    tilt, roll, above = np.radians(random.uniform(0, 35)), np.radians(random.normal(0, 2)), random.uniform(1, 6)
    up = up_of_camera(tilt, roll)
    right = np.cross((0.0, 0.0, 1.0), up)
    right /= np.linalg.norm(right)
    to_camera = np.stack((-right, up, np.cross(-right, up)), 1)
    people: list[Placed] = []
    wanted = random.integers(2, 7)
    for _ in range(200):
        if len(people) == wanted:
            break
        stance = standing if random.random() < 0.9 else others
        person = person_on_ground(stance[random.integers(len(stance))], camera, to_camera, above, random)
        if person is not None and all(overlap(person.box, other.box) < 0.25 for other in people):
            people.append(person)
    if len(people) < 2:
        return None
    columns = zip(*((p.joints, p.box, p.child) for p in people), strict=True)
    joints, boxes, child = (np.stack(column) for column in columns)
    return Crowd(draw(people, camera, random), camera, up, joints, boxes, child)


def person_on_ground(
    pose: Tensor, camera: Camera, to_camera: np.ndarray, above: float, random: np.random.Generator
) -> Placed | None:
    """A person with the lowest vertex on the plane; None where they would not be in the image, or too small."""
    width, height = camera.size
    ray = np.array((*((random.uniform((0.05, 0.3), (0.95, 0.98)) - 0.5) * camera.size / camera.focal), 1.0))
    descent = float(-ray @ to_camera[:, 1])
    child = bool(random.random() < 0.15)
    if descent < 1e-3 or not 90 < camera.focal * 1.6 * descent / above < 0.9 * height:
        return None
    heading = axis_angle_to_matrix(torch.tensor([0.0, random.uniform(-np.pi, np.pi), 0.0]))
    rotations = pose.clone()
    rotations[0] = torch.from_numpy(to_camera).float() @ heading @ pose[0]
    betas = torch.from_numpy(random.normal(size=(1, 10))).float()
    scales = torch.full((1, 24), random.uniform(0.62, 0.85) if child else 1.0)
    posed = BODY.pose(rotations[None], betas, None, scales)
    assert posed.vertices is not None
    pelvis, up = posed.joints[0, 0].numpy(), to_camera[:, 1]
    lowest = float((posed.vertices[0].numpy() @ up).min())
    trans = ray * above / descent - pelvis + (pelvis @ up - lowest) * up
    vertices = posed.vertices[0] + torch.from_numpy(trans).float()
    if float(vertices[:, 2].min()) < 0.5:
        return None
    pixels = camera.project(vertices.numpy())
    box = np.concatenate((pixels.min(0), pixels.max(0)))
    inside = box.clip(0, (width, height, width, height))
    if area(inside) < 0.93 * area(box):
        return None
    return Placed(vertices, posed.joints[0].numpy() + trans, inside.astype(np.float32), child)


def area(box: np.ndarray) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The common part of two boxes as a share of the smaller."""
    common = np.concatenate((np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])))
    return area(common) / min(area(a), area(b))


def draw(people: list[Placed], camera: Camera, random: np.random.Generator) -> np.ndarray:
    labels = BODY.part_labels.numpy()
    surfaces = [Surface(p.vertices, BODY.faces, colour=_colours(labels, random)) for p in people]
    light = random.normal(size=3) * [0.7, 0.4, 0.4] + [0, -0.6, -0.7]
    lighting = Lighting(direction=tuple(light), ambient=float(random.uniform(0.25, 0.6)))
    drawn = render_people(surfaces, camera, supersampling=2, lighting=lighting)
    image = drawn[..., :3] * drawn[..., 3:] + cv2.resize(_background(random), camera.size) * (1 - drawn[..., 3:])
    image = image + random.normal(scale=0.01, size=image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


class Boxed(PeopleSource):
    """The people of an image in given boxes."""

    people: list[DetectedPerson]

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self.people


def matched(crowd: Crowd, fit: Fit) -> np.ndarray:
    """(N,) the true person of each row."""
    distance = np.linalg.norm(fit.joints2d[:, None, 0] - crowd.camera.project(crowd.joints)[None, :, 0], axis=-1)
    return distance.argmin(1)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def measure(crowd: Crowd, before: Fit, after: Fit, values: dict[str, list[tuple[float, float]]]) -> None:
    """Adds each figure without and with the ground."""
    fits, truth = (before, after), crowd.joints[matched(crowd, before)].astype(np.float32)
    child = crowd.child[matched(crowd, before)]

    def add(name: str, without: float, with_ground: float) -> None:
        values[name].append((float(without), float(with_ground)))

    assert after.ground is not None
    balance = tilt_of(
        body_vertices(BODY, before, np.arange(len(before))), torch.from_numpy(before.joints3d), BODY
    ).numpy()
    add("up_degrees", angle(-balance, crowd.up), angle(after.ground[0, :3], crowd.up))
    add("focal_log", *(abs(np.log(fit.focal[0] / crowd.camera.focal)) for fit in fits))
    depth = [np.log(fit.joints3d[:, 0, 2] / truth[:, 0, 2]) for fit in fits]
    for row, other in combinations(range(len(truth)), 2):
        kind = "child" if child[row] or child[other] else "adults"
        add(f"relative_depth_log_{kind}", *(abs(d[row] - d[other]) for d in depth))
    errors = [(mpjpe(fit.joints3d, truth), pa_mpjpe(fit.joints3d, truth)) for fit in fits]
    for row in range(len(truth)):
        kind = "child" if child[row] else "adult"
        add("depth_log", *(abs(d[row]) for d in depth))
        for name, column in (("mpjpe", 0), ("pa", 1)):
            add(f"{name}_mm_{kind}", *(1e3 * error[column][row] for error in errors))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 2026
    random = np.random.default_rng(seed)
    standing, others = poses_by_stance(1500, torch.Generator().manual_seed(seed))
    source, scheme = Boxed(), SCHEMES["thorough"]
    alone = FitOptions(ground=CommonGroundOptions(use=False))
    results: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    images: dict[str, int] = defaultdict(int)
    done = 0
    with (
        torch.no_grad(),
        ModelPool(1, PoseModels) as pool,
        Fitter(alone, people_source=source) as without,
        Fitter(people_source=source) as with_ground,
    ):
        while done < count:
            crowd = draw_crowd(standing, others, random)
            if crowd is None:
                continue
            done += 1
            source.people = people_in_boxes(pool, crowd.image, crowd.boxes, 4, scheme)
            before, after = without.fit_image(crowd.image), with_ground.fit_image(crowd.image)
            if after.ground is None or after.focal_people is None:
                equal = np.array_equal(before.joints3d, after.joints3d) and before.focal[0] == after.focal[0]
                images["without a ground, equal" if equal else "without a ground, changed"] += 1
                continue
            kind = "focal length from the ground" if after.focal_people[0] else "default focal length"
            images[kind] += 1
            measure(crowd, before, after, results[kind])
    for kind, number in images.items():
        line: dict[str, object] = {"images": number, "kind": kind}
        for name, pairs in sorted(results[kind].items()):
            mean = np.mean(pairs, 0)
            line[name] = {"n": len(pairs), "without": round(float(mean[0]), 3), "with": round(float(mean[1]), 3)}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
