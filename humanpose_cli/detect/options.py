"""Options of detection: how people are searched for, followed through videos, and recognised as the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from humanpose_cli.core.options import Options, option


def _share(default: float, text: str) -> Any:
    return option(default, text, minimum=0, maximum=1)


def _sides(default: Any, text: str) -> Any:
    return option(default, text, unit="sides of the region", above=0)


def _odds(default: float, text: str) -> Any:
    return option(default, text, unit="log-odds")


def _frames(default: float, text: str, minimum: int = 0) -> Any:
    return option(default, text, unit="frames", minimum=minimum)


@dataclass(frozen=True)
class SamePersonOptions(Options):
    """Similarities from which two predictions are of one person, by what is compared: see `similarity.same_person`."""

    boxes: float = _share(0.3, "Overlap of two boxes of the detector in one window.")
    passes: float = _share(
        0.5, "Poses of two landmark passes: of candidates before they are refined, and of people who are followed."
    )
    candidates: float = _share(0.4, "Mean poses of two refined candidates, by the joints that both show.")
    networks: float = _share(0.5, "Poses of one person by BlazePose and Thunder, or by a pass and all together.")
    keypoints: float = _share(0.4, "Keypoints from the user's file and the landmark model's pose around them.")
    pose_model: float = _share(0.4, "Joints of the user's pose network and of the shipped ones.")
    detections: float = _share(
        0.7, "Two people of a frame: a second detection has a similarity of 1.0, another person one of 0.2."
    )
    user_boxes: float = _share(0.7, "Overlap of two boxes from the user's file, which may be of one person.")
    frames: float = _share(0.3, "Boxes or keypoints of two frames, which are one track.")


@dataclass(frozen=True)
class SearchOptions(Options):
    """How people are searched for in one image, beside what a `Scheme` decides."""

    proposal_score: float = option(0.3, "Score from which the detector's proposals are followed.", above=0, below=1)
    first_presence: float = _share(0.3, "Presence of a person in the first landmark pass.")
    second_presence: float = _share(0.5, "The same in the second pass.")
    max_distance: float = _sides(0.2, "Distance between MultiPose's region and that of a candidate that it supports.")
    window_overhang: float = option(
        0.25,
        "How far the outer windows reach over the image's edges.",
        unit="sides of the window",
        minimum=0,
        maximum=1,
    )
    small_window: float = option(
        0.45,
        "Windows below this side are searched only where a larger one shows a person who fits into them.",
        unit="the image's longer side",
        minimum=0,
        maximum=1,
    )
    crowd: int = option(
        6, "From so many people in large windows on, all windows are searched.", unit="people", minimum=0
    )
    crowd_score: float = _share(0.5, "Score of people who count for this. Without one, all windows are searched, too.")
    undetected_score: float = option(
        0.15, "The detector's score of candidates that only MultiPose found.", above=0, below=1
    )
    multipose_weight: float = option(0.9, "Weight of MultiPose's log-odds in those of a candidate.", minimum=0)
    multipose_zero: float = option(
        0.1, "MultiPose's score that adds nothing: the highest on 22 images without people.", above=0, below=1
    )
    on_mask: float = _share(
        0.7, "Share of a candidate's joints on another person's mask from which it is no second person."
    )
    weaker_by: float = option(1.0, "How much less likely such a candidate must be.", unit="log-odds", minimum=0)


@dataclass(frozen=True)
class SecondLookOptions(Options):
    """How a single image is searched behind people, and how candidates in doubt are examined."""

    coarse: float = _odds(
        -1.0,
        "Change of the threshold after two passes: people behind others, or upside down, have few windows that show "
        "them.",
    )
    doubtful: float = _odds(-3.0, "From here on, candidates who touch a person are examined by the other networks.")
    unclear: float = _odds(-0.5, "The same of other candidates, which saves time where things resemble people.")
    odds: float = option(0.3, "Weight of a candidate's log-odds in those that it is a person with this pose.")
    thunder: float = option(0.7, "Weight of the log-odds of its similarity to Thunder's pose.")
    heavy: float = option(0.4, "The same of BlazePose heavy's pose.")
    bias: float = _odds(0.3, "Constant of these log-odds.")
    isolation: float = _odds(
        2.0,
        "What a candidate who touches no person loses: the networks agree on things that resemble people, too. Without "
        "it a dog has 0.9, a clamp 1.3, a tiger 2.4.",
    )
    person: float = _odds(0.5, "From here on, a candidate is a person.")
    listing: float = _odds(0.0, "From here on, a candidate is listed without a body.")
    listing_score: float = _share(0.3, "MultiPose's score from which a person without a candidate is listed.")
    max_shift: float = _sides(
        0.08, "Distance between MultiPose's region and that of the person in it, at most 0.036 in ten real images."
    )
    max_ratio: float = option(1.4, "Ratio of these regions' sides, at most 1.18 in those images.", above=1)
    part_size: float = option(
        0.6, "Side of a region that may show a part of a person.", unit="sides of the person's region", above=0
    )
    rounds: int = option(
        3, "Searches with people painted over, each behind those that the one before found.", minimum=0
    )
    wide_view: tuple[float, int] = option(
        (1.3, 512),
        "MultiPose's first window, in longer sides of the image, and the side of its input in pixels: it finds people "
        "at the edges better in a window that is wider than the image.",
        above=0,
    )
    close_view: tuple[float, int] = option(
        (0.6, 384), "The same of the windows that follow if the first shows an unexplained person.", above=0
    )
    thunder_reaches: tuple[float, float] = _sides((1.0, 1.15), "Sides of Thunder's two crops; the second is mirrored.")
    body_size: float = _sides(0.8, "Size of a person.")
    limb_width: float = _sides(0.075, "Width of limbs that are painted over where the mask shows them.")
    head_radius: float = _sides(0.07, "Radius of the head there.")
    min_mask: float = _share(0.4, "Value of the mask from which pixels are painted over.")
    surroundings: float = option(
        0.04, "Standard deviation of the blur that fills them.", unit="longer sides of the image", above=0
    )
    edge: float = option(1.5, "Standard deviation of the edges' blur.", unit="pixels", above=0)
    min_side: float = option(
        48.0, "Side of a region that shows enough of a person to fit a body.", unit="pixels", minimum=0
    )
    touching: float = _share(0.1, "Similarity to a person from which a candidate counts as hidden by them.")


@dataclass(frozen=True)
class FusionOptions(Options):
    """How the networks' votes are fused, and which crops Thunder gets."""

    full_weight: float = option(
        0.5, "Votes of all passes of BlazePose full together, for a joint of full confidence; Thunder has 1.", above=0
    )
    heavy_weight: float = option(1.0, "The same of BlazePose heavy.", above=0)
    min_weight: float = option(
        1e-3, "Weight of a vote without confidence, so that every joint has a position.", above=0
    )
    clear_score: float = option(0.7, "Thunder's score of a joint that is certainly visible.", above=0, maximum=1)
    agreement: float = _sides(0.01, "Votes this far from the mean count half.")
    min_support: float = option(0.05, "Votes that agree on a joint at least; bounds its noise.", above=0)
    iterations: int = option(8, "Iterations of the reweighted mean.", minimum=1)
    min_confidence: float = _share(0.3, "Confidence of BlazePose's joints that an upright crop shows.")
    box_margin: float = option(
        1.25, "Side of the first upright crop.", unit="sides of the box around its joints", above=0
    )
    torso_reach: float = option(
        1.9,
        "Half the side of the second upright crop, which is MoveNet's own, in reaches of the torso from the hips.",
        above=0,
    )
    body_reach: float = option(1.2, "The same in reaches of the body.", above=0)


