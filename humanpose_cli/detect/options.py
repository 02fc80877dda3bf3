"""Options of detection: how people are searched for, followed through videos, and recognised as the same person."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class SamePersonOptions(Options):
    """Similarities from which two predictions are of one person, by what is compared: see `similarity.same_person`."""

    boxes: float = option(0.3, "Overlap of two boxes of the detector in one window.", minimum=0, maximum=1)
    passes: float = option(
        0.5,
        "Poses of two landmark passes: of candidates before they are refined, and of people who are followed.",
        minimum=0,
        maximum=1,
    )
    refined: float = option(
        0.4, "Mean poses of two refined candidates, by the joints that both show.", minimum=0, maximum=1
    )
    networks: float = option(
        0.5, "Poses of one person by BlazePose and Thunder, or by a pass and all together.", minimum=0, maximum=1
    )
    keypoints: float = option(
        0.4, "Keypoints from the user's file and the landmark model's pose around them.", minimum=0, maximum=1
    )
    pose_model: float = option(0.4, "Joints of the user's pose network and of the shipped ones.", minimum=0, maximum=1)
    detections: float = option(
        0.7,
        "Two people of a frame: a second detection has a similarity of 1.0, another person one of 0.2.",
        minimum=0,
        maximum=1,
    )
    frames: float = option(0.3, "Boxes or keypoints of two frames, which are one track.", minimum=0, maximum=1)


@dataclass(frozen=True)
class SearchOptions(Options):
    """How people are searched for in one image, beside what a `Scheme` decides."""

    proposal_score: float = option(0.3, "Score from which the detector's proposals are followed.", above=0, below=1)
    first_presence: float = option(0.3, "Presence of a person in the first landmark pass.", minimum=0, maximum=1)
    second_presence: float = option(0.5, "The same in the second pass.", minimum=0, maximum=1)
    max_distance: float = option(
        0.2,
        "Distance between MultiPose's region and that of a candidate whom it supports.",
        unit="sides of the region",
        above=0,
    )
    window_overhang: float = option(
        0.25,
        "How far the outer windows reach over the image's edges.",
        unit="sides of the window",
        minimum=0,
        maximum=1,
    )
    undetected_score: float = option(
        0.15, "The detector's score of candidates that only MultiPose found.", above=0, below=1
    )
    multipose_weight: float = option(0.9, "Weight of MultiPose's log-odds in those of a candidate.", minimum=0)
    multipose_zero: float = option(
        0.1,
        "MultiPose's score that adds nothing: the highest on 22 images without people.",
        above=0,
        below=1,
    )
    on_mask: float = option(
        0.7,
        "Share of a candidate's joints on another person's mask from which it is no second person.",
        minimum=0,
        maximum=1,
    )
    weaker_by: float = option(1.0, "How much less likely such a candidate must be.", unit="log-odds", minimum=0)


@dataclass(frozen=True)
class SecondLookOptions(Options):
    """How a single image is searched behind people, and how candidates in doubt are examined."""

    coarse: float = option(
        -1.0,
        "Change of the threshold after two passes: people behind others, or upside down, have few windows that show "
        "them.",
        unit="log-odds",
    )
    doubtful: float = option(
        -3.0, "From here on, candidates who touch a person are examined by the other networks.", unit="log-odds"
    )
    unclear: float = option(
        -0.5, "The same of other candidates, which saves time where things resemble people.", unit="log-odds"
    )
    odds: float = option(0.3, "Weight of a candidate's log-odds in those that it is a person with this pose.")
    thunder: float = option(0.7, "Weight of the log-odds of its similarity to Thunder's pose.")
    heavy: float = option(0.4, "The same of BlazePose heavy's pose.")
    bias: float = option(0.3, "Constant of these log-odds.", unit="log-odds")
    isolated: float = option(
        2.0,
        "What a candidate who touches no person loses: the networks agree on things that resemble people, too. Without "
        "it a dog has 0.9, a clamp 1.3, a tiger 2.4.",
        unit="log-odds",
    )
    person: float = option(0.5, "From here on, a candidate is a person.", unit="log-odds")
    listed: float = option(0.0, "From here on, a candidate is listed without a body.", unit="log-odds")
    listed_score: float = option(
        0.35, "MultiPose's score from which a person without a candidate is listed.", minimum=0, maximum=1
    )
    max_shift: float = option(
        0.08,
        "Distance between MultiPose's region and that of the person in it, at most 0.036 in ten real images.",
        unit="sides of the region",
        above=0,
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
    thunder_reaches: tuple[float, float] = option(
        (1.0, 1.15), "Sides of Thunder's two crops; the second is mirrored.", unit="sides of the region", above=0
    )
    body_size: float = option(0.8, "Size of a person.", unit="sides of the region", above=0)
    limb_width: float = option(
        0.075, "Width of limbs that are painted over where the mask shows them.", unit="sides of the region", above=0
    )
    head_radius: float = option(0.07, "Radius of the head there.", unit="sides of the region", above=0)
    min_mask: float = option(0.4, "Value of the mask from which pixels are painted over.", minimum=0, maximum=1)
    surroundings: float = option(
        0.04, "Standard deviation of the blur that fills them.", unit="longer sides of the image", above=0
    )
    edge: float = option(1.5, "Standard deviation of the edges' blur.", unit="pixels", above=0)
    min_side: float = option(
        48.0, "Side of a region that shows enough of a person to fit a body.", unit="pixels", minimum=0
    )
    touching: float = option(
        0.1, "Similarity to a person from which a candidate counts as hidden by them.", minimum=0, maximum=1
    )


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
    agreement: float = option(0.01, "Votes this far from the mean count half.", unit="sides of the region", above=0)
    min_support: float = option(0.05, "Votes that agree on a joint at least; bounds its noise.", above=0)
    iterations: int = option(8, "Iterations of the reweighted mean.", minimum=1)
    min_confidence: float = option(
        0.3, "Confidence of BlazePose's joints that an upright crop shows.", minimum=0, maximum=1
    )
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
    min_confidence: float = option(0.3, "Confidence of joints that both people claim.", minimum=0, maximum=1)
    off_mask: float = option(
        0.2, "Weight of the confidence of a joint beside the person's mask; one on it has 1 more.", minimum=0
    )


@dataclass(frozen=True)
class FollowOptions(Options):
    """When people in a video are followed, searched for and given up."""

    min_presence: float = option(
        0.5, "Presence in the landmark passes, below which the person has left the region.", minimum=0, maximum=1
    )
    min_visible: int = option(
        3, "Landmarks in the image with `min_confidence`, below which the person has left it.", minimum=0
    )
    min_confidence: float = option(0.3, "Confidence of visible landmarks.", minimum=0, maximum=1)
    max_movement: float = option(
        0.06, "How much passes with a reliable pose differ.", unit="sides of the region", above=0
    )
    patience: int = option(2, "How long a lost candidate is kept who is not certain.", unit="frames", minimum=0)
    lost_patience: int = option(
        30, "How long a person lost within the image is looked for on their way.", unit="frames", minimum=0
    )
    turns: int = option(8, "Orientations, over the full circle, in which lost people are looked for.", minimum=1)
    regained_views: int = option(3, "How many of them are looked at closely.", minimum=1)
    regained_presence: float = option(0.8, "`min_presence` of a person who was lost.", minimum=0, maximum=1)
    regained_movement: float = option(
        0.03, "`max_movement` of a person who was lost.", unit="sides of the region", above=0
    )
    regained_near: float = option(
        0.35, "Distance of such a person from the expected position.", unit="sides of the region", above=0
    )
    regained_size: float = option(1.6, "Ratio of their size and the expected one.", above=1)
    max_newcomers: int = option(4, "Proposals that are searched around in one frame.", minimum=0)
    look_every: int = option(
        6,
        "Frames between two looks of MultiPose for newcomers, in turn at the full image and at a part.",
        unit="frames",
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
    key_every: int = option(60, "Frames between two searches of the full image.", unit="frames", minimum=1)
    near: float = option(
        0.2, "Distance within which a proposal is of the same person.", unit="sides of the region", above=0
    )
    rejection: int = option(
        24, "How long a region where no person was found is not searched again.", unit="frames", minimum=0
    )
    tentative: float = option(
        -2.5,
        "From here on, above the threshold of single images, a candidate is followed until it is clear what it is.",
        unit="log-odds",
    )
    certain: float = option(
        1.5,
        "From here on, above that threshold, it is a person; between them it takes two searches, except in the first "
        "frame: so many frames are searched that something resembles a person in one.",
        unit="log-odds",
    )
    look_again_every: int = option(
        6, "Frames between two looks of MultiPose at a candidate that is not certain.", unit="frames", minimum=1
    )
    close_side: int = option(256, "Side of MultiPose's input for them.", unit="pixels", minimum=32)
    close_reach: float = option(1.6, "Width of these looks.", unit="sides of the region", above=0)
    clear_score: float = option(
        0.45,
        "MultiPose's score of a person; a clamp that resembles one has 0.28 to 0.35, a bystander 0.52 to 0.57.",
        minimum=0,
        maximum=1,
    )
    walked: float = option(
        0.5, "A candidate that moves this far while it looks like a person is one.", unit="sides of the region", above=0
    )
    ahead: int = option(
        3,
        "How early looks and searches of the full image begin: they take longer than a frame.",
        unit="frames",
        minimum=0,
    )


@dataclass(frozen=True)
class TrackOptions(Options):
    """How the people of neighbouring frames are compared."""

    keypoint_width: float = option(
        0.1,
        "Standard deviation of the movement of a keypoint from frame to frame.",
        unit="longer sides of the box",
        above=0,
    )
    min_confidence: float = option(0.3, "Confidence of keypoints that are compared.", minimum=0, maximum=1)
    min_keypoints: int = option(4, "Keypoints that are compared at least.", minimum=1)
    max_gap: int = option(10, "How long a track waits for its person.", unit="frames", minimum=0)


@dataclass(frozen=True)
class LinkOptions(Options):
    """How tracks are cut where people cross, and joined over gaps."""

    cover_share: float = option(
        0.4,
        "Share of the smaller box within another one, from which colours there may be the other person's.",
        minimum=0,
        maximum=1,
    )
    likely: float = option(
        0.8,
        "Median score from which an unconfirmed candidate counts as detection; a clamp has 0.6, a bystander 0.97.",
        minimum=0,
        maximum=1,
    )
    brief: int = option(
        15,
        "A shorter track, most of it within another's box, mixes two people who cross.",
        unit="frames",
        minimum=0,
    )
    clear_frames: int = option(
        40, "Frames nearest to an end of a track that give its colours.", unit="frames", minimum=1
    )
    lightness: float = option(0.7, "Weight of lightness in differences of colour.", minimum=0)
    usual_difference: float = option(
        14.0, "Difference of one person's colours (ΔE) at which another person is as likely.", above=0
    )
    difference_scale: float = option(3.0, "Difference of colours (ΔE) that is worth one of log-odds.", above=0)
    before: float = option(1.5, "That pieces which were one track are one person.", unit="log-odds")
    speed_frames: int = option(10, "Frames at an end of a track that give the speed there.", unit="frames", minimum=2)
    step: float = option(0.15, "How far a prediction misses at once.", unit="heights", above=0)
    wander: float = option(0.02, "How much more it misses with every frame.", unit="heights", minimum=0)
    horizon: float = option(4.0, "Frames that a prediction reaches at least.", unit="frames", minimum=0)
    longest_gap: int = option(300, "A person who was gone for longer is not recognised.", unit="frames", minimum=0)


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
