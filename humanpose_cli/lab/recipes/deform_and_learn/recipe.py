"""`hpc train deform-and-learn`: its options, presets and people, and the recipe of the network within a round."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from humanpose_cli.core.conventions import BLAZEPOSE33, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.augmentation import ColourChange, change_colour
from humanpose_cli.lab.cache.cache import Cache, open_cache
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
from humanpose_cli.lab.recipes.people import (
    LABELS,
    JoinedPeople,
    People,
    people_in,
    split_people,
    spread_out,
    training_protocol,
    visible_people,
    with_keypoints,
)
from humanpose_cli.lab.train.recipe import (
    Phase,
    Recipe,
    TrainOptions,
    check_batch,
    held_out_batches,
    two_columns,
)
from humanpose_cli.models.crops import normalised_image
from humanpose_cli.models.deform_and_learn.correspondences import NearestVertices, read_densepose_charts
from humanpose_cli.models.deform_and_learn.inputs import cut_out, landmarks_in_crop
from humanpose_cli.models.deform_and_learn.registration import RegistrationOptions
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor, BodyRegressorOptions
from humanpose_cli.models.lifter.depth import DepthLifterOptions
from humanpose_cli.models.segmenter.network import IMAGENET, backbone_file, load_backbone
from humanpose_cli.networks.weights import fill, read_weights
from humanpose_cli.rendering.overlay import draw_keypoints, draw_overlay, person_colour
from humanpose_cli.rendering.side_view import SideView

_PANELS = 6
_SIDE = 224  # pixels of a panel
_FAR = 200.0  # image units from a crop's camera to the person: nearly without perspective


@dataclass(frozen=True)
class CropChange:
    """Random changes of a crop, half-widths of uniform draws: scale a share, shift a share of the crop's side, colour 1
    for brightness ±0.1, contrast and saturation ±0.4, hue ±20°, roll radians; mirror is a probability.
    """

    scale: float = 0.0
    shift: float = 0.0
    colour: float = 0.0
    roll: float = 0.0
    mirror: float = 0.0

    def drawn(self, random: np.random.Generator) -> tuple[ViewChange, ColourChange]:
        """Draw one of them."""
        zoom, right, down, roll, *colour = random.uniform(-1, 1, 8)
        shift = (2 * self.shift * float(right), 2 * self.shift * float(down))
        mirror = bool(random.random() < self.mirror)
        hue, saturation, contrast, brightness = self.colour * np.array(colour) * (20.0, 0.4, 0.4, 0.1)
        view = ViewChange(1 + self.scale * float(zoom), shift, self.roll * float(roll), mirror)
        return view, ColourChange(hue, 1 + saturation, 1 + contrast, brightness)


@dataclass(frozen=True)
class DeformTraining(Options):
    """What is learned and from what."""

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
        if self.backbone and self.network.inputs == "landmarks":
            raise UsageError("backbone", "is of no use to a network that takes landmarks")
        if self.charts and self.correspondence == "none":
            raise UsageError("charts", "are of no use with `correspondence=none`")


DEFORM_PRESETS: Mapping[str, tuple[DeformTraining, TrainOptions]] = {
    # Section 6, and Kudo et al.'s lifter; augmentation is not mentioned there.
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
            network=BodyRegressorOptions(18, 16, 64, cut_out=True),
            lifter=DepthLifterOptions(width=256, learning_rate=5e-4),
            augmentation=CropChange(0.1, 0.03, 0.5),
            rounds=3,
            learning_rate=7e-4,
            lifter_steps=1500,
        ),
        TrainOptions(epochs=12, batch_size=16, decay=0.0, clip=5.0, average=0.995, precision="full", keep="last"),
    ),
    "landmarks": (
        DeformTraining(
            network=BodyRegressorOptions(2, 512, inputs="landmarks"),
            lifter=DepthLifterOptions(width=256, learning_rate=5e-4),
            augmentation=CropChange(0.1, 0.03, roll=0.3, mirror=0.5),
            rounds=4,
            learning_rate=1e-3,
            lifter_steps=1500,
        ),
        TrainOptions(epochs=10, batch_size=32, clip=5.0, average=0.98, precision="full", keep="last"),
    ),
}
"""`small` and `landmarks`: for a CPU and a few thousand people, `landmarks` with detections."""


class DeformAndLearn:
    """What a run learns from, and with which body. All people outside the split "train" are held out: nothing is
    chosen by their errors.

    Args:
        data: A cache, or several; those without dense correspondences contribute keypoints, as long as one has
            them.
    """

    name, criterion = MODEL, "mpjpe_mm"

    def __init__(
        self,
        data: Path | str | Sequence[Path | str],
        options: DeformTraining | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.options, self.seed = options or DeformTraining(), seed
        if self.options.backbone:
            _backbone_file(self.options)  # a refusal comes now, not behind the first round's lifter
        self.body, self.skeleton = load_body(self.options.body), SKELETONS[self.options.skeleton]
        self.nearest: NearestVertices | None = None
        if self.options.charts:
            self.nearest = NearestVertices(read_densepose_charts(Path(self.options.charts), self.body))
        caches = [open_cache(path) for path in ([data] if isinstance(data, Path | str) else data)]
        if len({cache.path.resolve() for cache in caches}) < len(caches):
            raise UsageError("data", "names a cache twice")
        parts = [self._of_cache(cache, caches) for cache in caches]
        people, held_out = (JoinedPeople.of(*(part[side] for part in parts)) for side in (0, 1))
        self.people = spread_out(people, self.options.people)
        self.held_out = spread_out(held_out, self.options.held_out)

    def _of_cache(self, cache: Cache, caches: Sequence[Cache]) -> tuple[People, People]:
        """Select a cache's people to learn from, and those held out."""
        with_dense, is_charted = self.options.correspondence != "none", takes_charts(cache, self.nearest)
        dense = with_dense and self._has_correspondences(cache)
        needs, protocol = list(self.options.network.labels), self.options.protocol
        lacking = with_dense and not any(map(self._has_correspondences, caches))
        if lacking or (dense and not (is_charted and cache.labels.get(SURFACE_POINTS, 0))):
            needs.append("densepose" if is_charted or (lacking and self.options.charts) else "correspondence")
        if protocol not in cache.splits and any(protocol in other.splits for other in caches):
            protocol = ""
        people, held_out = split_people(cache.path, needs, protocol=protocol, choosing=False)
        protocol = training_protocol(cache, protocol)
        if "test" in cache.splits.get(protocol, ()):
            others = [split for split in cache.splits[protocol] if split != "train"]
            parts = [people_in(cache.path, needs, protocol, split) for split in others]
            images, indices, rows = (
                np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "indices", "rows")
            )
            held_out = People(cache, images, indices, rows)
        sides = [self._chosen(some) for some in (people, held_out)]
        if not dense:  # keypoints are all there is
            sides = [with_keypoints(some, self.skeleton) for some in sides]
        return sides[0], sides[1]

    def _has_correspondences(self, cache: Cache) -> bool:
        return takes_charts(cache, self.nearest) or bool(cache.labels.get(LABELS["correspondence"].column, 0))

    def _chosen(self, people: People) -> People:
        share = self.options.visible if "keypoints/smpl24" in people.cache.people else 0.0
        return visible_people(people, share)

    def describe(self) -> dict[str, Any]:
        """Return data and settings as plain JSON values; how many rounds there are may change later."""
        settings = asdict(self.options)
        del settings["rounds"]
        return {**self.people.describe(), "held_out": len(self.held_out), "seed": self.seed, "recipe": settings}


