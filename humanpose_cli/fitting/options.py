"""Options of a fit. A rerun compares their identity before it loads anything heavy.

Noise levels are standard deviations in measurable units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from humanpose_cli.core.device import ComputeArguments
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.detect.options import DetectOptions
from humanpose_cli.files.digests import digest_of, file_digest
from humanpose_cli.outputs.output_names import beside_fit

if TYPE_CHECKING:
    from humanpose_cli.body.body import Body
    from humanpose_cli.io.detections import UserPeople
    from humanpose_cli.io.video import VideoCodec

MIN_SCORE = 0.3  # of people in the user's files, on the scale of the file
FitMethod = Literal["auto", "keypoints", "nbf", "deform-and-learn"]
"""In sequences, "auto" uses the network only if the user names weights: it takes half of the time there and changes
PA-MPJPE by less than 1 mm (four real views)."""

PeopleChoice = Literal["all", "largest"]
DetectorMode = Literal["auto", "thorough", "fast"]

CameraMovement = Literal["auto", "still", "turning", "walking"]

OverlayLabels = Literal["none", "ids", "reasons"]

SHIPPED_NETWORK = "nbf-proxy"  # the default body network
SHIPPED_SEGMENTER = "segmenter"  # finds body parts for the body network


@dataclass(frozen=True)
class KeypointFitOptions(Options):
    """How `fit_keypoints` weights its evidence."""

    lift: bool = option(True, "Correct the joints with the lifter in a last stage.")
    predicted_shape: float = option(0.7, "Standard deviation of the components of a predicted shape.", above=0)
    shape_noise: float = option(0.2, "Standard deviation of the components of the body's shape.", above=0)
    lean_noise: float = option(
        0.15,
        "Standard deviation of the lean in depth of a standing person's trunk and of the line from feet to hips.",
        unit="radians",
        above=0,
    )
    min_confidence: float = option(0.02, "Minimum confidence of the landmarks that are used.", minimum=0)
    shape_evidence: int = option(
        10, "Maximum number of a shape group's frames that count as independent evidence of shape.", above=0
    )


@dataclass(frozen=True)
class OutlineOptions(Options):
    """How the width of a body follows the outline of the person's mask."""

    use: bool = option(True, "Measure the widths of bodies in masks.")


@dataclass(frozen=True)
class NetworkOptions(Options):
    """The body network of a fit."""

    weights: str = option(
        "",
        "Body network for `method=nbf` or deform-and-learn: a file, a run of hpc train, or a name of hpc weights list.",
        value="FILE|RUN",
        unset="the shipped network of nbf",
    )
    segmenter: str = option(
        "", "Segmenter for body networks that take body parts.", value="FILE|RUN", unset="the shipped segmenter"
    )


@dataclass(frozen=True)
class EvidenceFiles(Options):
    """Files of the user's own programs that a fit uses."""

    boxes: Path | None = option(
        None,
        "People's boxes from your own detector: a JSON or CSV file, COCO results, or a YOLO folder of labels.",
        value="FILE",
        unset="detect them",
    )
    keypoints: Path | None = option(
        None,
        "People's keypoints from your own detector: a file or folder in the form of COCO, OpenPose, MMPose or others.",
        value="FILE",
        unset="detect them",
    )
    pose_model: Path | None = option(
        None,
        "Your own pose network (ONNX, as RTMPose or InstantHMR) for all people, detected or given by `boxes`.",
        value="FILE",
        unset="the shipped networks",
    )
    mask: Path | None = option(
        None,
        "Your mask of a person in a photograph: an image with white pixels, or a folder, as `hpc fit --masks` writes.",
        value="PATH",
        unset="make them",
    )


@dataclass(frozen=True)
class SurfaceFiles(Options):
    """Files of another program that map pixels to points on the bodies' surface."""

    densepose: Path | None = option(
        None,
        "DensePose output: a folder of NAME_IUV.png or .npz, a dump of detectron2's apply_net.py, or COCO annotations.",
        value="PATH",
        unset="none",
    )
    charts: Path | None = option(
        None,
        "DensePose's UV_Processed.mat, which maps its charts to SMPL.",
        value="FILE",
        unset="the charts of the body's texture",
    )