@dataclass(frozen=True)
class SharedJointOptions(Options):
    """Which joints two people of an image share, and whose they are."""

    reach: float = option(
        0.05, "Two joints this near are at one position.", unit="sizes of the smaller person", above=0
    )
    min_confidence: float = _share(0.3, "Confidence of joints that both people claim.")
    off_mask: float = option(
        0.2, "Weight of the confidence of a joint beside the person's mask; one on it has 1 more.", minimum=0
    )


@dataclass(frozen=True)
class FollowOptions(Options):
    """When people in a video are followed, searched for and given up."""

    min_presence: float = _share(0.5, "Presence in the landmark passes, below which the person has left the region.")
    min_visible: int = option(
        3, "Landmarks in the image with `min_confidence`, below which the person has left it.", minimum=0
    )
    min_confidence: float = _share(0.3, "Confidence of visible landmarks.")
    max_movement: float = _sides(0.06, "How much passes with a reliable pose differ.")
    patience: int = _frames(2, "How long a lost candidate is kept who is not certain.")
    lost_patience: int = _frames(30, "How long a person lost within the image is looked for on their way.")
    turns: int = option(8, "Orientations, over the full circle, in which lost people are looked for.", minimum=1)
    regained_views: int = option(3, "How many of them are looked at closely.", minimum=1)
    regained_presence: float = _share(0.8, "`min_presence` of a person who was lost.")
    regained_movement: float = _sides(0.03, "`max_movement` of a person who was lost.")
    regained_near: float = _sides(0.35, "Distance of such a person from the expected position.")
    regained_size: float = option(1.6, "Ratio of their size and the expected one.", above=1)
    max_newcomers: int = option(4, "Proposals that are searched around in one frame.", minimum=0)
    look_every: int = _frames(
        6,
        "Frames between two looks of MultiPose for newcomers, in turn at the full image and at a part; of more than 30 "
        "frames a second so many times as many.",
        minimum=1,
    )
    look_side: int = option(512, "Side of MultiPose's input for them.", unit="pixels", minimum=32)
    look_part: float = option(0.5, "Side of a part.", unit="longer sides of the image", above=0, maximum=1)
    look_change: float = option(
        10.0,
        "Change of the cells of a 64th of a window, below which it shows no newcomer beside the people followed.",
        unit="grey levels",
        minimum=0,
    )
    key_every: int = _frames(60, "Frames between two searches of the full image.", minimum=1)
    near: float = _sides(0.2, "Distance within which a proposal is of the same person.")
    rejection: int = _frames(24, "How long a region where no person was found is not searched again.")
    tentative: float = _odds(
        -2.5,
        "From here on, above the threshold of single images, a candidate is followed until it is clear what it is.",
    )
    certain: float = _odds(
        1.5,
        "From here on, above that threshold, it is a person; between them it takes two searches, except in the first "
        "frame: so many frames are searched that something resembles a person in one.",
    )
    look_again_every: int = _frames(
        6, "Frames between two looks of MultiPose at a candidate that is not certain.", minimum=1
    )
    close_side: int = option(256, "Side of MultiPose's input for them.", unit="pixels", minimum=32)
    close_reach: float = _sides(1.6, "Width of these looks.")
    clear_score: float = _share(
        0.45, "MultiPose's score of a person; a clamp that resembles one has 0.28 to 0.35, a bystander 0.52 to 0.57."
    )
    walk: float = _sides(0.5, "A candidate that moves this far while it looks like a person is one.")
    gap_movement: float = _sides(
        0.1, "How far a joint moves, at most, between two frames in which people are searched for."
    )
    gap_turn: float = option(0.12, "How far the body turns in the image meanwhile.", unit="radians", above=0)
    touching: float = _share(
        0.1, "Overlap of the boxes of two people's joints beyond which people are searched for in every frame."
    )
    ahead: int = _frames(3, "How early looks and searches of the full image begin: they take longer than a frame.")


