"""Who is who in several cameras, and roughly how the cameras stand to each other.

A pair of tracks that may be one person proposes how two cameras stand: the rotation between their joints about the
pelvis, and the translation between their pelvises. The proposal under which the most people of the two cameras agree in
pose, position and the colours of their clothes wins; if others come near it, the one under which landmarks meet best in
points. Cameras are joined along the best proposals; who is matched in one pair of cameras is the same person in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.cameras import ViewCamera, adjust_cameras
from humanpose_cli.views.joining import (
    clothes_factor,
    depth_share,
    explained_seconds,
    join_tracks,
    simultaneous,
    sorted_people,
)
from humanpose_cli.views.relative import (
    Agreement,
    agreement,
    best_rotation,
    clock_evidence,
    likely_clocks,
    shared_times,
)
from humanpose_cli.views.samples import sample_people, sample_person
from humanpose_cli.views.tracks import Array, ViewTrack, about_pelvis

MAX_DISAGREEMENT = 0.16
"""Metres between the joints of two views about the pelvis, on average, beyond which they show two people."""
_SOUND_SCORE = 0.7  # agreement of the movements at the sound's shift, in the best one, that confirms it
_PELVIS = SMPL24.index("pelvis")
_LATERAL, _ROUGHLY = 0.6, 3.0  # metres beside the expected position; times as much for a first match
_VAGUE = 1.5  # times the largest disagreement: such a pair is one person if its landmarks meet in points
_RIVALS, _RIVAL = 3, 0.15  # proposals that are tried, at most, and the least share of the largest score
_FAINT = 0.1  # of the largest disagreement, by which a pair agrees at least
_DIRECT = 1e-6  # seconds of overlap with which a single moment counts


class PairPose(NamedTuple):
    """How the second of two cameras may stand to the first, and who is who then.

    rotation (3, 3), translation (3,) metres: axes of the first camera to those of the second

    Attributes:
        offset: Seconds that the second clock is ahead.
        pairs: (track of the first, track of the second, distance in metres), one a person.
        score: How much agrees: larger is better.
        vague: Whether the pair agrees so little that only their landmarks can show that it is one person.
    """

    rotation: Array
    translation: Array
    offset: float
    pairs: list[tuple[int, int, float]]
    score: float
    vague: bool = False


@dataclass(frozen=True, eq=False)
class RelatedViews:
    """How V views hang together.

    Attributes:
        poses: (rotation, translation) of each, axes of the first usable view to its own; None for one that shares
            no person.
        offsets: (V,) seconds that each clock is ahead of the first one's.
        people: Tracks of each person, by view.
        mirror_images: Views that show a mirror image of what others show.
    """

    poses: list[tuple[Array, Array] | None]
    offsets: list[float]
    people: list[list[ViewTrack]]
    mirror_images: list[int]


def relate_views(
    views: Sequence[Sequence[ViewTrack]],
    offsets: Sequence[float | None] | None = None,
    lenses: Sequence[ViewCamera] = (),
) -> RelatedViews:
    """Find poses, clocks and people of the views.

    Args:
        views: Tracks of each, on its own clock.
        offsets: Seconds that each clock is ahead of the first one's, where they are given.
        lenses: A camera of each, whose pose does not matter; without them rival proposals are not tried on
            landmarks.
    """
    # Movements speak for several sets of clocks; under the right one, people also agree in pose and position.
    pairs = list(combinations(range(len(views)), 2))
    fixed_clocks = list(offsets) if offsets is not None else [None] * len(views)
    alternatives = [([0.0 if value is None else float(value) for value in fixed_clocks], 1.0)]
    if any(value is None for value in fixed_clocks) and any(len(track) > 1 for tracks in views for track in tracks):
        evidence = {(a, b): clock_evidence(views[a], views[b]) for a, b in pairs}
        alternatives = likely_clocks(evidence, fixed_clocks)
    results = [(clocks, speaks, _compare(views, clocks)) for clocks, speaks in alternatives]
    clocks, _, comparison = max(results, key=lambda result: result[1] * _count_people(result[2].proposals))
    proposals = {}
    for (a, b), rivals in comparison.proposals.items():
        pair = [lenses[a], lenses[b]] if lenses else []
        if best := _best_proposal(rivals, views[a], views[b], pair):
            proposals[a, b] = best
    # A mirror image would agree with the others in a pose that no camera has.
    mirror_images = _mirror_images(comparison.mirror, len(views))
    poses = _chain_poses(proposals, [bool(tracks) for tracks in views], mirror_images)
    # Who is matched in one pair of cameras is the same person in all.
    standing = {edge: one for edge, one in proposals.items() if all(poses[view] is not None for view in edge)}
    on_one_clock = [[track.moved(clocks[number]) for track in tracks] for number, tracks in enumerate(views)]
    tracks_of = [tracks if poses[number] is not None else [] for number, tracks in enumerate(on_one_clock)]
    return RelatedViews(poses, clocks, _unite(tracks_of, standing), mirror_images)


def _chain_poses(
    proposals: Mapping[tuple[int, int], PairPose], has_people: Sequence[bool], mirror_images: Sequence[int]
) -> list[tuple[Array, Array] | None]:
    """Chain the proposals to the poses of all views; None for those that none reaches.

    Prim's algorithm: again and again the best proposal between a camera that has a pose and one that has none yet.
    """
    poses: list[tuple[Array, Array] | None] = [None] * len(has_people)
    root = next((view for view, some in enumerate(has_people) if some and view not in mirror_images), 0)
    poses[root] = (np.eye(3), np.zeros(3))
    usable = {edge: one for edge, one in proposals.items() if not set(edge) & set(mirror_images)}
    while edges := [(a, b) for a, b in usable if (poses[a] is None) != (poses[b] is None)]:
        first, second = max(edges, key=lambda edge: usable[edge].score)
        old, new = (first, second) if poses[second] is None else (second, first)
        step = usable[first, second] if old == first else _reverse(usable[first, second])
        pose = poses[old]
        assert pose is not None
        poses[new] = (step.rotation @ pose[0], step.rotation @ pose[1] + step.translation)
    return poses


class _Comparison(NamedTuple):
    """Pairs of views under one set of clocks.

    Attributes:
        proposals: Of those that may show a person in common, the best first.
        mirror: Whether their people agree best as mirror images; without pairs whose people are not alike.
    """

    proposals: dict[tuple[int, int], list[PairPose]]
    mirror: dict[tuple[int, int], bool]


def _compare(views: Sequence[Sequence[ViewTrack]], clocks: Sequence[float]) -> _Comparison:
    comparison = _Comparison({}, {})
    for first, second in combinations(range(len(views)), 2):
        offset = clocks[second] - clocks[first]
        agreements = _agreements(views[first], views[second], offset)
        comparison.proposals[first, second] = _propose(views[first], views[second], agreements, offset)
        best = max(agreements.values(), key=lambda one: one.similarity, default=None)
        if best is not None and best.similarity > 0:
            comparison.mirror[first, second] = best.is_mirror
    return comparison


def _count_people(proposals: Mapping[tuple[int, int], list[PairPose]]) -> float:
    """Count the people in two views by how well they agree: one counts fully if no joint is apart."""
    best = [one for each in proposals.values() for one in each[:1] if not one.vague]
    return sum(1 - distance / MAX_DISAGREEMENT for one in best for _, _, distance in one.pairs)


def agreeing_offsets(views: Sequence[Sequence[ViewTrack]], heard: Sequence[float | None]) -> list[float | None] | None:
    """Select the offsets by sound that agree with the people's movements; None if none does.

    Args:
        heard: Seconds that each clock is ahead of the first one's; None where it is not known.
    """
    result: list[float | None] = []
    for number, offset in enumerate(heard):
        if number == 0 or offset is None:
            result.append(0.0 if number == 0 else None)
            continue
        evidence = {(0, 1): clock_evidence(views[0], views[number])}
        ((_, likely), _), *_ = likely_clocks(evidence, (0.0, None))
        by_motion, by_sound = (propose_pose(views[0], views[number], clock) for clock in (likely, offset))
        agrees = by_sound is not None and (by_motion is None or by_sound.score >= _SOUND_SCORE * by_motion.score)
        result.append(offset if agrees else None)
    return result if any(value is not None for value in result[1:]) else None


def _mirror_images(mirror: Mapping[tuple[int, int], bool], count: int) -> list[int]:
    """List the views that are mirror images of all others, though others are none of each other."""
    views = []
    for view in range(count):
        of_view = [is_mirror for edge, is_mirror in mirror.items() if view in edge]
        others = [is_mirror for edge, is_mirror in mirror.items() if view not in edge]
        # Of two views it may be either: the second is called reversed.
        if of_view and all(of_view) and (not all(others) if others else view == count - 1):
            views.append(view)
    return views


def _reverse(one: PairPose) -> PairPose:
    rotation = one.rotation.T
    pairs = [(b, a, distance) for a, b, distance in one.pairs]
    return one._replace(rotation=rotation, translation=-rotation @ one.translation, offset=-one.offset, pairs=pairs)


def propose_pose(first: Sequence[ViewTrack], second: Sequence[ViewTrack], offset: float) -> PairPose | None:
    """Propose how the second camera stands to the first, whose clock is `offset` seconds behind; None if no person is
    in both.
    """
    rivals = _propose(first, second, _agreements(first, second, offset), offset)
    return _best_proposal(rivals, first, second, ())


def _best_proposal(
    rivals: Sequence[PairPose],
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    lenses: Sequence[ViewCamera],
) -> PairPose | None:
    """Choose the best of some proposals, by landmarks if several come near the best one and the cameras are known."""
    rivals = [one for one in rivals if one.score >= _RIVAL * rivals[0].score][:_RIVALS]
    if len(lenses) == 2 and (len(rivals) > 1 or any(one.vague for one in rivals)):
        rivals = [_tried(one, first, second, lenses) for one in rivals]
        return max((one for one in rivals if one.pairs), key=lambda one: one.score, default=None)
    return next((one for one in rivals if not one.vague), None)


def _tried(
    proposal: PairPose,
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    lenses: Sequence[ViewCamera],
) -> PairPose:
    """Adjust two cameras that stand as proposed, and join the tracks whose landmarks then meet in points."""
    tracks = [[replace(t, view=0) for t in first], [replace(t, view=1).moved(proposal.offset) for t in second]]
    start = [
        replace(lenses[0], rotation=np.eye(3), translation=np.zeros(3), offset=0.0),
        replace(lenses[1], rotation=proposal.rotation, translation=proposal.translation, offset=0.0),
    ]
    samples = sample_people([[tracks[0][i], tracks[1][j]] for i, j, _ in proposal.pairs], 2)
    cameras = adjust_cameras(start, samples, clocks=False)
    pairs, score = [], 0.0
    for person in join_tracks([*tracks[0], *tracks[1]], cameras):
        for one, other in product(*([t for t in person if t.view == view] for view in (0, 1))):
            # The adjustment turns equal images of one direction until they show depth.
            share = _depth_share(one, other, proposal)
            seconds = explained_seconds([one, other], cameras) * share
            overlap = sample_person([one, other], 2, 1).seconds
            if seconds > 0:
                distance = MAX_DISAGREEMENT * (1 - min(seconds / overlap, 1))
                pairs.append((tracks[0].index(one), tracks[1].index(other), distance))
                score += MAX_DISAGREEMENT * seconds
    return PairPose(cameras[1].rotation, cameras[1].translation, proposal.offset, pairs, score)


def _depth_share(first: ViewTrack, second: ViewTrack, proposal: PairPose) -> float:
    """Measure how much of a person's depth two views show whose cameras stand as proposed."""
    a, b = (joints[:, _PELVIS] for joints in _moments(first, second))
    rays = [values / np.linalg.norm(values, axis=-1, keepdims=True) for values in (a @ proposal.rotation.T, b)]
    return float(np.median(depth_share(1 - np.square((rays[0] * rays[1]).sum(-1)))))


