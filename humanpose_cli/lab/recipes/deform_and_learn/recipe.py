"""`hpc train deform-and-learn`: options, presets, people, and the recipe of the network in a round."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SKELETONS, Skeleton
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.lab.recipes.deform_and_learn.evidence import (
    SURFACE_POINTS,
    PeopleEvidence,
    Quality,
    ViewChange,
    person_crop,
    takes_charts,
)
from humanpose_cli.lab.recipes.deform_and_learn.losses import RegressorLosses, RegressorTargets, regressor_losses
from humanpose_cli.lab.recipes.deform_and_learn.measure import canonical_length, joint_errors, joint_truth
from humanpose_cli.lab.recipes.lifter.depth import DepthLifterOptions
from humanpose_cli.lab.recipes.people import (
    LABELS,
    JoinedPeople,
    People,
    lifted_detections,
    people_in,
    split_people,
    spread_out,
    training_protocol,
    visible_people,
    with_keypoints,
)
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions, check_batch, held_out_batches, two_columns
from humanpose_cli.models.crops import normalised_image
from humanpose_cli.models.deform_and_learn.correspondences import NearestVertices, read_densepose_charts
from humanpose_cli.models.deform_and_learn.inputs import pose_in_crop
from humanpose_cli.models.deform_and_learn.registration import RegistrationOptions
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor, BodyRegressorOptions, mirrored_pose
from humanpose_cli.models.segmenter.network import IMAGENET, backbone_file, load_backbone
from humanpose_cli.networks.weights import fill, read_weights
from humanpose_cli.rendering.overlay import draw_overlay, person_colour

_PANELS = 6
_SIDE = 224  # pixels of a panel
_CAMERA_DISTANCE = 200.0  # image units from a crop's camera to the person, for almost no perspective
_FAR = 100.0  # half sides of the crop: distance of the camera at the side, nearly without perspective


@dataclass(frozen=True)
class CropChange:
    """Random changes of a crop, drawn uniformly.

    Attributes:
        scale: Max change of the size, as a share.
        shift: Max shift, as a share of the crop's side.
        roll: Radians. Max rotation.
        mirror: Probability of a mirrored crop.
    """

    scale: float = 0.0
    shift: float = 0.0
    roll: float = 0.0
    mirror: float = 0.0

    def drawn(self, random: np.random.Generator) -> ViewChange:
        """Draw a change of the view."""
        zoom, shift_x, shift_y, roll = random.uniform(-1, 1, 4)
        shift = (2 * self.shift * float(shift_x), 2 * self.shift * float(shift_y))
        is_mirrored = bool(random.random() < self.mirror)
        return ViewChange(1 + self.scale * float(zoom), shift, self.roll * float(roll), is_mirrored)


@dataclass(frozen=True)
class DeformTraining(Options):
    """Options of deform-and-learn's training."""

    network: BodyRegressorOptions = option(BodyRegressorOptions(), "The network.")
    losses: RegressorLosses = option(RegressorLosses(), "Weights of the losses.")
    lifter: DepthLifterOptions = option(DepthLifterOptions(), "The lifter.")
    registration: RegistrationOptions = option(
        RegistrationOptions(), "Weights and steps of the registration; the first round begins with a stiffer one."
    )
    augmentation: CropChange = option(CropChange(), "Augmentation of crops.")
    rounds: int = option(5, "Rounds of lifter, registration and network.", minimum=1)
    correspondence: Quality = option(
        "labels",
        "Correspondences: labels (from the cache), degraded (to about DensePose's quality), or none (keypoints only).",
    )
    start: str = option(
        "", "Run of deform-and-learn whose network and lifter the training continues from.", unset="random weights"
    )
    charts: str = option(
        "",
        "DensePose's UV_Processed.mat for caches with DensePose labels; `body` must be smpl:FILE.",
        unset="maps of vertices only",
    )
    points: int = option(128, "Correspondences of each person.", minimum=1)
    skeleton: str = option(
        "smpl24",
        "Skeleton of the keypoints; a cache without it provides the joints of another skeleton with the same names.",
        choices=tuple(SKELETONS),
    )
    body: str = option("default", "Body whose vertices the correspondences name: default or smpl:FILE.")
    learning_rate: float = option(1e-4, "Learning rate of the network (Adam).", above=0)
    backbone: str = option("", "Initial weights of the ResNet, as in `NbfTraining`.", unset="random weights")
    lifter_steps: int = option(20_000, "Steps of the lifter in each round.", minimum=1)
    lifter_batch: int = option(64, "Batch size of the lifter.", minimum=1)
    lifter_average: float = option(
        0.995,
        "Decay per step of the moving average of the lifter's weights; 0 uses the last weights.",
        minimum=0,
        below=1,
    )
    registered_together: int = option(64, "Batch size of the registration.", minimum=1)
    visible: float = option(0.5, "Minimum fraction of visible joints of a person.", minimum=0, maximum=1)
    people: int = option(0, "Maximum number of people to train on, evenly spaced; 0 for all.", minimum=0)
    protocol: str = option(
        "", "Protocol of the caches that have it; other caches use their usual one.", unset="the usual one"
    )
    held_out: int = option(512, "Maximum number of people that the network is evaluated on.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone and self.network.inputs == "pose":
            raise UsageError("backbone", "has no effect on a network that takes landmarks")
        if self.charts and self.correspondence == "none":
            raise UsageError("charts", "has no effect with `correspondence=none`")


DEFORM_PRESETS: Mapping[str, tuple[DeformTraining, TrainOptions]] = {
    # Section 6 and Kudo et al.'s lifter, which do not mention augmentation.
    "paper": (
        DeformTraining(
            lifter=DepthLifterOptions(
                consistency=0.0, bones=0.0, turn=180.0, pitch=0.0, roll=0.0, mirror=0.0, rescaled=False
            ),
            registration=RegistrationOptions(paper=True, stiff=1.0, falling=0.0),
            skeleton="h36m17",
            backbone=IMAGENET,
            lifter_batch=16,
            lifter_average=0.0,
            registered_together=10,
        ),
        TrainOptions(epochs=30, batch_size=30, decay=0.0, keep="last"),
    ),
    "small": (
        DeformTraining(
            network=BodyRegressorOptions(2, 512, inputs="pose"),
            losses=RegressorLosses(parameters="absolute"),
            lifter=DepthLifterOptions(width=256, learning_rate=5e-4),
            augmentation=CropChange(0.15, 0.04, roll=0.4, mirror=0.5),
            rounds=2,
            learning_rate=1e-3,
            lifter_steps=1500,
        ),
        TrainOptions(epochs=20, batch_size=64, clip=5.0, average=0.98, precision="full", keep="last"),
    ),
}
"""`small`: for a CPU and a few thousand people with detections."""


class DeformAndLearn:
    """Data and body of a run. All people outside the split "train" are held out, since weights are not chosen by them.

    Args:
        data: Path of a cache, or several. Caches without dense correspondences contribute only keypoints if at least
            one cache has correspondences.
        options: Options of the training.
        seed: Seed of weights and draws.

    Raises:
        UsageError: If a cache is named twice.
    """

    name, criterion = MODEL, "mpjpe_mm"

    def __init__(
        self, data: Path | str | Sequence[Path | str], options: DeformTraining | None = None, *, seed: int = 0
    ) -> None:
        self.options, self.seed = options or DeformTraining(), seed
        if self.options.backbone:
            _backbone_file(self.options)  # a missing file is an error before the first round's lifter
        self.body = load_body(self.options.body)
        self.skeleton = SKELETONS[self.options.skeleton]
        self.nearest: NearestVertices | None = None
        if self.options.charts:
            self.nearest = NearestVertices(read_densepose_charts(Path(self.options.charts), self.body))
        caches = [open_cache(path) for path in ([data] if isinstance(data, Path | str) else data)]
        if len({cache.path.resolve() for cache in caches}) < len(caches):
            raise UsageError("data", "names a cache twice")
        parts = [self._people_of(cache, caches) for cache in caches]
        people, held_out = (JoinedPeople.of(*(part[side] for part in parts)) for side in (0, 1))
        self.people = spread_out(people, self.options.people)
        self.held_out = spread_out(held_out, self.options.held_out)

    def _people_of(self, cache: Cache, caches: Sequence[Cache]) -> tuple[People, People]:
        """Select a cache's training people and held-out people."""
        use_dense = self.options.correspondence != "none"
        is_charted = takes_charts(cache, self.nearest)
        is_dense = use_dense and self._has_correspondences(cache)
        is_missing = use_dense and not any(map(self._has_correspondences, caches))
        needs = list(self.options.network.labels)
        if is_missing or (is_dense and not (is_charted and cache.labels.get(SURFACE_POINTS, 0))):
            needs.append("densepose" if is_charted or (is_missing and self.options.charts) else "correspondence")
        protocol = self.options.protocol
        if protocol not in cache.splits and any(protocol in candidate.splits for candidate in caches):
            protocol = ""
        people, held_out = split_people(cache.path, needs, protocol=protocol, choosing=False)
        protocol = training_protocol(cache, protocol)
        if "test" in cache.splits.get(protocol, ()):
            splits = [split for split in cache.splits[protocol] if split != "train"]
            parts = [people_in(cache.path, needs, protocol, split) for split in splits]
            images, indices, rows = (
                np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "indices", "rows")
            )
            held_out = People(cache, images, indices, rows)
        people, held_out = self._visible(people), self._visible(held_out)
        if is_dense:
            return people, held_out
        return with_keypoints(people, self.skeleton), with_keypoints(held_out, self.skeleton)

    def _has_correspondences(self, cache: Cache) -> bool:
        return takes_charts(cache, self.nearest) or bool(cache.labels.get(LABELS["correspondence"].column, 0))

    def _visible(self, people: People) -> People:
        share = self.options.visible if "keypoints/smpl24" in people.cache.people else 0.0
        return visible_people(people, share)

    def describe(self) -> dict[str, Any]:
        """Return data and settings as plain JSON values, without the number of rounds, which may change later."""
        settings = asdict(self.options)
        del settings["rounds"]
        return {**self.people.describe(), "held_out": len(self.held_out), "seed": self.seed, "recipe": settings}