def _backbone_file(options: DeformTraining) -> Path:
    return backbone_file(options.backbone, f"resnet{options.network.layers}")


class RoundData(NamedTuple):
    """What a round's network learns from.

    Attributes:
        people, evidence: To learn from, in one order; parameters (N, 105) and accepted (N,) of their registrations;
            depths (N, J) of the lifter.
        held_out, held_out_evidence: To be measured on.
        start: The network of the round before; None for the first.
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
    """What a network sees of people: their crops, normalised, or the landmarks in them."""

    def __init__(self, people: JoinedPeople, network: BodyRegressorOptions) -> None:
        self.people, self.network, self.boxes = people, network, people.column("box")
        self.landmarks = people.column("detected") if network.inputs == "landmarks" else None

    def __call__(self, number: int, random: np.random.Generator) -> NDArray[np.float32]:
        return self.changed(number, ViewChange(), ColourChange())

    def changed(self, number: int, view: ViewChange, colour: ColourChange) -> NDArray[np.float32]:
        """Return (3, S, S) of a changed crop, or the landmarks (33, 3) in it."""
        if self.landmarks is None:
            crop = person_crop(self.boxes[number], self.network.size, view)
            return normalised_image(change_colour(self.image(number, crop), colour))
        landmarks = landmarks_in_crop(self.landmarks[number], person_crop(self.boxes[number], 2, view))
        return landmarks[list(BLAZEPOSE33.mirror)] if view.mirror else landmarks

    def image(self, number: int, crop: Crop) -> NDArray[np.uint8]:
        """Return what the crop shows; a person who is cut out alone, by what is known without labels: the detector's
        mask, or the box if the detector missed them.
        """
        example = self.people.example(number, (), mask=False, detected_mask=self.network.cut_out)
        if not self.network.cut_out:
            return crop.image(example.image)
        return crop.image(cut_out(example.image, example.detected_mask, self.boxes[number]))


class _Examples(_Inputs):
    """Changed crops of the people of a round, and what is known about them there."""

    def __init__(
        self, data: RoundData, network: BodyRegressorOptions, change: CropChange, skeleton: Skeleton, body: Body
    ) -> None:
        super().__init__(data.people, network)
        self.data, self.change, self.skeleton = data, change, skeleton
        self.mirror_vertices = body.mirror_vertices.cpu().numpy()

    def __call__(self, number: int, random: np.random.Generator) -> Any:
        view, colour = self.change.drawn(random)
        return self.changed(number, view, colour), self._targets(number, view)

    def _targets(self, number: int, view: ViewChange) -> tuple[Any, ...]:
        """Return the fields of `RegressorTargets` in a changed crop."""
        data, evidence = self.data, self.data.evidence
        pose = ScaledPose.from_vector(torch.from_numpy(data.parameters[number : number + 1]))
        keypoints, depths = evidence.keypoints[number].copy(), view.scale * data.depths[number]
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
    """Transform the bodies to a changed crop."""
    roll = axis_angle_to_matrix(torch.tensor([0.0, 0.0, view.roll]))
    matrix = roll @ pose.orientation.unflatten(1, (3, 3))
    scales, angles = pose.segment_scales, pose.axis_angles
    if view.mirror:  # x ↦ −x in the image as in the body; a rotation about x stays, those about y and z turn round
        across = torch.tensor([-1.0, 1.0, 1.0])
        mirror = torch.tensor(SMPL24.mirror)
        matrix = across[:, None] * matrix * across
        scales, angles = scales[:, mirror], -across * angles[:, mirror[1:] - 1]
    translation = torch.from_numpy(view.points(pose.translation.numpy()))
    return ScaledPose(scales, angles, matrix.flatten(1), view.scale * pose.scale, translation)


@torch.no_grad()
def predict_people(network: BodyRegressor, people: JoinedPeople, batch_size: int) -> ScaledPose:
    """Predict the network's bodies of people, on the CPU; it is in evaluation mode."""
    batches = held_out_batches(_Inputs(people, network.options), range(len(people)), batch_size)
    device = next(network.parameters()).device
    return ScaledPose.from_vector(torch.cat([network(image.to(device)).vector.cpu() for image in batches]))


