"""What a fit depends on: its options, whose identity a rerun compares before anything heavy is loaded.

Noise levels and schedules are standard deviations that one can measure, and step counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from humanpose_cli.core.errors import UsageError
from humanpose_cli.io.digests import digest_of, file_digest
from humanpose_cli.io.fit_files import FIT_SUFFIX
from humanpose_cli.io.inputs import InputItem, output_path
from humanpose_cli.networks.weights import shipped_weights

FitMethod = Literal["auto", "keypoints", "nbf"]
"""keypoints: optimisation alone. nbf: one forward pass. auto: optimisation that starts from the forward pass and
believes its depth as far as it is sure of it, where there is a network for the body; in sequences only where the user
names its weights, for there it takes half of the time and changes PA-MPJPE by less than 1 mm (four real views)."""

PeopleChoice = Literal["all", "largest"]
DetectorMode = Literal["auto", "thorough", "fast", "largest"]

SHIPPED_NETWORK, SHIPPED_SEGMENTER = "nbf-proxy", "segmenter"
"""The body network where none is named, and what finds the parts of a body for it."""


@dataclass(frozen=True)
class SolverOptions:
    """When a sample is done, and how carefully it starts.

    iterations  most evaluations of a sample
    tolerance   done when an accepted step lowers the cost by less than this share of it
    damping     first damping, as a share of the Hessian's diagonal
    """

    iterations: int = 20
    tolerance: float = 1e-4
    damping: float = 1e-3


_MAY_BE_ZERO = ("prior_strength", "least_confidence", "retry_cost")


@dataclass(frozen=True)
class KeypointFitOptions:
    """How `fit_keypoints` weighs its evidence. Numbers are finite.

    landmark_noise     factor on the known 2-D noise of landmarks (see noise.py)
    least_noise        pixels: no landmark is better than this
    robust_2d          noise levels at which a 2-D residual counts half as outlier
    bone_noise         metres across and along the viewing ray: world landmarks' noise of one bone's vector
    predicted_noise    factor on the noise that a body network claims for the joints it predicts
    lift               let the lifter judge where the joints are, in a last stage
    lifted_share       of the lifter in the mean with the fit before it, 0..1
    lifted_noise       metres by which the body may differ from that mean
    robust_position       like robust_2d, for predicted joints
    predicted_shape    standard deviation of a predicted shape's components
    robust_bone        like robust_2d, for the bones of the world landmarks
    prior_strength     factor on the pose prior's energy (0 switches it off)
    limit_noise        radians beyond a joint's range that cost as much as one noise level
    shape_noise        standard deviations of the body's shape components
    lean_noise         radians a standing person's trunk, or the line from feet to hips, leans in depth
    robust_lean        noise levels at which a lean is taken for real
    fallback_noise     radians by which an unseen limb may differ from its mirrored or neutral pose
    scale_noise        natural logarithm: world landmarks' scale against the body's
    least_confidence   below it a landmark is not used at all
    shape_evidence     most frames of a shape group that count as independent evidence of shape
    acceleration       metres per second²: standard deviation of the body's points in a sequence
    robust_motion      accelerations, in these units, from which they count linearly
    standing_noise     metres that a standing foot may move between two frames
    starts             starting poses tried per row at most
    retry_cost         robust cost of the first start's end above which a row tries the others; rows without depth
                       always do
    coarse, fine       solver's schedule of the first stage (all starts) and of the last of single frames
    motion             solver's schedule for the frames of a person together
    chunk              rows solved together, rounded up to a multiple of 8; bounds the memory, changes no result
    """

    landmark_noise: float = 1.0
    least_noise: float = 0.5
    robust_2d: float = 3.0
    bone_noise: tuple[float, float] = (0.06, 0.09)
    predicted_noise: float = 3.0
    lift: bool = True
    lifted_share: float = 0.5
    lifted_noise: float = 0.03
    robust_position: float = 3.0
    predicted_shape: float = 0.7
    robust_bone: float = 3.0
    prior_strength: float = 1.0
    limit_noise: float = 0.05
    shape_noise: float = 1.0
    lean_noise: float = 0.15
    robust_lean: float = 2.0
    fallback_noise: float = 0.3
    scale_noise: float = 0.1
    least_confidence: float = 0.02
    shape_evidence: int = 10
    acceleration: float = 15.0
    robust_motion: float = 3.0
    standing_noise: float = 0.003
    starts: int = 5
    retry_cost: float = 30.0
    coarse: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=8, tolerance=1e-2, damping=1e-2))
    fine: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=25, tolerance=3e-4, damping=1e-3))
    motion: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=10, tolerance=3e-3, damping=1e-6))
    chunk: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, SolverOptions) and value.iterations < 1:
                got = str(value.iterations)
                raise UsageError(f"keypoints.{name}.iterations", "is out of range", expected="1 or more", got=got)
            if isinstance(value, bool | SolverOptions):
                continue
            zero = name in _MAY_BE_ZERO
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(n) and (n > 0 or (zero and n == 0)) for n in numbers):
                expected = "a finite number " + ("of 0 or more" if zero else "above 0")
                raise UsageError(f"keypoints.{name}", "is out of range", expected=expected, got=str(value))


@dataclass(frozen=True)
class NetworkOptions:
    """Which body network.

    weights    a file, a run's folder or a name of the registry; "" takes the shipped one
    segmenter  the same, of a network that sees body parts; "" takes the shipped one
    """

    weights: str = ""
    segmenter: str = ""


@dataclass(frozen=True)
class FitOptions:
    """What a fit depends on.

    body       'default', or 'smpl:FILE'
    people     'all', or only the 'largest' by box: of a sequence, the track of the largest boxes altogether, and beside
               it only tracks of other times
    detector   'thorough', 'fast', or 'auto': thorough for images, fast for sequences; 'largest' is auto, but stops in
               images where it is clear who is largest, and may miss small people then
    focal      pixels; None takes EXIF's, else 0.9 times the longer side, in images more where somebody would be
               nearer than 2 m
    method     'keypoints', 'nbf' or 'auto'; see `FitMethod`. 'auto' is 'keypoints' for bodies that no network knows
    network    which body network
    keypoints  weights and schedule of the keypoint fit
    """

    body: str = "default"
    people: PeopleChoice = "all"
    detector: DetectorMode = "auto"
    focal: float | None = None
    method: FitMethod = "auto"
    network: NetworkOptions = field(default_factory=NetworkOptions)
    keypoints: KeypointFitOptions = field(default_factory=KeypointFitOptions)

    def __post_init__(self) -> None:
        for name, known in {"people": PeopleChoice, "detector": DetectorMode, "method": FitMethod}.items():
            if getattr(self, name) not in get_args(known):
                expected, got = ", ".join(get_args(known)), str(getattr(self, name))
                raise UsageError(name, "is not known", expected=expected, got=got)
        if self.focal is not None and not 0 < self.focal < float("inf"):
            raise UsageError("focal", "must be positive", expected="pixels", got=str(self.focal))
        if self.method == "keypoints" and self.network != NetworkOptions():
            given = "weights" if self.network.weights else "segmenter"
            raise UsageError(given, "is of no use with `method=keypoints`", remedy="`method=auto` or nbf")

    @property
    def uses_network(self) -> bool:
        """Whether a body network says something: of `auto`, not where it would be another body's."""
        if self.method == "auto":
            return bool(self.network.weights) or self.body == "default"
        return self.method == "nbf"

    def identity(self, files: Mapping[str, Path], network: str | None = None) -> dict[str, Any]:
        """What decides fits, as JSON values: options, and files by their contents, wherever they lie.

        files    of the user's own evidence, by the names of their arguments
        network  what tells the body network from others; None: that of the shipped one
        """
        if network is None:
            names = (SHIPPED_NETWORK, SHIPPED_SEGMENTER) if self.uses_network else ()
            network = "+".join(digest_of(shipped_weights(name))[:16] for name in names)
        given = {name: file_digest(path) for name, path in files.items()}
        return {**asdict(self), **given, "body": body_identity(self.body), "network": network}


def body_identity(body: str) -> str:
    """What a body changes in a result: the contents of its file."""
    kind, _, path = body.partition(":")
    return f"{kind}:{file_digest(Path(path))}" if path else body


def fit_outputs(item: InputItem, out: Path, *, overlay: bool = True) -> tuple[Path, ...]:
    """The files that `fit_item` will write: `a.jpg.fit.npz`, and `a.jpg.overlay.jpg` or `a.mp4.overlay.mp4`.

    out  a folder, or the fit file's name: `x.npz`, beside which stands `x.overlay.jpg`
    """
    ending = ".overlay.mp4" if item.is_sequence else ".overlay.jpg"
    if out.suffix.lower() == ".npz" and not out.is_dir():
        return (out, *([out.with_name(out.name[:-4].removesuffix(".fit") + ending)] if overlay else []))
    return tuple(output_path(item, out, suffix) for suffix in (FIT_SUFFIX, *([ending] if overlay else [])))