def _backbone_file(options: DeformTraining) -> Path:
    return backbone_file(options.backbone, f"resnet{options.network.layers}")


class RoundData(NamedTuple):
    """Training and validation data of a round's network.

    Attributes:
        people: N training people.
        evidence: Their evidence.
        parameters: (N, 105) float32. Their registered parameters.
        accepted: (N,) bool. Whether the registrations are accepted.
        depths: (N, J) float32, image units. Depths by the lifter.
        held_out: The held-out people.
        held_out_evidence: Their evidence.
        start: Weights of the previous round; None for the first round.
    """

    people: JoinedPeople
    evidence: PeopleEvidence
    parameters: NDArray[np.float32]
    accepted: NDArray[np.bool_]
    depths: NDArray[np.float32]
    held_out: JoinedPeople
    held_out_evidence: PeopleEvidence
    start: Path | None = None


class _Inputs:
    """Makes the input of the network for a person: the normalised crop, or the detected and the lifted landmarks in it.

    Landmarks are lifted once, since their rays do not depend on the crop.
    """

    def __init__(self, people: JoinedPeople, network: BodyRegressorOptions) -> None:
        self.people, self.network, self.boxes = people, network, people.column("box")
        is_pose = network.inputs == "pose"
        self.landmarks = [people.column("detected"), people.values(lifted_detections)] if is_pose else []

    def __call__(self, number: int, random: np.random.Generator) -> NDArray[np.float32]:
        return self.changed(number, ViewChange())

    def changed(self, number: int, view: ViewChange) -> NDArray[np.float32]:
        """Return a changed crop (3, S, S), or the landmarks (33, 6) in it."""
        if not self.landmarks:
            return normalised_image(self.image(number, person_crop(self.boxes[number], self.network.size, view)))
        detected, lifted = (values[number] for values in self.landmarks)
        return pose_in_crop(detected, lifted, person_crop(self.boxes[number], 2, view))

    def image(self, number: int, crop: Crop) -> NDArray[np.uint8]:
        """Return the cropped image."""
        return crop.image(self.people.example(number, (), mask=False, detected_mask=False).image)