def _agreements(
    first: Sequence[ViewTrack], second: Sequence[ViewTrack], offset: float
) -> dict[tuple[int, int], Agreement]:
    """Compare all pairs of tracks that share enough time."""
    pairs = {(a, b): agreement(one, other, offset) for a, one in enumerate(first) for b, other in enumerate(second)}
    return {pair: one for pair, one in pairs.items() if one is not None}


def _propose(
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    agreements: Mapping[tuple[int, int], Agreement],
    offset: float,
) -> list[PairPose]:
    """Propose poses under which different tracks are one person, those first with most agreement."""
    agreements = {pair: one for pair, one in agreements.items() if not one.is_mirror}
    largest, proposals = MAX_DISAGREEMENT, dict[frozenset[tuple[int, int]], PairPose]()
    for (a, b), one in agreements.items():
        if one.distance > _VAGUE * largest:
            continue
        # If these two tracks are one person, this is how the cameras stand.
        poses = [_pose_of([(first[a], second[b])], offset)]
        # Others stand aside of where one person's pose expects them: its errors of rotation grow with the distance.
        if roughly := _match(first, second, agreements, poses[0], _ROUGHLY * _LATERAL):
            poses.append(_pose_of([(first[i], second[j]) for i, j, _ in roughly], offset))
        for rotation, translation, _ in poses:
            pairs = _match(first, second, agreements, (rotation, translation, offset))
            vague = not pairs
            pairs = pairs or [(a, b, largest)]
            # Long agreement of many people wins; of photographs, every one counts alike.
            score = sum(
                max(largest - d, _FAINT * largest) * max(agreements[i, j].overlap, _DIRECT) for i, j, d in pairs
            )
            members = frozenset((i, j) for i, j, _ in pairs)
            if members not in proposals or score > proposals[members].score:
                proposals[members] = PairPose(rotation, translation, offset, pairs, score, vague)
    return sorted(proposals.values(), key=lambda proposal: -proposal.score)


