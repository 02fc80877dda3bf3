"""Estimates of a body network for the people of frames, and fits that consist of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.confidence import explained_confidence, person_confidence
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.options import SHIPPED_NETWORK, SHIPPED_SEGMENTER, FitMethod, NetworkOptions
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.digests import digest_of
from humanpose_cli.models.deform_and_learn import regressor as deform_and_learn
from humanpose_cli.models.deform_and_learn.network import load_deform_network
from humanpose_cli.models.nbf import network as nbf
from humanpose_cli.models.nbf.body import place_about_pixels
from humanpose_cli.models.nbf.network import BodyNetwork, config_of, load_nbf
from humanpose_cli.networks.precision import precision_label, resolve_precision
from humanpose_cli.networks.weights import find_weights, read_header, shipped_weights

_METHODS = (nbf.MODEL, deform_and_learn.MODEL)  # kinds of networks that a method of the same name shows
_BATCH_SIZE = 16  # people of a batch: more are no faster on a processor
_BATCH_SIZE_INDEPENDENT = 1  # of independent images on the CPU: rounding in convolutions depends on the batch


class BodyPredictor(Protocol):
    """A network that predicts bodies: `BodyNetwork` or `DeformNetwork`.

    What `prepare` returns for each person is for `finish` alone.
    """

    def takes(self, person: DetectedPerson) -> bool:
        """Check whether a person comes with what the network looks at."""
        ...

    def prepare(self, image: NDArray[np.uint8], people: Sequence[DetectedPerson], camera: Camera) -> list[Any]:
        """Prepare what `finish` needs of each person, without the image."""
        ...

    def finish(self, people: Sequence[Any]) -> list[BodyEstimate]:
        """Estimate the bodies of prepared people of any images."""
        ...


class PeopleNetwork:
    """A body network for the people of frames; the shipped one is loaded when the first image needs it.

    files   its weights and, if it sees body parts of another file's segmenter, those
    label   digests of the files, and the precision

    Args:
        method: Decides the kind of network; weights of another kind raise InputError.
        body: The one that is fitted; a network that was trained with another raises InputError.
    """

    def __init__(
        self,
        options: NetworkOptions,
        method: FitMethod,
        body: Body,
        device: str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self._path = find_weights(options.weights) if options.weights else shipped_weights(SHIPPED_NETWORK)
        self._segmenter = find_weights(options.segmenter) if options.segmenter else None
        self._body, self.device, self.precision = body, device, resolve_precision(precision, device)
        self._model = nbf.MODEL if method in ("auto", "nbf") else deform_and_learn.MODEL
        header = read_header(self._path)
        if header.model != self._model:
            remedy = f"`method={header.model}`" if header.model in _METHODS else ""
            raise InputError(self._path, "holds another model", expected=self._model, got=header.model, remedy=remedy)
        self.files: tuple[Path, ...] = (self._path,)
        if self._model == nbf.MODEL:
            config = config_of(header, self._path)
            if config.inputs.segmented:
                self._segmenter = self._segmenter or shipped_weights(SHIPPED_SEGMENTER)
                self.files += (self._segmenter,)
        self.label = "+".join(digest_of(path)[:16] for path in self.files) + precision_label(precision)
        if options != NetworkOptions() or body.name != "default":
            _ = self.network  # errors of the user's files are raised before anything is fitted

    @cached_property
    def network(self) -> BodyPredictor:
        """The network itself."""
        if self._model == nbf.MODEL:
            return _load_nbf(self._path, self._segmenter, self._body, self.device, self.precision)
        return load_deform_network(self._path, body=self._body, device=self.device, precision=self.precision)


class Estimates:
    """Estimates for the people of frames, row by row; people of several frames go through the network together.

    Args:
        network: None: there are no estimates.
        independent: Whether frames are independent images: on the CPU, no bit then depends on the others.
    """

    def __init__(self, network: PeopleNetwork | None, *, independent: bool = False) -> None:
        self._network = network
        alone = independent and network is not None and network.device == "cpu"
        self._batch_size = _BATCH_SIZE_INDEPENDENT if alone else _BATCH_SIZE
        self._estimates: list[BodyEstimate | None] = []
        self._waiting: list[tuple[int, Any]] = []  # rows of `_estimates` that are not known yet

    def add(self, pixels: NDArray[np.uint8], people: Sequence[DetectedPerson], camera: Camera) -> None:
        """Add the next frame's people; the frame itself is not kept."""
        if self._network is not None:
            rows = [row for row, person in enumerate(people) if self._network.network.takes(person)]
            inputs = self._network.network.prepare(pixels, [people[row] for row in rows], camera)
            self._waiting += [(len(self._estimates) + row, person) for row, person in zip(rows, inputs, strict=True)]
        self._estimates += [None] * len(people)
        if len(self._waiting) >= self._batch_size:
            self._finish()

    def all(self) -> list[BodyEstimate | None]:
        """List the estimates of all people added so far, in their order."""
        self._finish()
        return self._estimates

    def _finish(self) -> None:
        if self._network is None:
            return
        for first in range(0, len(self._waiting), self._batch_size):
            batch = self._waiting[first : first + self._batch_size]
            estimates = self._network.network.finish([person for _, person in batch])
            for (row, _), estimate in zip(batch, estimates, strict=True):
                self._estimates[row] = estimate
        self._waiting = []