@dataclass(frozen=True)
class FitOptions(Options):
    """Options of a fit."""

    body: str = option(
        "default", "The body to fit: default, smpl:FILE, smplh:FILE or smplx:FILE.", value="default|smpl:FILE"
    )
    people: PeopleChoice = option(
        "all",
        "Which people to fit: all, or the largest (in videos the most prominent).",
    )
    detector: DetectorMode = option(
        "auto",
        "How to search for people; auto: thorough in images, fast in videos.",
    )
    hands: bool = option(True, "Fit fingers, wrists, forearms and heads to detected hands and faces.")
    focal: float | None = option(
        None,
        "Focal length.",
        unit="pixels",
        above=0,
        unset="from EXIF, else 0.9 × the longer side or more",
    )
    method: FitMethod = option(
        "auto",
        "Fitting method: auto (the best choice), keypoints (optimisation only), nbf (network only), or "
        "deform-and-learn (predictions of `weights`, registered to landmarks).",
    )
    min_confidence: float = option(
        0.0,
        "Leave out people with a lower confidence (share of limb joints expected within 10 cm; median over a video).",
        value="X",
        minimum=0,
        maximum=1,
    )
    height: str = option(
        "",
        "Height of all people, or of individual people, by the number in the overlay; sets size and distance.",
        unit="metres",
        value="METRES|PERSON=METRES,…",
        unset="average adult height",
    )
    camera: CameraMovement = option(
        "auto",
        "How the camera of a video moves: still, turning (and zooming), walking, or auto, which is detected from the "
        "background.",
    )
    min_score: float = option(
        MIN_SCORE,
        "Leave out people with a lower score in `keypoints` or `boxes`, on the file's own scale.",
        value="X",
        minimum=0,
    )
    network: NetworkOptions = option(NetworkOptions(), "The body network.")
    keypoints: KeypointFitOptions = option(KeypointFitOptions(), "Noise levels and schedule of the keypoint fit.")
    outline: OutlineOptions = option(OutlineOptions(), "Widths of bodies from masks.")
    detect: DetectOptions = option(DetectOptions(), "How people are detected.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "deform-and-learn" and not self.network.weights:
            raise UsageError("weights", "are missing", expected="a run of hpc train deform-and-learn")
        if self.method == "keypoints" and self.network.weights:
            raise UsageError("weights", "have no effect with `method=keypoints`", remedy="`method=auto` or nbf")
        if self.network_alone and self.height:
            remedy = "`method=auto` or keypoints"
            raise UsageError("height", f"has no effect with `method={self.method}`", remedy=remedy)
        parse_heights(self.height)
        if self.method not in ("auto", "nbf") and self.network.segmenter:
            remedy = "`method=auto` or nbf"
            raise UsageError("segmenter", f"has no effect with `method={self.method}`", remedy=remedy)

    @property
    def network_alone(self) -> bool:
        """Whether the bodies are a network's predictions, without the keypoint fit."""
        return self.method in ("nbf", "deform-and-learn")

    @property
    def uses_network(self) -> bool:
        """Whether a body network is used. With `method=auto`, a network is used only with the body that it knows."""
        if self.method == "auto":
            return bool(self.network.weights) or self.body == "default"
        return self.network_alone

    def identity(self, files: Mapping[str, Path], network: str | None = None) -> dict[str, Any]:
        """Return everything that determines a fit, as JSON values. Files are identified by their contents.

        Args:
            files: The user's files by the names of their arguments.
            network: The label of the body network. None: the shipped one's.
        """
        from humanpose_cli.networks.weights import shipped_weights  # needs numpy, which `hpc fit --help` does not load

        if network is None:
            names = (SHIPPED_NETWORK, SHIPPED_SEGMENTER) if self.uses_network else ()
            network = "+".join(digest_of(shipped_weights(name))[:16] for name in names)
        digests = {name: file_digest(path) for name, path in files.items()}
        return {**asdict(self), **digests, "body": body_identity(self.body), "network": network}


class FitterArguments(ComputeArguments, total=False):
    """Arguments of `Fitter` and `hp.fit`. `EvidenceFiles`, `NetworkOptions` and `FitOptions` explain them."""

    people: PeopleChoice
    method: FitMethod
    body: str | Body
    detector: DetectorMode
    hands: bool
    focal: float | None
    min_confidence: float
    height: float | str
    min_score: float
    weights: str | Path
    boxes: UserPeople | None
    keypoints: UserPeople | None
    pose_model: Path | str | None
    mask: Path | str | None


MIN_HEIGHT, MAX_HEIGHT = 0.5, 2.6  # metres of a person


def parse_heights(text: str) -> dict[int | None, float]:
    """Parse "1.78" or "0=1.82,3=1.60" into metres by the number of a person. The key None means all people."""
    heights: dict[int | None, float] = {}
    for part in filter(None, text.split(",")):
        person, _, metres = part.rpartition("=")
        try:
            number, height = int(person) if person else None, float(metres)
        except ValueError:
            number, height = None, float("nan")
        if not MIN_HEIGHT <= height <= MAX_HEIGHT or number in heights or (number is not None and number < 0):
            expected = f"metres, {MIN_HEIGHT} to {MAX_HEIGHT}, or PERSON=METRES,…"
            match = re.fullmatch(r"(\d+[.,]?\d*)\s*(?:c?m)?", text)  # centimetres, a decimal comma or a unit
            size = float(match[1].replace(",", ".")) if match else 0.0
            meant = next((f"{each:g}" for each in (size, size / 100) if MIN_HEIGHT <= each <= MAX_HEIGHT), "")
            remedy = f"write {meant}, in metres with a point" if meant else ""
            raise UsageError("height", "is unusable", expected=expected, got=text, remedy=remedy)
        heights[number] = height
    return heights


def body_identity(body: str) -> str:
    """Identify a body by its kind and the contents of its file."""
    kind, _, path = body.partition(":")
    return f"{kind}:{file_digest(Path(path))}" if path else body


@dataclass(frozen=True)
class FitOutputs:
    """The files that are written next to a fit file, and how overlays are drawn (see `Fit.save_overlay`).

    Attributes:
        overlay: Whether the overlay is written.
        video_codec: The codec of the overlay of a sequence.
        labels: The labels of the overlay.
        dressed: Whether the overlay shows people that have a look with their clothes.
        masks: Whether the pixels of people are written.
        numbered: Whether overlays and masks of sequences are images with the frames' numbers.
    """

    overlay: bool = True
    video_codec: VideoCodec = "h264"
    labels: OverlayLabels = "ids"
    dressed: bool = False
    masks: bool = False
    numbered: bool = False

    def overlay_path(self, output: Path, *, sequence: bool | None) -> tuple[Path, ...]:
        """Return the path of the overlay, `a.jpg.overlay.jpg` or `a.mp4.overlay.mp4`, or () if none is written.

        Args:
            output: The fit file.
            sequence: Whether the fit is of a sequence. None for several inputs, which have no overlay.
        """
        if not self.overlay or sequence is None:
            return ()
        ending = "jpg" if not sequence else "%04d.jpg" if self.numbered else "mp4"
        return (beside_fit(output, f".overlay.{ending}"),)

    def paths(self, output: Path, *, sequence: bool | None) -> tuple[Path, ...]:
        """Return the fit file of one camera, and all other files whose names are known in advance."""
        images = [f".masks.{'%04d.png' if self.numbered else 'mp4'}"] if sequence else []
        masks = [".masks.json", *images] if self.masks else []
        known = [beside_fit(output, ending) for ending in masks]
        return (output, *self.overlay_path(output, sequence=sequence), *known)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the files, as JSON values, without what version 1.1 does not know unless set."""
        return {name: value for name, value in asdict(self).items() if name not in ("masks", "numbered") or value}
