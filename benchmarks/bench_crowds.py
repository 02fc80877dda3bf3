"""People found in rendered crowds: three to eight dressed bodies that hide each other, with known truth.

Of each 100 people about 15 have a ball before their face, 7 stand on their head, and in 40 of 100 images the camera is
so near that people at the edges are cut off. Counted are people who show at least five of 13 joints (nose, shoulders,
elbows, wrists, hips, knees, ankles). A person is found if the median distance of the visible joints from the detector's
is below a tenth of the height; joints are right within 8 % of the height, those of people not found are wrong. A wrong
joint is borrowed if another person shows this joint there. `first search` is the search without the second look.

    python benchmarks/bench_crowds.py [images]      default: 40
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.detect.detector import hide_shared_joints
from humanpose_cli.detect.fusion import fused_people
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.search import BODY, SCHEMES, Candidate
from humanpose_cli.detect.second_look import search_twice
from humanpose_cli.lab.cache.label_maps import labels_of
from humanpose_cli.lab.synthetic.backgrounds import sample_background
from humanpose_cli.lab.synthetic.cameras import CameraOptions, sample_camera, sample_degradation, sample_lighting
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.mesh import DressedMesh
from humanpose_cli.lab.synthetic.people import sample_identity, sample_outfit
from humanpose_cli.lab.synthetic.poses import PoseBank, held_pose, on_floor, turn_motion
from humanpose_cli.lab.synthetic.renderer import SceneRenderer, people_of_frame
from humanpose_cli.lab.synthetic.scene import Prop, SceneDescription, StagedPerson, ball, move_solid, sample_props

SIZES = ((540, 720), (720, 540), (600, 900), (480, 640))  # height, width
PEOPLE, CAST = (3, 8), 20
UPSIDE_DOWN, COVERED = 0.07, 0.15
CAMERA = CameraOptions(focal=(0.8, 2.0), fill=(0.6, 0.95), cut=0.4, enlarged=(1.05, 1.5), roll=0.03, off_centre=0.0)
MIN_VISIBLE = 5  # joints
MATCHED, RIGHT, BORROWED = 0.1, 0.08, 0.05  # of the height, which is 1.7 m at the person's distance
SIDES = [0, *(row + (1 if row % 2 else -1) for row in range(1, len(BODY)))]  # rows of BODY mirrored


@dataclass(frozen=True)
class Crowd:
    """An image (H, W, 3) uint8, and joints (P, 13, 2), visibility (P, 13) and heights (P,) in pixels of its people."""

    image: np.ndarray
    joints: np.ndarray
    visible: np.ndarray
    height: np.ndarray


@dataclass
class Counts:
    """The detections of each image."""

    found: list[bool] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    false_people: int = 0
    borrowed: int = 0
    seconds: float = 0.0

    def add(self, crowd: Crowd, people: Sequence[DetectedPerson]) -> None:
        """Return the people that are detected in an image."""
        points = np.reshape([p.keypoints[BODY, :2] for p in people], (-1, len(BODY), 2)).astype(float)
        of = matched(crowd, points)
        self.false_people += len(people) - len(of)
        for row, visible in enumerate(crowd.visible):
            if visible.sum() < MIN_VISIBLE:
                continue
            self.found.append(row in of)
            errors = np.full(len(BODY), np.inf)
            if row in of:
                errors = np.linalg.norm(points[of[row]] - crowd.joints[row], axis=1) / crowd.height[row]
            self.right += (errors < RIGHT)[visible].tolist()
        for row, detection in of.items():
            self.borrowed += borrowed(crowd, row, people[detection].keypoints[BODY])

    def row(self, name: str, images: int) -> dict[str, object]:
        """The figures as a line of the result."""
        return {
            "search": name,
            "images": images,
            "people": len(self.found),
            "found": round(float(np.mean(self.found)), 3),
            "joints_right": round(float(np.mean(self.right)), 3),
            "false_people": self.false_people,
            "borrowed_joints": self.borrowed,
            "seconds_per_image": round(self.seconds / images, 2),
        }


def matched(crowd: Crowd, points: np.ndarray) -> dict[int, int]:
    """The detection (D, 13, 2) of each person who has one; left and right may be swapped."""
    distances = np.full((len(crowd.joints), len(points)), 9.0)
    for row, visible in enumerate(crowd.visible):
        for column, joints in enumerate(points if visible.sum() > 1 else ()):
            orders = (np.linalg.norm(joints[order] - crowd.joints[row], axis=1) for order in (slice(None), SIDES))
            distances[row, column] = min(float(np.median(d[visible])) for d in orders) / crowd.height[row]
    pairs = zip(*linear_sum_assignment(np.minimum(distances, 2 * MATCHED)), strict=True)
    return {int(row): int(column) for row, column in pairs if distances[row, column] < MATCHED}


def borrowed(crowd: Crowd, row: int, keypoints: np.ndarray) -> int:
    """Return which confident joints (13, 3) are wrong and at another person's joint."""
    count = 0
    neighbours = [other for other in range(len(crowd.joints)) if other != row]
    for joint in range(1, len(BODY)):
        x = keypoints[joint, :2]
        if keypoints[joint, 2] < 0.3 or np.linalg.norm(x - crowd.joints[row, joint]) < RIGHT * crowd.height[row]:
            continue
        count += any(
            crowd.visible[o, j] and np.linalg.norm(x - crowd.joints[o, j]) < BORROWED * crowd.height[o]
            for o in neighbours
            for j in (joint, SIDES[joint])
        )
    return count