@torch.no_grad()
def joints_in_image(body: ScaledBody, pose: ScaledPose, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return (N, J, 3) of bodies, in image units, depth from the pelvis. body  on any device"""
    rows = body.landmarks(skeleton.name)
    pose = ScaledPose._make(values.to(rows.device) for values in pose)
    return in_image(body.points(pose, rows), pose).double().cpu().numpy()


@torch.no_grad()
def mesh_views(
    body: ScaledBody, pose: ScaledPose, image: NDArray[np.uint8], colour: int = 0
) -> tuple[NDArray[np.uint8], ...]:
    """Draw one body's mesh over a crop (S, S, 3), and its mesh from the side, in the same rows (Figure 1).

    Args:
        body: On any device; colour  as `person_colour` numbers them.
    """
    side, faces = len(image), body.body.faces.cpu()
    pose = ScaledPose._make(values.to(body.vertices().device) for values in pose)
    vertices = in_image(body.points(pose, body.vertices()), pose).cpu()
    away = vertices.new_tensor((0.0, 0.0, _FAR))
    camera = Camera.of_image((side, side), _FAR * side / 2)
    front = draw_overlay(image, vertices + away, faces, camera, track_ids=[colour])
    return front, SideView((0.0, 0.0, 0.0), (1.0, 1.0)).draw((side, side), vertices, faces, track_ids=[colour])


class RegressorRecipe(Recipe[Any]):
    """Equation 5 on one round's registrations. Nothing of it looks at a true 3-D joint but `validate`, whose criterion
    is the error in the image; the last weights are the ones to use.
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
        image, targets = batch
        return regressor_losses(
            self.model(image), RegressorTargets._make(targets), self.body, self.skeleton, self.options.losses
        )

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return keypoint_error, per cent of the crop's side; mpjpe_mm and pa_mpjpe_mm if true joints are known."""
        data = self.data
        pose = predict_people(self.model, data.held_out, batch_size)
        joints = joints_in_image(self.body, pose, self.skeleton)
        keypoints = data.held_out_evidence.keypoints
        apart = np.linalg.norm(joints[..., :2] - keypoints[..., :2], axis=-1) * keypoints[..., 2]
        true = joint_truth(data.held_out, self.skeleton)
        errors = joint_errors(joints, true, self.skeleton, canonical_length(self.body, self.skeleton))
        return {"keypoint_error": 50 * float(apart.sum() / keypoints[..., 2].sum()), **errors.means()}

    def image(self) -> NDArray[np.uint8]:
        """Draw up to six held-out people: the joints that are known, and the predicted mesh from the front and the
        side.
        """
        data, numbers = self.data, np.array(spread_evenly(len(self.data.held_out), _PANELS))
        inputs = _Inputs(data.held_out.taken(numbers), BodyRegressorOptions())
        pose = predict_people(self.model, inputs.people, _PANELS)
        panels = []
        for row in range(len(numbers)):
            image = inputs.image(row, person_crop(inputs.boxes[row], _SIDE))
            keypoints = data.held_out_evidence.keypoints[numbers[row]]
            panel, points = image.copy(), np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan)
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
        """On the model's device."""
        return ScaledBody(copy.deepcopy(self._body).to(self.device))