def _load_nbf(path: Path, segmenter: Path | None, body: Body, device: str, precision: Precision) -> BodyNetwork:
    network = load_nbf(path, segmenter=segmenter, body=body, device=device, precision=precision)
    if segmenter is not None and not network.config.inputs.segmented:
        raise UsageError("segmenter", "is of no use", got=f"a network that sees {network.config.inputs.kind}")
    return network


def fit_of_estimates(
    body: Body, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], *, shared_shape: bool
) -> KeypointFit:
    """Make a fit of N ≥ 1 estimates, in their order; with `shared_shape` the rows of a track have their mean shape: the
    mean of betas and of segment scales.

    Confidence is how well the body explains the detector's landmarks, if these are known. Raises InputError for people
    without an estimate.
    """
    estimates = [s.estimate for s in people if s.estimate is not None]
    if len(estimates) < len(people):
        raise InputError(
            cameras[next(s.frame for s in people if s.estimate is None)].name,
            "its people come without what the body network looks at",
            remedy="`method=keypoints`",
        )
    poses = torch.from_numpy(np.stack([e.poses for e in estimates]))
    shapes = [np.stack([e.betas for e in estimates]), np.stack([_segment_scales(e) for e in estimates])]
    if shared_shape:
        tracks = np.array([s.track for s in people])
        shapes = [np.stack([values[tracks == track].mean(0) for track in tracks]) for values in shapes]
    shape, scales = (torch.from_numpy(values) for values in shapes)
    camera = Camera.stack(cameras[s.frame].camera for s in people).tensors()
    joints = torch.from_numpy(np.stack([e.joints for e in estimates]))
    rotations = axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3)))
    with torch.no_grad():
        root = joints[:, SMPL24.index("pelvis")]
        if shared_shape:  # another shape is as large in the image at another distance
            at_origin = body.translation_of_root(torch.zeros_like(root), shape)
            about = body.pose(rotations, shape, at_origin, scales, vertices=False).joints
            root = place_about_pixels(about, camera.project(joints), camera)
        trans = body.translation_of_root(root, shape)
        posed_body = body.pose(rotations, shape, trans, scales, vertices=False)
        joints2d = camera.project(posed_body.joints)
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed_body, shape)
        error, joint_scores = _explained(landmarks, people, camera)
    return KeypointFit(
        poses=poses.numpy(),
        betas=shape.numpy(),
        trans=trans.numpy(),
        segment_scales=scales.numpy(),
        joints3d=posed_body.joints.numpy(),
        joints2d=joints2d.numpy(),
        confidence=person_confidence(joint_scores).numpy(),
        joint_confidence=joint_scores.numpy(),
        reprojection_error=error.numpy(),
    )


def _segment_scales(estimate: BodyEstimate) -> NDArray[np.float32]:
    scales = estimate.segment_scales
    return np.ones(len(SMPL24), np.float32) if scales is None else scales


def _explained(
    landmarks: torch.Tensor, people: Sequence[DetectedPerson], camera: Camera
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the median distance (N,) in pixels of the body's landmarks (N, 33, 3) from the detector's, and each
    joint's confidence (N, 24); the person's score without landmarks.
    """
    count = len(people)
    error, joint_scores = torch.full((count,), torch.nan), torch.zeros(count, len(SMPL24))
    pixels = camera.project(landmarks)
    for row, s in enumerate(people):
        if s.skeleton.name != BLAZEPOSE33.name:
            joint_scores[row] = s.score
            continue
        keypoints = torch.as_tensor(s.keypoints, dtype=torch.float32)
        apart = (pixels[row] - keypoints[:, :2]).norm(dim=-1)
        confident = keypoints[:, 2] > 0.5
        error[row] = apart[confident].median() if confident.any() else apart.median()
        depth = landmarks[row, :, 2]
        noise = None if s.estimate is None or s.estimate.noise is None else torch.from_numpy(s.estimate.noise)[None]
        confidence = keypoints[None, :, 2]
        joint_scores[row] = explained_confidence(confidence, apart[None], depth[None], camera.focal[row], noise)[0]
    return error, joint_scores