def crowds(count: int, seed: int = 2026) -> Iterator[Crowd]:
    """Random crowds in poses of held-out activities."""
    body, bank = default_body(), PoseBank(seed, "held_out")
    labels = labels_of(body)
    cast: list[tuple[torch.Tensor, DressedMesh]] = []
    for number in range(CAST):
        random = np.random.default_rng((seed, number))
        identity = sample_identity(random, str(number))
        mesh = dress_identity(body, identity, sample_outfit(random, f"{number}-0"), texture_size=384)
        cast.append((torch.from_numpy(np.asarray(identity.betas, np.float32)), mesh))
    pelvis = SMPL24.index("pelvis")
    for image in range(count):
        random = np.random.default_rng((seed, CAST, image))
        people, joints, heads, row = [], [], [], 0
        many = int(random.integers(PEOPLE[0], PEOPLE[1] + 1))
        size = SIZES[int(random.integers(len(SIZES)))]
        for member in random.choice(CAST, many, replace=False):
            pose = bank.pose(640 * image + row)
            while pose.family == "chair":
                row += 1
                pose = bank.pose(640 * image + row)
            row += 1 + int(random.integers(7))
            betas, mesh = cast[member]
            performance = held_pose(pose)
            if random.random() < UPSIDE_DOWN:
                rotations = performance.rotations.clone()
                rotations[:, 0] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ rotations[:, 0]
                performance = replace(performance, rotations=rotations)
            motion = turn_motion(on_floor(body, performance, betas), random.uniform(-math.pi, math.pi))
            with torch.no_grad():
                trans = body.translation_of_root(motion.pelvis, betas[None])
                posed = body.pose(motion.rotations, betas[None], trans, vertices=False)
            spot = np.array([random.uniform(-0.5, 0.5) * (0.5 + 0.36 * many), 0, random.uniform(-1.25, 1.25)])
            points = posed.joints[0].numpy()
            shift = (spot - [points[pelvis, 0], 0, points[pelvis, 2]]).astype(np.float32)
            people.append((motion, betas, mesh, torch.from_numpy(shift)))
            joints.append(points + shift)
            if random.random() < COVERED:
                heads.append(points[SMPL24.index("head")] + shift + np.array([0, 0.06, 0], np.float32))
        camera = sample_camera(random, np.concatenate(joints), size, CAMERA)
        background = sample_background(random)
        lighting = sample_lighting(random, random.uniform(-math.pi, math.pi), indoor=background.indoor)
        props = sample_props(random, camera, joints, around=0.5, in_front=0.15, cards=0.0)
        for head in heads:
            toward = (camera.position - head) / np.linalg.norm(camera.position - head)
            props.append(Prop(move_solid(ball((0.115,) * 3), head + 0.27 * toward), ("print", 0), 0.5, (0.9, 0.6, 0.4)))
        to_camera, origin = torch.from_numpy(camera.rotation), torch.from_numpy(camera.translation)
        staged = []
        for motion, betas, mesh, shift in people:
            rotations = motion.rotations.clone()
            rotations[:, 0] = to_camera @ rotations[:, 0]
            trans = body.translation_of_root((motion.pelvis + shift) @ to_camera.T + origin, betas[None])
            staged.append(StagedPerson(mesh, betas, rotations, trans, motion.activities))
        damage = sample_degradation(random, size, 0.5)
        scene = SceneDescription(camera, lighting, background, tuple(props), tuple(staged), damage, image)
        rendered = SceneRenderer(body, scene, labels).render()
        truth, _ = people_of_frame(body, scene, [("", "")] * many, 0, rendered)
        keypoints = np.stack([person.keypoints[BLAZEPOSE33.name][BODY] for person in truth]).astype(float)
        inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] < size[::-1])).all(-1)
        depth = np.array([person.joints[SMPL24.name][pelvis, 2] for person in truth])
        height = camera.view.focal * 1.7 / depth
        yield Crowd(rendered.image, keypoints[..., :2], inside & (keypoints[..., 2] >= 0.5), height)


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    scheme, first, both = SCHEMES["thorough"], Counts(), Counts()

    def people_of(shown: Pyramid, candidates: Sequence[Candidate]) -> list[DetectedPerson]:
        return fused_people(pool, shown, candidates, scheme)

    with ModelPool(2) as pool:
        for crowd in crowds(images):
            started = time.perf_counter()
            found = search_twice(pool, Pyramid(crowd.image), scheme).people
            groups = [people_of(shown, candidates) for shown, candidates in found]
            people = [person for group in groups for person in group]
            everyone = hide_shared_joints(people)
            both.seconds += time.perf_counter() - started
            first.add(crowd, groups[0])
            both.add(crowd, everyone)
    for name, counts in (("first search", first), ("with the second look", both)):
        row = counts.row(name, images)
        if counts is first:
            del row["seconds_per_image"]
        print(json.dumps(row))


if __name__ == "__main__":
    main()