def _moments(first: ViewTrack, second: ViewTrack) -> tuple[Array, Array]:
    """Interpolate the joints (K, 24, 3) of two tracks at the times that both show."""
    if len(first) == 1 and len(second) == 1:
        return first.joints, second.joints
    times = shared_times(first, second)
    one, other = first.at(times), second.at(times)
    in_both = one.visible & other.visible
    return one.joints[in_both], other.joints[in_both]


def _pose_of(pairs: Sequence[tuple[ViewTrack, ViewTrack]], offset: float) -> tuple[Array, Array, float]:
    """Find rotation and translation to the second camera by people that both show; also return its clock's offset."""
    a, b = (
        np.concatenate(joints)
        for joints in zip(*(_moments(one, other.moved(offset)) for one, other in pairs), strict=True)
    )
    rotation = best_rotation(about_pelvis(a), about_pelvis(b))
    return rotation, np.asarray(np.median(b[:, _PELVIS] - a[:, _PELVIS] @ rotation.T, axis=0)), offset


def _match(
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    agreements: Mapping[tuple[int, int], Agreement],
    pose: tuple[Array, Array, float],
    lateral: float = _LATERAL,
) -> list[tuple[int, int, float]]:
    """Match the tracks that agree under one pose of the second camera, and measure how far apart they are.

    Args:
        lateral: Metres beside the expected position at which a person's distance counts twice.
    """
    rotation, translation, offset = pose
    cost = np.full((len(first), len(second)), np.inf)
    for i, j in agreements:
        a, b = _moments(first[i], second[j].moved(offset))
        posture = float(np.linalg.norm(about_pelvis(a) @ rotation.T - about_pelvis(b), axis=-1).mean())
        beside = _beside(a[:, _PELVIS] @ rotation.T + translation, b[:, _PELVIS])
        cost[i, j] = posture * (1 + (beside / lateral) ** 2) * clothes_factor(first[i], second[j])
    usable = np.where(cost <= MAX_DISAGREEMENT, cost, 1e3)
    rows, columns = linear_sum_assignment(usable)
    return [(int(i), int(j), float(cost[i, j])) for i, j in zip(rows, columns, strict=True) if usable[i, j] < 1e3]


def _beside(predictions: Array, positions: Array) -> float:
    """Measure metres between positions (K, 3) across the viewing rays: distances of single views are uncertain."""
    rays = positions / np.linalg.norm(positions, axis=-1, keepdims=True)
    along = (predictions * rays).sum(-1, keepdims=True) * rays
    return float(np.median(np.linalg.norm(predictions - along, axis=-1)))


def _unite(
    views: Sequence[Sequence[ViewTrack]], proposals: Mapping[tuple[int, int], PairPose]
) -> list[list[ViewTrack]]:
    """Join tracks that are one person, the most alike first; a person has one track at a time in each view."""
    group = {(view, index): {(view, index)} for view, tracks in enumerate(views) for index in range(len(tracks))}
    pairs = sorted(
        (distance, (first, i), (second, j))
        for (first, second), one in proposals.items()
        for i, j, distance in one.pairs
    )
    for _, a, b in pairs:
        together = group[a] | group[b]
        if group[a] is not group[b] and not simultaneous([views[view][index] for view, index in together]):
            for member in together:
                group[member] = together
    people = {id(members): [views[view][index] for view, index in sorted(members)] for members in group.values()}
    return sorted_people(people.values())