class _Examples(_Inputs):
    """Makes changed inputs of the people of a round, and their targets."""

    def __init__(
        self, data: RoundData, network: BodyRegressorOptions, change: CropChange, skeleton: Skeleton, body: Body
    ) -> None:
        super().__init__(data.people, network)
        self.data, self.change, self.skeleton = data, change, skeleton
        self.mirror_vertices = body.mirror_vertices.cpu().numpy()

    def __call__(self, number: int, random: np.random.Generator) -> Any:
        view = self.change.drawn(random)
        return self.changed(number, view), self._targets(number, view)

    def _targets(self, number: int, view: ViewChange) -> tuple[Any, ...]:
        """Return the fields of `RegressorTargets` in a changed crop."""
        data = self.data
        evidence = data.evidence
        pose = ScaledPose.from_vector(torch.from_numpy(data.parameters[number : number + 1]))
        keypoints = evidence.keypoints[number].copy()
        depths = view.scale * data.depths[number]
        vertices = evidence.vertices[number]
        keypoints[:, :2] = view.points(keypoints[:, :2])
        if view.mirror:
            keypoints, depths = keypoints[list(self.skeleton.mirror)], depths[list(self.skeleton.mirror)]
            vertices = np.where(vertices < 0, vertices, self.mirror_vertices[vertices]).astype(np.int32)
        return RegressorTargets._make(
            (
                changed_pose(pose, view).vector[0].numpy(),
                np.float32(data.accepted[number]),
                keypoints,
                depths.astype(np.float32),
                view.points(evidence.points[number]),
                vertices,
            )
        )


