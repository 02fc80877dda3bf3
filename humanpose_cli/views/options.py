"""How several cameras of one moment are put together. Needs no torch: `hpc fit --help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class ViewsOptions(Options):
    """How the cameras of a take are found, and its bodies solved.

    Noise levels are those of the keypoints of `hpc fit` in 1080p videos.
    """

    keypoint_noise: float = option(
        0.008, "Noise of a keypoint in the image, as a share of the person's height there.", above=0
    )
    robust: float = option(1.6, "A residual of this many noise levels and more counts less (Huber).", above=0)
    min_confidence: float = option(0.3, "Keypoints of less confidence do not place cameras.", minimum=0, maximum=1)
    samples: int = option(40, "Moments of a take, at most, that place its cameras.", minimum=1)
    bone_noise: float = option(0.15, "How far a bone varies between moments, as a share of its length.", above=0)
    size_noise: float = option(
        0.05, "Difference of a person's legs from the single fits', as natural logarithm.", above=0
    )
    focal_noise: float = option(0.2, "Spread of focal lengths about the usual one, as natural logarithm.", above=0)
    max_offset: float = option(
        10.0, "Largest difference of two cameras' clocks that is looked for.", unit="seconds", minimum=0
    )
    clear_clock: float = option(
        0.15, "How much more movements must speak for a difference of clocks than for none, in nats.", minimum=0
    )
    sound_peak: float = option(
        2.0, "Likeness of two recordings at one shift, in the largest of the others, that gives the clocks.", above=1
    )
    sound_score: float = option(
        0.7,
        "Agreement of the movements at the sound's shift, in the best agreement, that confirms it.",
        above=0,
    )
    max_disagreement: float = option(
        0.16, "Mean distance of two views' joints about the pelvis beyond which they show two people.", unit="metres"
    )
    clothes_difference: float = option(
        18.0, "Difference of colours (CIELAB) beyond which clothes speak against one person in two views.", above=0
    )
    min_angle: float = option(
        12.0, "Two cameras whose viewing directions differ by less add little depth.", unit="degrees", minimum=0
    )
    max_turn: float = option(
        1.5,
        "A camera that turns further during a take counts along its path, if that is known.",
        unit="degrees",
        minimum=0,
    )
    refinements: int = option(2, "How often cameras and bodies are refined together.", minimum=0)
    shape_noise: float = option(
        0.45, "Standard deviation of the body's shape components about the mean of the single views'.", above=0
    )
    shape_evidence: int = option(30, "Frames that count as independent evidence of shape, at most.", above=0)
