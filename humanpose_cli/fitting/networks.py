"""Estimates of a body network for the people of frames, and fits that consist of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

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
from humanpose_cli.files.digests import digest_of
from humanpose_cli.fitting.confidence import explained_confidence, person_confidence
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.options import SHIPPED_NETWORK, SHIPPED_SEGMENTER, FitMethod, NetworkOptions
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.models.deform_and_learn import regressor as deform_and_learn
from humanpose_cli.models.deform_and_learn.network import DeformNetwork, load_deform_network
from humanpose_cli.models.nbf import network as nbf
from humanpose_cli.models.nbf.body import place_about_pixels
from humanpose_cli.models.nbf.network import BodyNetwork, config_of, load_nbf
from humanpose_cli.networks.precision import precision_label, resolve_precision
from humanpose_cli.networks.weights import find_weights, read_header, shipped_weights

_METHODS = (nbf.MODEL, deform_and_learn.MODEL)  # kinds of networks with a method of the same name
_BATCH_SIZE = 16  # people; larger batches are no faster on a CPU
_BATCH_SIZE_INDEPENDENT = 1  # of independent images on the CPU, because rounding in convolutions depends on the batch


BodyPredictor: TypeAlias = BodyNetwork | DeformNetwork
"""A network that predicts bodies. What `prepare` returns for each person is for `finish` alone."""


class PeopleNetwork:
    """A body network for the people of frames. The shipped network is loaded when the first image needs it.

    Args:
        options: The weights.
        method: The method, which determines the kind of network.
        body: The body that is fitted.
        device: The device of the network.
        precision: What the network computes in.

    Attributes:
        files: The weights of the network, and of its segmenter if it needs one.
        label: The digests of the files, and the precision.

    Raises:
        InputError: If the weights are of another kind or for another body.
    """

    def __init__(
        self, options: NetworkOptions, method: FitMethod, body: Body, device: str = "cpu", precision: Precision = "auto"
    ) -> None:
        self._path = find_weights(options.weights) if options.weights else shipped_weights(SHIPPED_NETWORK)
        self._segmenter = find_weights(options.segmenter) if options.segmenter else None
        self._body, self.device, self.precision = body, device, resolve_precision(precision, device)
        self._alone = method != "auto"
        self._loading: Future[BodyPredictor] | None = None
        self._model = nbf.MODEL if method in ("auto", "nbf") else deform_and_learn.MODEL
        header = read_header(self._path)
        if header.model != self._model:
            remedy = f"`method={header.model}`" if header.model in _METHODS else ""
            raise InputError(self._path, "holds another model", expected=self._model, got=header.model, remedy=remedy)
        self.files: tuple[Path, ...] = (self._path,)
        if self._model == nbf.MODEL and config_of(header, self._path).inputs.segmented:
            self._segmenter = self._segmenter or shipped_weights(SHIPPED_SEGMENTER)
            self.files += (self._segmenter,)
        self.label = "+".join(digest_of(path)[:16] for path in self.files) + precision_label(precision)
        if options != NetworkOptions() or body.name != "default":
            _ = self.network  # errors of the user's files are raised before anything is fitted

    def begin_loading(self) -> None:
        """Load the network in a thread of its own, while people are searched. Errors appear when it is used.

        Not on a GPU, where the order of libraries matters.
        """
        if self.device == "cpu" and "network" not in vars(self) and self._loading is None:
            self._loading = ThreadPoolExecutor(1, "body-network").submit(self._load)

    @cached_property
    def network(self) -> BodyPredictor:
        """The loaded network."""
        return self._load() if self._loading is None else self._loading.result()

    def _load(self) -> BodyPredictor:
        if self._model == nbf.MODEL:
            network = load_nbf(
                self._path, segmenter=self._segmenter, body=self._body, device=self.device, precision=self.precision
            )
            # Closer alone (PA 96.0 → 94.5 mm on rendered people), and no gain beside keypoints.
            network.averaged = self._alone
            if self._segmenter is not None and not network.config.inputs.segmented:
                got = f"a network with the input {network.config.inputs.kind}"
                raise UsageError("segmenter", "has no effect", got=got)
            return network
        return load_deform_network(self._path, body=self._body, device=self.device, precision=self.precision)


class Estimates:
    """Estimates for the people of frames, row by row. People of several frames go through the network together.

    Args:
        network: The network. None: there are no estimates.
        independent: Whether frames are independent images. On the CPU, no bit then depends on the other images.
    """

    def __init__(self, network: PeopleNetwork | None, *, independent: bool = False) -> None:
        self._network = network
        one_by_one = independent and network is not None and network.device == "cpu"
        self._batch_size = _BATCH_SIZE_INDEPENDENT if one_by_one else _BATCH_SIZE
        self._estimates: list[BodyEstimate | None] = []
        self._waiting: list[tuple[int, Any]] = []  # rows of `_estimates` and their prepared inputs

    def add(self, pixels: NDArray[np.uint8], people: Sequence[DetectedPerson], camera: Camera) -> None:
        """Add the people of the next frame, without keeping the frame."""
        if self._network is not None and people:  # else the network need not be waited for
            rows = [row for row, person in enumerate(people) if self._network.network.takes(person)]
            inputs = self._network.network.prepare(pixels, [people[row] for row in rows], camera)
            self._waiting += [(len(self._estimates) + row, person) for row, person in zip(rows, inputs, strict=True)]
        self._estimates += [None] * len(people)
        if len(self._waiting) >= self._batch_size:
            self._finish()

    def all(self) -> list[BodyEstimate | None]:
        """Return the estimates of all people in the order in which they were added."""
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


def fit_of_estimates(
    body: Body, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], *, shared_shape: bool
) -> KeypointFit:
    """Make a fit of N ≥ 1 estimates, in their order.

    The confidence is how well the body explains the detected landmarks, if there are any.

    Args:
        body: The body.
        people: The rows.
        cameras: The cameras of the frames.
        shared_shape: Whether the rows of a track get their mean betas and segment scales.

    Raises:
        InputError: If a person has no estimate.
    """
    estimates = [person.estimate for person in people if person.estimate is not None]
    if len(estimates) < len(people):
        name = cameras[next(person.frame for person in people if person.estimate is None)].name
        raise InputError(name, "its people lack the input of the body network", remedy="`method=keypoints`")
    poses = torch.from_numpy(np.stack([estimate.poses for estimate in estimates]))
    no_scales = np.ones(len(SMPL24), np.float32)
    shapes = [
        np.stack([estimate.betas for estimate in estimates]),
        np.stack([no_scales if e.segment_scales is None else e.segment_scales for e in estimates]),
    ]
    if shared_shape:
        tracks = np.array([person.track for person in people])
        shapes = [np.stack([values[tracks == track].mean(0) for track in tracks]) for values in shapes]
    shape, scales = (torch.from_numpy(values) for values in shapes)
    camera = Camera.stack(cameras[person.frame].camera for person in people).tensors()
    joints = torch.from_numpy(np.stack([estimate.joints for estimate in estimates]))
    rotations = axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3)))
    with torch.no_grad():
        root = joints[:, SMPL24.index("pelvis")]
        if shared_shape:  # another shape has the same size in the image at another distance
            origin = body.translation_of_root(torch.zeros_like(root), shape)
            joints_about_root = body.pose(rotations, shape, origin, scales, vertices=False).joints
            root = place_about_pixels(joints_about_root, camera.project(joints), camera)
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


def _explained(
    landmarks: torch.Tensor, people: Sequence[DetectedPerson], camera: Camera
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the median distance (N,) of landmarks (N, 33, 3) from the keypoints, and joint confidences (N, 24)."""
    count = len(people)
    error, joint_scores = torch.full((count,), torch.nan), torch.zeros(count, len(SMPL24))
    pixels = camera.project(landmarks)
    for row, person in enumerate(people):
        if person.skeleton.name != BLAZEPOSE33.name:
            joint_scores[row] = person.score
            continue
        keypoints = torch.as_tensor(person.keypoints, dtype=torch.float32)
        distance = (pixels[row] - keypoints[:, :2]).norm(dim=-1)
        confident = keypoints[:, 2] > 0.5
        error[row] = distance[confident].median() if confident.any() else distance.median()
        depth = landmarks[row, :, 2]
        noise = None if person.estimate is None else person.estimate.noise
        joint_scores[row] = explained_confidence(
            confidence=keypoints[None, :, 2],
            apart=distance[None],
            depth=depth[None],
            focal=camera.focal[row],
            predicted_noise=None if noise is None else torch.from_numpy(noise)[None],
        )[0]
    return error, joint_scores
