"""Accuracy on rendered people with known truth: `hpc fit` by its methods, and BlazePose's own world landmarks.

The default body in sampled poses of held-out activities, key poses and mixtures of them; random shape, clothes, light,
background and camera; the focal length is known. Joints: shoulders, elbows, wrists, hips, knees, ankles; MPJPE is about
the middle of the hips. A failure is a person who was not found, or whose Procrustes error exceeds 150 mm; people not
found do not enter the means.

    python benchmarks/bench_rendered_people.py [people [fast|thorough]]      default: 200 thorough
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import torch
from _rendered_people import RenderedPerson, render_population

from humanpose_cli.body.body import default_body
from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.core.camera import Camera, project
from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS, SMPL24
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, pve
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.networks.weights import shipped_weights

HIPS = [LIMB_JOINTS.index("left_hip"), LIMB_JOINTS.index("right_hip")]
FAILURE = 0.15  # metres after Procrustes


@dataclass(frozen=True)
class Found:
    """Truth and detections of the detected people."""

    people: list[RenderedPerson]
    detections: list[DetectedPerson]
    count: int

    def stacked(self, *attributes: str) -> tuple[np.ndarray, ...]:
        return tuple(np.stack([np.asarray(getattr(d, name)) for d in self.detections]) for name in attributes)


def find(count: int, mode: str, seed: int = 2025) -> Found:
    people, detections = [], []
    with PersonDetector(mode) as detector:  # type: ignore[arg-type]
        for person in render_population(count, seed, "held_out"):
            found = [detection for detection in detector.detect(person.image) if not detection.not_fitted]
            if found:
                people.append(person)
                detections.append(max(found, key=lambda d: overlap(d, person)))
    return Found(people, detections, count)


def overlap(detection: DetectedPerson, person: RenderedPerson) -> float:
    """Intersection over union of the detected box and that of the true joints."""
    pixels = (person.focal * person.joints[:, :2] / person.joints[:, 2:]).numpy() + person.principal_point
    low = np.maximum(detection.box[:2], pixels.min(0))
    high = np.minimum(detection.box[2:], pixels.max(0))
    inner = np.prod(np.maximum(high - low, 0))
    return float(inner / (np.prod(np.ptp(pixels, axis=0)) + np.prod(detection.box[2:] - detection.box[:2]) - inner))


def observations_of(found: Found) -> KeypointObservations:
    keypoints, world, spread, world_spread = found.stacked("keypoints", "world", "spread", "world_spread")
    return KeypointObservations(
        keypoints=keypoints[..., :2],
        confidence=keypoints[..., 2],
        focal=np.array([p.focal for p in found.people]),
        principal_point=np.stack([p.principal_point for p in found.people]),
        image_size=np.stack([p.image.shape[1::-1] for p in found.people]),
        world=world,
        spread=spread,
        world_spread=world_spread,
    )


def put_right(
    found: Found, observations: KeypointObservations
) -> dict[str, tuple[KeypointObservations, KeypointFitOptions]]:
    """The detector's landmarks as they truly are: in the image, in space, both. How sure it was stays.

    Depths that are right come without the lifter, which does not look at them.
    """
    usual, plain = KeypointFitOptions(), KeypointFitOptions(lift=False)
    body = default_body()
    rotations, betas, trans = (
        torch.stack([getattr(p, name) for p in found.people]) for name in ("rotations", "betas", "trans")
    )
    landmarks = body.pose_landmarks(BLAZEPOSE33.name, body.pose(rotations, betas, trans), betas).double()
    focal, centre = observations.focal, observations.principal_point
    hips = landmarks[:, BLAZEPOSE33.indices(("left_hip", "right_hip"))].mean(1, keepdim=True)

    def in_space(keypoints: KeypointObservations) -> KeypointObservations:
        return replace(keypoints, world=((landmarks - hips) @ to_camera(keypoints)).numpy())

    flat = replace(observations, keypoints=project(landmarks, focal, centre).numpy())
    return {
        "with the true landmarks in the image": (flat, usual),
        "with the true landmarks in space, without the lifter": (in_space(observations), plain),
        "with both, without the lifter": (in_space(flat), plain),
    }


def to_camera(observations: KeypointObservations) -> torch.Tensor:
    """(N, 3, 3): from the detector's axes, which look along the ray of each person, to the camera's."""
    hips = observations.keypoints[:, BLAZEPOSE33.indices(("left_hip", "right_hip"))].mean(1)
    return viewing_rotation(hips, observations.focal, observations.principal_point)


def errors(joints: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    pa, plain = pa_mpjpe(joints, truth), mpjpe(joints, truth, root=HIPS)
    return {
        "pa_mpjpe_mm": 1e3 * float(pa.mean()),
        "pa_mpjpe_median_mm": 1e3 * float(np.median(pa)),
        "mpjpe_mm": 1e3 * float(plain.mean()),
    }


def predictions(found: Found) -> list[BodyEstimate]:
    """What the shipped body network says of everybody, each in their own image."""
    network = load_nbf(shipped_weights("nbf-proxy"), segmenter=shipped_weights("segmenter"))
    estimates = []
    for person, detection in zip(found.people, found.detections, strict=True):
        x, y = person.principal_point
        estimates += network.estimate(person.image, [detection], Camera(person.focal, (float(x), float(y))))
    return estimates


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    mode = sys.argv[2] if len(sys.argv) > 2 else "thorough"
    found = find(count, mode)
    observations = observations_of(found)
    truth = np.stack([p.joints.numpy() for p in found.people])
    rows = SMPL24.indices(LIMB_JOINTS)
    body = default_body()
    estimates = predictions(found)
    network = {
        name: np.stack([getattr(one, name) for one in estimates]) for name in ("poses", "betas", "trans", "joints")
    }
    noise = np.stack([one.noise for one in estimates])
    predicted = {f"predicted_{name}": network[name] for name in ("poses", "betas", "joints")}
    with_network = replace(observations, **predicted, predicted_noise=noise)
    fits = {
        "hpc fit (auto)": fit_keypoints(body, with_network),
        "hpc fit --method keypoints": fit_keypoints(body, observations),
        "the same without the lifter": fit_keypoints(body, observations, KeypointFitOptions(lift=False)),
    }
    for name, (mended, options) in put_right(found, observations).items():
        fits[f"hpc fit --method keypoints {name}"] = fit_keypoints(body, mended, options)
    found_bodies = {name: (fit.poses, fit.betas, fit.trans, fit.joints3d) for name, fit in fits.items()}
    found_bodies["hpc fit --method nbf"] = tuple(network.values())
    true_vertices = np.stack([p.vertices.numpy() for p in found.people])
    root = SMPL24.index("pelvis")
    lines = []
    for name, (poses, betas, trans, joints) in found_bodies.items():
        with torch.no_grad():
            rotations = axis_angle_to_matrix(torch.from_numpy(poses).unflatten(-1, (len(SMPL24), 3)))
            posed = body.pose(rotations, torch.from_numpy(betas), torch.from_numpy(trans))
        vertex = pve(posed.vertices.numpy(), true_vertices, joints[:, root], truth[:, root])
        pa = pa_mpjpe(joints[:, rows], truth[:, rows])
        line = {"method": name, "detector": mode, "people": count, "found": len(found.people)}
        line |= errors(joints[:, rows], truth[:, rows])
        failures = (count - len(pa) + int((pa > FAILURE).sum())) / count
        lines.append({**line, "pve_mm": 1e3 * float(vertex.mean()), "failures": failures})
    world = (observations.world @ to_camera(observations).mT).numpy()[:, BLAZEPOSE33.indices(LIMB_JOINTS)]
    pa = pa_mpjpe(world, truth[:, rows])
    theirs = {"method": "BlazePose, turned to the ray", "detector": mode, "people": count, "found": len(found.people)}
    theirs |= errors(world, truth[:, rows])
    theirs |= {"failures": (count - len(pa) + int((pa > FAILURE).sum())) / count}
    for row in (*lines, theirs):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