def changed_pose(pose: ScaledPose, view: ViewChange) -> ScaledPose:
    """Transform registered bodies to a changed crop."""
    roll = axis_angle_to_matrix(torch.tensor([0.0, 0.0, view.roll]))
    matrix = roll @ pose.orientation.unflatten(1, (3, 3))
    translation = torch.from_numpy(replace(view, mirror=False).points(pose.translation.numpy()))
    pose = pose._replace(orientation=matrix.flatten(1), scale=view.scale * pose.scale, translation=translation)
    return mirrored_pose(pose) if view.mirror else pose


@torch.no_grad()
def predict_people(network: BodyRegressor, people: JoinedPeople, batch_size: int) -> ScaledPose:
    """Predict the bodies of people.

    Args:
        network: The network, in evaluation mode.
        people: The people.
        batch_size: People per batch.

    Returns:
        The bodies, on the CPU.
    """
    batches = held_out_batches(_Inputs(people, network.options), range(len(people)), batch_size)
    device = next(network.parameters()).device
    return ScaledPose.from_vector(torch.cat([network(image.to(device)).vector.cpu() for image in batches]))


@torch.no_grad()
def joints_in_image(body: ScaledBody, pose: ScaledPose, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the joints (N, J, 3) of bodies in image units, with depths relative to the pelvis."""
    rows = body.landmarks(skeleton.name)
    pose = ScaledPose._make(values.to(rows.device) for values in pose)
    return in_image(body.points(pose, rows), pose).double().cpu().numpy()


@torch.no_grad()
def mesh_views(
    body: ScaledBody, pose: ScaledPose, image: NDArray[np.uint8], colour: int = 0
) -> tuple[NDArray[np.uint8], ...]:
    """Draw one body's mesh over a crop, and the mesh from the side (Figure 1).

    Args:
        body: The body.
        pose: One pose.
        image: (S, S, 3) uint8. The crop.
        colour: Index of the colour in `person_colour`.

    Returns:
        Two images (S, S, 3) uint8.
    """
    side = len(image)
    faces = body.body.faces.cpu()
    pose = ScaledPose._make(values.to(body.vertices().device) for values in pose)
    vertices = in_image(body.points(pose, body.vertices()), pose).cpu()
    offset = vertices.new_tensor((0.0, 0.0, _CAMERA_DISTANCE))
    camera = Camera.of_image((side, side), _CAMERA_DISTANCE * side / 2)
    front = draw_overlay(image, vertices + offset, faces, camera, track_ids=[colour])
    x, y, z = vertices.unbind(-1)
    camera = Camera.of_image((side, side), _FAR * side / 2)
    grey = np.full_like(image, 128)
    return front, draw_overlay(grey, torch.stack((z, y, _FAR - x), -1), faces, camera, track_ids=[colour])


class RegressorRecipe(Recipe[Any]):
    """Equation 5 on the registrations of one round.

    Only `validate` uses true 3-D joints, and the criterion is the error in the image. Use the last weights.

    Args:
        data: Training and validation data.
        body: The body.
        options: Options of the training.
        seed: Seed of the run.
        number: Number of the round, from 1.
    """

    name, criterion = MODEL, "keypoint_error"
    model: BodyRegressor

    def __init__(self, data: RoundData, body: Body, options: DeformTraining, *, seed: int = 0, number: int = 1) -> None:
        self.data, self.options, self.number, self._body = data, options, number, body
        self.skeleton: Skeleton = SKELETONS[options.skeleton]
        self.validation_data = {"count": len(data.held_out), "unit": "people held out"}
        torch.manual_seed(seed + number)
        self.model = BodyRegressor(options.network)
        if options.backbone:
            load_backbone(self.model.backbone, _backbone_file(options))
        if data.start is not None:
            fill(self.model, read_weights(data.start, MODEL)[0], data.start)

    def phases(self) -> Sequence[Phase]:
        return [Phase("fit", list(self.model.parameters()), self.options.learning_rate)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        data = self.data
        check_batch(data.people.path, len(data.people), options)
        make = _Examples(data, self.options.network, self.options.augmentation, self.skeleton, self._body)
        return BatchLoader(range(len(data.people)), make, options)

    def losses(self, phase: str, batch: Any) -> Mapping[str, Tensor]:
        image, values = batch
        targets = RegressorTargets._make(values)
        return regressor_losses(self.model(image), targets, self.body, self.skeleton, self.options.losses)

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return keypoint_error in per cent of the crop's side; with true joints also mpjpe_mm and pa_mpjpe_mm."""
        data = self.data
        pose = predict_people(self.model, data.held_out, batch_size)
        joints = joints_in_image(self.body, pose, self.skeleton)
        keypoints = data.held_out_evidence.keypoints
        distance = np.linalg.norm(joints[..., :2] - keypoints[..., :2], axis=-1) * keypoints[..., 2]
        true = joint_truth(data.held_out, self.skeleton)
        errors = joint_errors(joints, true, self.skeleton, canonical_length(self.body, self.skeleton))
        return {"keypoint_error": 50 * float(distance.sum() / keypoints[..., 2].sum()), **errors.means()}

    def image(self) -> NDArray[np.uint8]:
        """Draw up to six held-out people: the known joints, and the predicted mesh from the front and the side."""
        data = self.data
        numbers = np.array(spread_evenly(len(data.held_out), _PANELS))
        inputs = _Inputs(data.held_out.taken(numbers), BodyRegressorOptions())
        pose = predict_people(self.model, inputs.people, _PANELS)
        panels = []
        for row in range(len(numbers)):
            image = inputs.image(row, person_crop(inputs.boxes[row], _SIDE))
            keypoints = data.held_out_evidence.keypoints[numbers[row]]
            panel = image.copy()
            points = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan)
            draw_keypoints(panel, (points + 1) * _SIDE / 2, self.skeleton, person_colour(0))
            panels.append(np.concatenate((panel, *mesh_views(self.body, pose.rows(torch.tensor([row])), image)), 1))
        return two_columns(panels)

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        settings = {"skeleton": self.options.skeleton, "body": self._body.name, "round": self.number}
        return self.model.state_dict(), {**self.model.config, **settings}

    def describe(self) -> Mapping[str, Any]:
        return {**self.data.people.describe(), "round": self.number, "recipe": asdict(self.options)}

    @cached_property
    def body(self) -> ScaledBody:
        """The body on the model's device."""
        return ScaledBody(copy.deepcopy(self._body).to(self.device))