@dataclass(frozen=True)
class TrackOptions(Options):
    """How the people of neighbouring frames are compared."""

    keypoint_width: float = option(
        0.1,
        "Standard deviation of the movement of a keypoint from frame to frame.",
        unit="longer sides of the box",
        above=0,
    )
    min_confidence: float = _share(0.3, "Confidence of keypoints that are compared.")
    min_keypoints: int = option(4, "Keypoints that are compared at least.", minimum=1)
    max_gap: int = _frames(10, "How long a track waits for its person.")


@dataclass(frozen=True)
class LinkOptions(Options):
    """How tracks are cut where people cross, and joined over gaps."""

    cover_share: float = _share(
        0.4, "Share of the smaller box within another one, from which colours there may be the other person's."
    )
    likely: float = _share(
        0.8, "Median score from which an unconfirmed candidate counts as detection; a clamp has 0.6, a bystander 0.97."
    )
    brief: int = _frames(15, "A shorter track, most of it within another's box, mixes two people who cross.")
    clear_frames: int = _frames(40, "Frames nearest to an end of a track that give its colours.", minimum=1)
    lightness: float = option(0.7, "Weight of lightness in differences of colour.", minimum=0)
    usual_difference: float = option(
        14.0, "Difference of one person's colours (ΔE) at which another person is as likely.", above=0
    )
    difference_scale: float = option(3.0, "Difference of colours (ΔE) that is worth one of log-odds.", above=0)
    before: float = _odds(1.5, "That pieces which were one track are one person.")
    speed_frames: int = option(10, "Frames at an end of a track that give the speed there.", unit="frames", minimum=2)
    step: float = option(0.15, "How far a prediction misses at once.", unit="heights", above=0)
    wander: float = option(0.02, "How much more it misses with every frame.", unit="heights", minimum=0)
    horizon: float = _frames(4.0, "Frames that a prediction reaches at least.")
    longest_gap: int = _frames(300, "A person who was gone for longer is not recognised.")


@dataclass(frozen=True)
class DetectOptions(Options):
    """All options of detection."""

    same_person: SamePersonOptions = option(SamePersonOptions(), "Which predictions are of one person.")
    search: SearchOptions = option(SearchOptions(), "The search in one image.")
    second_look: SecondLookOptions = option(SecondLookOptions(), "The second look at single images.")
    fusion: FusionOptions = option(FusionOptions(), "The networks' votes for a person's joints.")
    shared_joints: SharedJointOptions = option(SharedJointOptions(), "Joints that two people share.")
    follow: FollowOptions = option(FollowOptions(), "People who are followed through a video.")
    tracks: TrackOptions = option(TrackOptions(), "People of neighbouring frames.")
    links: LinkOptions = option(LinkOptions(), "Tracks over gaps and crossings.")
    rate: float = option(
        20.0,
        "Frames a second in which people are searched for, at least, in videos of twice as many or more; all where "
        "people move fast. Between them bodies follow from the frames before and after. 0: all frames.",
        minimum=0,
    )
    min_user_box: float = option(
        16.0, "Longer side of a box from the user's file that shows enough to fit a body.", unit="pixels", minimum=0
    )
