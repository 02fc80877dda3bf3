"""`hpc train deform-and-learn`: its options, presets and people, and the recipe of the network within a round."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.conventions import SKELETONS, Skeleton
from humanpose_cli.core.errors import UsageError
from humanpose_cli.data.augmentation import ColourChange, change_colour
from humanpose_cli.data.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.models.crops import normalised_image
from humanpose_cli.models.deform_and_learn.evidence import PeopleEvidence, Quality, person_crop
from humanpose_cli.models.deform_and_learn.lifter import DepthLifterOptions
from humanpose_cli.models.deform_and_learn.measure import canonical_length, joint_errors, true_joints
from humanpose_cli.models.deform_and_learn.regressor import (
    MODEL,
    BodyRegressor,
    BodyRegressorOptions,
    RegressorLosses,
    RegressorTargets,
    regressor_losses,
)
from humanpose_cli.models.people import People, people_in, split_people, usual_protocol, visible_people
from humanpose_cli.models.segmenter.network import load_backbone
from humanpose_cli.networks.weights import fill, read_weights
from humanpose_cli.rendering.overlay import draw_keypoints, person_colour
from humanpose_cli.train.recipe import Phase, Recipe, TrainOptions, check_batch, held_out_batches, two_columns

_PANELS = 6
_SIDE = 224  # pixels of a panel


@dataclass(frozen=True)
class CropChange:
    """Random changes of a crop, half-widths of uniform draws: scale a share, shift a share of the crop's side, colour 1
    for brightness ±0.1, contrast and saturation ±0.4, hue ±20°.
    """

    scale: float = 0.0
    shift: float = 0.0
    colour: float = 0.0


@dataclass(frozen=True)
class DeformTraining:
    """What is learned and from what.

    network, losses, lifter, augmentation  see there
    rounds          of lifter, registration and network
    correspondence  "labels" as they are in the cache (the paper's Mosh), or "densepose", degraded to such a network's
                    quality
    points          correspondences of each person
    skeleton        of the keypoints: smpl24, h36m17, coco17, reposing19 or blazepose33
    body            "default" or "smpl:FILE", whose vertices the correspondences name
    learning_rate   of the network, Adam
    backbone        file with ImageNet weights of the ResNet; "" begins at random
    lifter_steps    steps of the lifter in each round, in batches of 16
    registration_steps  steps of the registration of each person
    registered_together  people of one batch of the registration
    seen            least share of a person's joints that must be visible
    people          learn from that many at most, spread evenly; 0 for all
    protocol        of the cache; "" for its usual one
    held_out        people that the network is measured on, at most
    """

    network: BodyRegressorOptions = field(default_factory=BodyRegressorOptions)
    losses: RegressorLosses = field(default_factory=RegressorLosses)
    lifter: DepthLifterOptions = field(default_factory=DepthLifterOptions)
    augmentation: CropChange = field(default_factory=CropChange)
    rounds: int = 5
    correspondence: Quality = "labels"
    points: int = 128
    skeleton: str = "smpl24"
    body: str = "default"
    learning_rate: float = 1e-4
    backbone: str = ""
    lifter_steps: int = 20_000
    registration_steps: int = 200
    registered_together: int = 64
    seen: float = 0.5
    people: int = 0
    protocol: str = ""
    held_out: int = 512

    def __post_init__(self) -> None:
        if self.correspondence not in ("labels", "densepose"):
            expected = "labels or densepose"
            raise UsageError("correspondence", "is not known", expected=expected, got=self.correspondence)
        if self.skeleton not in SKELETONS:
            raise UsageError("skeleton", "is not known", expected=", ".join(SKELETONS), got=self.skeleton)
        counts = (self.rounds, self.points, self.lifter_steps, self.registration_steps, self.registered_together)
        if min(*counts, self.held_out) < 1 or self.learning_rate <= 0:
            raise UsageError("deform-and-learn", "is out of range", expected="counts of 1 or more, a rate above 0")
        if min(self.seen, self.people) < 0 or self.seen > 1:
            raise UsageError("seen or people", "is out of range", expected="seen from 0 to 1, people of 0 or more")


DEFORM_PRESETS: Mapping[str, tuple[DeformTraining, TrainOptions]] = {
    # Section 6; augmentation is not mentioned there.
    "paper": (DeformTraining(), TrainOptions(epochs=30, batch_size=30, decay=0.0)),
    "small": (
        DeformTraining(
            network=BodyRegressorOptions(18, 24, 128),
            lifter=DepthLifterOptions(width=512),
            augmentation=CropChange(0.1, 0.03, 0.5),
            rounds=3,
            learning_rate=5e-4,
            lifter_steps=4000,
        ),
        TrainOptions(epochs=30, batch_size=30, decay=0.0, clip=5.0, precision="full"),
    ),
}
"""`paper`: ImageNet weights by `backbone=FILE`. `small`: for a CPU and a few hundred people."""


class DeformAndLearn:
    """What a run learns from, and with which body. Everybody who is not in the split "train" is held out: nothing is
    chosen by their errors.
    """

    name, criterion = MODEL, "mpjpe_mm"

    def __init__(self, data: Path | str, options: DeformTraining | None = None, *, seed: int = 0) -> None:
        self.options, self.seed = options or DeformTraining(), seed
        self.body, self.skeleton = body_by_name(self.options.body), SKELETONS[self.options.skeleton]
        needs = ["box"]
        people, held_out = split_people(data, needs, protocol=self.options.protocol)
        protocol = self.options.protocol or usual_protocol(people.cache)
        if "test" in people.cache.splits.get(protocol, ()):
            others = [split for split in people.cache.splits[protocol] if split != "train"]
            parts = [people_in(data, needs, protocol, split) for split in others]
            columns = (np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "indices", "rows"))
            held_out = People(people.cache, *columns)
        self.people, self.held_out = (self._chosen(those) for those in (people, held_out))

    def _chosen(self, people: People) -> People:
        seen = self.options.seen if "keypoints/smpl24" in people.cache.people else 0.0
        return visible_people(people, seen)

    def describe(self) -> dict[str, Any]:
        """Data and settings as plain JSON values; how many rounds there are may change later."""
        settings = asdict(self.options)
        del settings["rounds"]
        return {**self.people.describe(), "held_out": len(self.held_out), "seed": self.seed, "recipe": settings}


class RoundData(NamedTuple):
    """What a round's network learns from.

    people, evidence  to learn from, in one order; parameters (N, 105) and accepted (N,) of their registrations;
                      depths (N, J) of the lifter
    held_out, held_out_evidence  to be measured on
    start             the network of the round before; None for the first
    """

    people: People
    evidence: PeopleEvidence
    parameters: NDArray[np.float32]
    accepted: NDArray[np.bool_]
    depths: NDArray[np.float32]
    held_out: People
    held_out_evidence: PeopleEvidence
    start: Path | None = None


class _Crops:
    """The crop of the person with a number, and what is known about them."""

    def __init__(
        self, people: People, evidence: PeopleEvidence, size: int, change: CropChange, known: Mapping[str, NDArray[Any]]
    ) -> None:
        self.people, self.evidence, self.size, self.change, self.known = people, evidence, size, change, known
        self.boxes = people.column("box")

    def __call__(self, number: int, random: np.random.Generator) -> tuple[Any, ...]:
        zoom, right, down, *colour = random.uniform(-1, 1, 7)
        scale, shift = 1 + self.change.scale * zoom, 2 * self.change.shift * np.array([right, down], np.float32)
        crop = person_crop(self.boxes[number], self.size, scale, (float(shift[0]), float(shift[1])))
        image = crop.image(self.people.example(number, (), mask=False, detected_mask=False).image)
        if self.change.colour:
            hue, saturation, contrast, brightness = self.change.colour * np.array(colour) * (20.0, 0.4, 0.4, 0.1)
            image = change_colour(image, ColourChange(hue, 1 + saturation, 1 + contrast, brightness))
        keypoints = self.evidence.keypoints[number].copy()
        keypoints[:, :2] = scale * keypoints[:, :2] + shift
        points = scale * self.evidence.points[number] + shift
        pixels = normalised_image(image)
        if not self.known:
            return number, pixels, keypoints
        parameters = self.known["parameters"][number].copy()
        parameters[-3:] = scale * parameters[-3:]  # the camera's scale and translation
        parameters[-2:] += shift
        depths = np.asarray(scale * self.known["depths"][number], np.float32)
        accepted = np.float32(self.known["accepted"][number])
        vertices = self.evidence.vertices[number]
        targets = (parameters, accepted, keypoints, depths, points.astype(np.float32), vertices)
        return number, pixels, RegressorTargets(*targets)  # type: ignore[arg-type]


@torch.no_grad()
def predict_people(
    network: BodyRegressor,
    people: People,
    evidence: PeopleEvidence,
    batch_size: int,
    numbers: Sequence[int] | None = None,
) -> ScaledPose:
    """The network's bodies of the people with these numbers, or of all, on the CPU; it is in evaluation mode."""
    make = _Crops(people, evidence, network.options.size, CropChange(), {})
    chosen = range(len(people)) if numbers is None else numbers
    device = next(network.parameters()).device
    batches = held_out_batches(make, chosen, batch_size)
    return ScaledPose.from_vector(torch.cat([network(image.to(device)).vector.cpu() for _, image, _ in batches]))


@torch.no_grad()
def joints_in_image(body: ScaledBody, pose: ScaledPose, skeleton: Skeleton) -> NDArray[np.float64]:
    """(N, J, 3) of bodies, in image units, depth from the pelvis. body  on any device"""
    rows = body.landmarks(skeleton.name)
    pose = ScaledPose(*(values.to(rows.device) for values in pose))
    return in_image(body.points(pose, rows), pose).double().cpu().numpy()


class RegressorRecipe(Recipe[Any]):
    """Equation 5 on one round's registrations. Nothing of it looks at a true 3-D joint but `validate`, whose criterion
    is the error in the image; the last weights are the ones to use.
    """

    name, criterion = MODEL, "keypoint_error"
    model: BodyRegressor

    def __init__(self, data: RoundData, body: Body, options: DeformTraining, *, seed: int = 0, number: int = 1) -> None:
        self.data, self.options, self.number, self._body = data, options, number, body
        self.skeleton: Skeleton = SKELETONS[options.skeleton]
        torch.manual_seed(seed + number)
        self.model = BodyRegressor(options.network)
        if options.backbone:
            load_backbone(self.model.backbone, Path(options.backbone))
        if data.start is not None:
            fill(self.model, read_weights(data.start, MODEL)[0], data.start)

    def phases(self) -> Sequence[Phase]:
        return [Phase("fit", list(self.model.parameters()), self.options.learning_rate)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        data = self.data
        check_batch(data.people.cache.path, len(data.people), options)
        known = {"parameters": data.parameters, "accepted": data.accepted, "depths": data.depths}
        make = _Crops(data.people, data.evidence, self.options.network.size, self.options.augmentation, known)
        return BatchLoader(range(len(data.people)), make, options)

    def losses(self, phase: str, batch: Any) -> Mapping[str, Tensor]:
        _, image, targets = batch
        return regressor_losses(self.model(image), targets, self.body, self.skeleton, self.options.losses)

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """keypoint_error, per cent of the crop's side; mpjpe_mm and pa_mpjpe_mm where true joints are known."""
        numbers = spread_evenly(len(self.data.held_out), self.options.held_out)
        data = self.data
        pose = predict_people(self.model, data.held_out, data.held_out_evidence, batch_size, numbers)
        found = joints_in_image(self.body, pose, self.skeleton)
        keypoints = data.held_out_evidence.keypoints[numbers]
        apart = np.linalg.norm(found[..., :2] - keypoints[..., :2], axis=-1) * keypoints[..., 2]
        true = true_joints(data.held_out, self.skeleton)[numbers]
        errors = joint_errors(found, true, self.skeleton, canonical_length(self.body, self.skeleton))
        return {"keypoint_error": 50 * float(apart.sum() / keypoints[..., 2].sum()), **errors.means()}

    def image(self) -> NDArray[np.uint8]:
        """Up to six held-out people with the joints that are known, and with those predicted."""
        numbers = spread_evenly(len(self.data.held_out), _PANELS)
        data = self.data
        pose = predict_people(self.model, data.held_out, data.held_out_evidence, _PANELS, numbers)
        boxes, found = data.held_out.column("box"), joints_in_image(self.body, pose, self.skeleton)
        panels = []
        for joints, number in zip(found, numbers, strict=True):
            crop = person_crop(boxes[number], _SIDE)
            image = crop.image(data.held_out.example(number, (), mask=False, detected_mask=False).image)
            known = data.held_out_evidence.keypoints[number]
            shown = [image.copy(), image.copy()]
            for panel, points in zip(shown, (np.where(known[:, 2:] > 0, known[:, :2], np.nan), joints), strict=True):
                draw_keypoints(panel, (points[:, :2] + 1) * _SIDE / 2, self.skeleton, person_colour(0))
            panels.append(np.concatenate(shown, 1))
        return two_columns(panels)

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        known = {"skeleton": self.options.skeleton, "body": self._body.name, "round": self.number}
        return self.model.state_dict(), {**self.model.config, **known}

    def describe(self) -> Mapping[str, Any]:
        return {**self.data.people.describe(), "round": self.number, "recipe": asdict(self.options)}

    @cached_property
    def body(self) -> ScaledBody:
        """On the model's device."""
        return ScaledBody(copy.deepcopy(self._body).to(self.device))
