"""What a refinement depends on. Needs no torch, so that `hpc refine --help` can read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from humanpose_cli.core.options import Options, option

CorrespondenceKind = Literal["auto", "network", "flow", "keypoints", "densepose"]
Prior = Literal["none", "pose"]


@dataclass(frozen=True)
class AlignmentWeights(Options):
    """Noise levels of refinement's terms."""

    surface_noise: float = option(
        1.6, "Factor on the noise of displacements: the errors of neighbouring parts are alike, too.", above=0
    )
    surface_correlation: float = option(
        0.85, "Correlation of the errors of displacements on one part of the body.", minimum=0, maximum=1
    )
    densepose_noise: float = option(
        4.0, "Noise of a pixel's vertex in DensePose's output.", unit="pixels of a crop of 256", above=0
    )
    keypoint_noise: float = option(
        1.2, "Noise of a keypoint of full confidence.", unit="pixels of a crop of 256", above=0
    )
    landmark_noise: float = option(
        3.5,
        "Distance of a true body's landmarks from keypoints of full confidence, by which it is estimated how far off a "
        "fit is.",
        unit="pixels of a crop of 256",
        above=0,
    )
    landmark_correlation: float = option(
        0.7, "Correlation of these distances on one part of the body.", minimum=0, maximum=1
    )
    robust_2d: float = option(3.0, "A displacement of this size counts half as outlier.", unit="noise levels")
    anchor_noise: float = option(1.0, "Factor on the fit's errors as `refining.anchor` expects them.", above=0)
    depth_noise: float = option(
        0.05, "Difference of a joint's depth about the pelvis from the fit's.", unit="metres", above=0
    )
    root_noise: float = option(
        0.01, "Difference of the pelvis' depth from the fit's, as a share of the depth, of a usual fit.", above=0
    )
    acceleration: float = option(20.0, "Standard deviation of the joints' acceleration.", unit="metres/second²")
    robust_acceleration: float = option(
        3.0, "An acceleration of this size is accepted half.", unit="standard deviations"
    )
    shape_noise: float = option(0.6, "Difference of a shape component from the fit's, of a usual fit.", above=0)
    shape_evidence: int = option(10, "Frames of a track that count as independent evidence of shape, at most.")
    prior_strength: float = option(1.0, "Factor on the pose prior's energy.")
    limit_noise: float = option(0.05, "An angle this far beyond a joint's range costs one noise level.", unit="radians")


@dataclass(frozen=True)
class RefineOptions(Options):
    """What a refinement depends on."""

    correspondence: CorrespondenceKind = option(
        "auto",
        "What the bodies are aligned to. flow: the person's texture compared with the photograph, and keypoints. "
        "keypoints: those of the fit alone. network: a network compares, and keypoints. densepose: DensePose's output, "
        "and keypoints. auto: densepose or network where it is given, else flow, which is more accurate on real video "
        "than the shipped network.",
    )
    prior: Prior = option("pose", "Whether unusual poses cost; joints stay within their limits in any case.")
    rounds: int = option(2, "Rounds of rendering, comparing and solving.", minimum=1)
    size: int = option(384, "Side of a person's crop.", unit="pixels", minimum=64)
    points: int = option(400, "Surface points that the body is aligned by.", minimum=50)
    texture_frames: int = option(16, "Frames that a person's texture is made of, at most.", minimum=1)
    weights: AlignmentWeights = option(AlignmentWeights(), "Noise levels of the solver.")
