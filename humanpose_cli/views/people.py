"""Identifies people across cameras, and estimates the cameras' poses roughly.

A pair of tracks that may be one person proposes a pose of two cameras: the rotation between their joints about the
neck, and the translation between their necks. The proposal with which the most people of the two cameras agree in
pose, position and colours of clothes wins. If others come near it, the one wins with which landmarks meet best in
points. Cameras are chained along the best proposals. People who are matched in one pair of cameras are the same in all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from humanpose_cli.views.calibrated import CalibratedViews
from humanpose_cli.views.cameras import ViewCamera, ViewSamples, adjust_cameras, in_axes_of_first
from humanpose_cli.views.clocks import likely_clocks
from humanpose_cli.views.epipolar import evidence_of_views
from humanpose_cli.views.joining import (
    clothes_factor,
    depth_share,
    explained_seconds,
    explained_share,
    join_tracks,
    simultaneous,
    sorted_people,
)
from humanpose_cli.views.relative import Agreement, agreement, best_rotation, mean_distance, shared_joints
from humanpose_cli.views.samples import sample_people, sample_person
from humanpose_cli.views.tracks import NECK, Array, ViewTrack, about_neck

MAX_DISAGREEMENT = 0.16
"""Metres. If the joints of two views about the neck differ by more on average, they show two people."""
_LATERAL = 0.6  # metres from the expected position, across the viewing ray, at which a distance counts twice
_FIRST_LATERAL = 3.0  # times `_LATERAL`, for a first match
_VAGUE = 1.5  # times the maximum disagreement, up to which a pair is one person if its landmarks meet in points
_MAX_RIVALS = 3  # proposals that are compared by landmarks
_MIN_SCORE = 0.15  # of a rival, relative to the best one
_MIN_AGREEMENT = 0.1  # of a pair, relative to the maximum disagreement
_MIN_CORRELATION = 0.7  # of movements of one person: a real man's have 0.83 or more in two views, two walkers 0.56
_STILL_DISAGREEMENT = 0.05  # metres, `MAX_DISAGREEMENT` of people without common movements
# Evidence of a view up to which it shows people of other views. None of 34 pairs of strangers reaches it with the
# clocks that suit them best. Pairs of a man who balances have −1 and less, four views of a man at a desk −0.57 and
# less. Two views of one who sits still may be undecided.
_SURE = -0.4
# Explained share of a person whom photographs show, below which landmarks may meet by chance. 56 right pairs have 0.72
# or more. Of 106 pairs of unrelated photographs 12 reach it, 18 have an unexplained share as low as right ones.
_MIN_SHARE_OF_MOMENT = 0.69
_LOG = logging.getLogger(__name__)
_ONE_MOMENT = 1e-6  # seconds that a single moment counts
_MIN_SHIFT = 0.01  # seconds of a clock's change below which it is adjusted
_CLOCK_ROUNDS = 5  # maximum number of adjustments
_JOINING_ROUNDS = 3  # maximum number of joinings
_MIN_SAVING = 1e-9  # seconds of people that joining must save
_MIN_SHARE = 0.75  # of a match that is joined, to be explained; one real person has 0.82 or more
_BETTER = 1.05  # factor by which other clocks must explain more than equal ones
_MAX_LOSS = 0.05  # of the explained share of everyone else


_Tracks = TypeVar("_Tracks", bound=Sequence[ViewTrack])


class Clocks(NamedTuple):
    """What is known of the clocks of V views.

    Attributes:
        expected: (V,). Seconds that each clock is ahead of the first one's: given, by sound, or 0.
        given: Whether they are given. Else movements may show others.
    """

    expected: Sequence[float]
    given: bool = False

    def alternatives(self, views: Sequence[Sequence[ViewTrack]]) -> list[tuple[tuple[float, ...], float]]:
        """List sets of clocks with their evidence, the likeliest first."""
        return [(tuple(self.expected), 1.0)] if self.given else likely_clocks(views, self.expected)


class PairPose(NamedTuple):
    """A possible pose of the second of two cameras relative to the first, and the people who then are the same.

    Attributes:
        rotation: (3, 3). Axes of the first camera to axes of the second.
        translation: (3,) metres.
        offset: Seconds that the second clock is ahead.
        pairs: Track of the first, track of the second, and distance in metres, for each person.
        score: The amount of agreement.
        vague: Whether the agreement is so small that only landmarks can show that the pair is one person.
    """

    rotation: Array
    translation: Array
    offset: float
    pairs: list[tuple[int, int, float]]
    score: float
    vague: bool = False


@dataclass(frozen=True, eq=False)
class RelatedViews:
    """The rough relation of V views.

    Attributes:
        poses: (rotation, translation) from the first usable view's axes to each view's. None for a view
            without a person in common.
        used: The views with a pose and people.
        offsets: (V,) seconds that each clock is ahead of the first one's.
        people: The tracks of each person, by view.
        mirror_images: Views that show mirror images.
    """

    poses: list[tuple[Array, Array] | None]
    used: list[int]
    offsets: list[float]
    people: list[list[ViewTrack]]
    mirror_images: list[int]


def relate_views(
    views: Sequence[Sequence[ViewTrack]],
    clocks: Clocks,
    lenses: Sequence[ViewCamera] = (),
) -> RelatedViews:
    """Estimate poses, clocks and people of the views.

    Args:
        views: The tracks of each view, on its own clock.
        clocks: What is known of the clocks.
        lenses: A camera of each view. Poses do not matter. Without cameras, rival proposals are not compared by
            landmarks.
    """
    # Movements suggest several sets of clocks. With the right one, people also agree in pose and position.
    results = [(values, score, *_compare(views, values)) for values, score in clocks.alternatives(views)]
    offsets, _, rivals_of, mirrored = max(results, key=lambda result: result[1] * _count_people(result[2]))
    proposals = {}
    for (a, b), rivals in rivals_of.items():
        pair = [lenses[a], lenses[b]] if lenses else []
        if best := _best_proposal(rivals, views[a], views[b], pair):
            proposals[a, b] = best
    # A mirror image would agree with the others in a pose that no camera has.
    mirror_images = _mirror_images(mirrored, len(views))
    poses = _chain_poses(proposals, [bool(tracks) for tracks in views], mirror_images)
    # People who are matched in one pair of cameras are the same in all.
    usable = {edge: pose for edge, pose in proposals.items() if all(poses[view] is not None for view in edge)}
    tracks_on_clock = [
        [track.moved(clock) for track in tracks] if pose is not None else []
        for tracks, clock, pose in zip(views, offsets, poses, strict=True)
    ]
    used = [view for view, tracks in enumerate(tracks_on_clock) if tracks]
    return RelatedViews(poses, used, list(offsets), _unite(tracks_on_clock, usable), mirror_images)


def relate_by_calibration(
    views: Sequence[Sequence[ViewTrack]], clocks: Clocks, calibrated: CalibratedViews, names: Sequence[str]
) -> RelatedViews:
    """Find clocks and people of the views by their landmarks, which meet in calibrated cameras.

    Args:
        views: The tracks of each view, on its own clock.
        clocks: What is known of the clocks.
        calibrated: The calibrated cameras.
        names: The names of the views, for errors.

    Raises:
        InputError: If landmarks meet clearly better with the cameras in another order, or with one elsewhere.
    """
    cameras = calibrated.views[: len(views)]
    offsets, people, explained = _joined(views, clocks.expected, cameras)
    explained *= _BETTER  # most cameras start together, so that other clocks must explain clearly more
    for other_clocks, _ in clocks.alternatives(views):
        if (other := _joined(views, other_clocks, cameras)).explained > explained:
            offsets, people, explained = other
    used = sorted({track.view for tracks in _people_of_several_views(people) for track in tracks})
    seen = [number for number, tracks in enumerate(views) if tracks]
    if used != seen or doubtful_views(people, cameras, cameras):
        elsewhere = _related_elsewhere(views, offsets, calibrated, names)
        if elsewhere is not None and not used:  # from one direction, landmarks meet wherever people are
            return elsewhere
    poses = [(np.eye(3), np.zeros(3)) if number in used else None for number in range(len(views))]
    return RelatedViews(poses, used, offsets, [p for p in people if p[0].view in used], [])


class _Joined(NamedTuple):
    """People whose landmarks meet in calibrated cameras with some clocks, and the seconds that this explains."""

    clocks: list[float]
    people: list[list[ViewTrack]]
    explained: float


def _joined(views: Sequence[Sequence[ViewTrack]], clocks: Sequence[float], cameras: Sequence[ViewCamera]) -> _Joined:
    tracks = [track.moved(clock) for view, clock in zip(views, clocks, strict=True) for track in view]
    people = join_tracks(tracks, cameras)
    return _Joined(list(clocks), people, sum(explained_seconds(person, cameras) for person in people))


def _related_elsewhere(
    views: Sequence[Sequence[ViewTrack]], offsets: Sequence[float], calibrated: CalibratedViews, names: Sequence[str]
) -> RelatedViews | None:
    """Relate views without their calibrated poses, and check that these do not contradict the people that are found.

    Returns:
        The relation. None if landmarks may meet by chance.
    """
    related = relate_views(views, Clocks(offsets, given=True), calibrated.views)
    found = TakePeople.rough(related, calibrated.views, fixed_poses=False, clocks=False).adjusted()
    lenses = [calibrated.views[view] for view in related.used]
    if len(doubtful_views(found.tracks, found.cameras, lenses)) > len(found.cameras) - 2:
        return None
    in_metres = calibrated.in_unit_of_people(lenses, found.samples)
    cameras = [in_metres.views[view] for view in related.used]
    in_metres.refuse_contradiction(names, related.used, cameras, found.samples)
    return related


@dataclass(frozen=True, eq=False)
class TakePeople:
    """The cameras of V views, and who is who in them.

    Attributes:
        cameras: The cameras of the views, in the axes of the first one.
        tracks: The tracks of each person, on the clocks of the cameras.
        fixed_poses: Whether a calibration gives the poses of the cameras.
        clocks: Whether the clocks are estimated.
    """

    cameras: list[ViewCamera]
    tracks: list[list[ViewTrack]]
    fixed_poses: bool
    clocks: bool

    @classmethod
    def rough(
        cls, related: RelatedViews, lenses: Sequence[ViewCamera], *, fixed_poses: bool, clocks: bool
    ) -> TakePeople:
        """Make the cameras and people of the views that are used, which get consecutive numbers."""
        cameras = []
        for view in related.used:
            camera = replace(lenses[view], offset=related.offsets[view])
            if (pose := related.poses[view]) is not None and not fixed_poses:
                camera = replace(camera, rotation=pose[0], translation=pose[1])
            cameras.append(camera)
        tracks = [[replace(t, view=related.used.index(t.view)) for t in person] for person in related.people]
        return cls(in_axes_of_first(cameras), tracks, fixed_poses, clocks)

    @property
    def shared(self) -> list[list[ViewTrack]]:
        """The people that two or more views show."""
        return _people_of_several_views(self.tracks)

    @property
    def samples(self) -> list[ViewSamples]:
        """Moments of the people that two or more views show."""
        return sample_people(self.shared, len(self.cameras))

    def adjusted(self, *, by_everyone: bool = False) -> TakePeople:
        """Adjust the cameras by bundle adjustment, and move the people to the cameras' clocks."""
        cameras = self.cameras
        result = self
        for _ in range(_CLOCK_ROUNDS):
            shared = result.shared if by_everyone else people_that_place_cameras(result.shared)
            clocks = self.clocks and any(len(track) > 1 for tracks in shared for track in tracks)
            samples = sample_people(shared, len(cameras))
            solved = adjust_cameras(
                cameras, samples, fixed_poses=self.fixed_poses, clocks=clocks, expected=self.cameras
            )
            shifts = [(b.offset - a.offset, b.drift - a.drift) for a, b in zip(cameras, solved, strict=True)]
            tracks = [[track.moved(*shifts[track.view]) for track in person] for person in result.tracks]
            cameras = solved
            result = replace(self, cameras=cameras, tracks=tracks)
            # Within an adjustment landmarks have constant speeds, which holds for small changes of a clock only.
            end = max(float(track.times[-1]) for person in tracks for track in person)
            if max(abs(shift + gain * time) for shift, gain in shifts for time in (0.0, end)) < _MIN_SHIFT:
                break
        return result

    def rejoined(self) -> TakePeople:
        """Join the tracks again with the adjusted cameras, and adjust the cameras to the new people."""
        result = self
        for _ in range(_JOINING_ROUNDS):
            tracks = [track for person in result.tracks for track in person]
            joined = replace(result, tracks=join_tracks(tracks, result.cameras))
            if joined.explained_seconds <= result.explained_seconds + _MIN_SAVING or not joined.shared:
                break
            result = joined.adjusted()
        return result.with_unrivalled_matches()

    @property
    def explained_seconds(self) -> float:
        """The seconds of people in further views that the cameras explain."""
        return sum(explained_seconds(tracks, self.cameras) for tracks in self.tracks)

    def with_unrivalled_matches(self) -> TakePeople:
        """Join matches without a rival if cameras that are adjusted to everyone explain most of the match, too.

        In cameras that are estimated from one person, landmarks of another person may not meet.
        """
        result = self
        tried: set[frozenset[tuple[int, int]]] = set()
        while True:
            matches = {
                frozenset((track.view, track.track) for track in tracks): tracks
                for tracks in unrivalled_matches(result.tracks)
            }
            key = next((key for key in matches if key not in tried), None)
            if key is None:
                return result
            tried.add(key)
            others = [tracks for tracks in result.tracks if tracks[0] not in matches[key]]
            joined = replace(result, tracks=[*others, matches[key]]).adjusted(by_everyone=True)
            losses = [
                explained_share(tracks, result.cameras) - explained_share(joined_tracks, joined.cameras)
                for tracks, joined_tracks in zip(others, joined.tracks, strict=False)
            ]
            share = explained_share(joined.tracks[-1], joined.cameras)
            if share > _MIN_SHARE and max(losses, default=0) < _MAX_LOSS:
                result = replace(joined, tracks=sorted_people(joined.tracks))


def identify_people(
    related: RelatedViews,
    lenses: Sequence[ViewCamera],
    calibrated: CalibratedViews | None,
    names: Sequence[str],
    *,
    clocks: bool,
) -> tuple[TakePeople, CalibratedViews | None]:
    """Identify the people of the views that are used, by cameras that are adjusted to them.

    Args:
        related: The rough relation of the views.
        lenses: A camera of each view.
        calibrated: The calibrated cameras. None: they are estimated.
        names: The names of the views, for errors.
        clocks: Whether the clocks are estimated.

    Returns:
        Cameras and people, and the calibrated cameras in the unit that the people show.

    Raises:
        InputError: If the views contradict the calibrated cameras.
    """
    if calibrated is None:
        return TakePeople.rough(related, lenses, fixed_poses=False, clocks=clocks).adjusted().rejoined(), None
    start = TakePeople.rough(related, lenses, fixed_poses=True, clocks=clocks)
    calibrated = calibrated.in_unit_of_people(start.cameras, start.samples)
    people = TakePeople.rough(related, calibrated.views, fixed_poses=True, clocks=clocks).adjusted()
    calibrated.refuse_contradiction(names, related.used, people.cameras, people.samples)
    return people, calibrated


def people_that_place_cameras(people: Sequence[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Choose the people by whom cameras are estimated: for each view, the people visible in most views."""
    views_of_people = [{track.view for track in tracks} for tracks in people]
    all_views = set().union(*views_of_people)
    view_counts = {view: max(len(views) for views in views_of_people if view in views) for view in all_views}
    return [
        tracks
        for tracks, views in zip(people, views_of_people, strict=True)
        if any(len(views) == view_counts[view] for view in views)
    ]


def _chain_poses(
    proposals: Mapping[tuple[int, int], PairPose], has_people: Sequence[bool], mirror_images: Sequence[int]
) -> list[tuple[Array, Array] | None]:
    """Chain the proposals to the poses of the most views. None for views without a connection to these."""
    usable = {edge: pose for edge, pose in proposals.items() if not set(edge) & set(mirror_images)}
    roots = [view for view, value in enumerate(has_people) if value and view not in mirror_images]
    chains = [_chain_from(root, usable, len(has_people)) for root in roots or [0]]
    return max(chains, key=lambda poses: sum(pose is not None for pose in poses))


def _chain_from(
    root: int, proposals: Mapping[tuple[int, int], PairPose], count: int
) -> list[tuple[Array, Array] | None]:
    # Prim's algorithm: the best proposal between a camera with a pose and one without is applied next.
    poses: list[tuple[Array, Array] | None] = [None] * count
    poses[root] = (np.eye(3), np.zeros(3))
    while edges := [(a, b) for a, b in proposals if (poses[a] is None) != (poses[b] is None)]:
        first, second = max(edges, key=lambda edge: proposals[edge].score)
        old, new = (first, second) if poses[second] is None else (second, first)
        step = proposals[first, second] if old == first else _reverse(proposals[first, second])
        pose = poses[old]
        assert pose is not None
        poses[new] = (step.rotation @ pose[0], step.rotation @ pose[1] + step.translation)
    return poses


def _compare(
    views: Sequence[Sequence[ViewTrack]], clocks: Sequence[float]
) -> tuple[dict[tuple[int, int], list[PairPose]], dict[tuple[int, int], bool]]:
    """Propose poses between each pair of views, best first, and say whether one is a mirror image."""
    proposals = {}
    mirrored = {}
    for first, second in combinations(range(len(views)), 2):
        offset = clocks[second] - clocks[first]
        agreements = _agreements(views[first], views[second], offset)
        proposals[first, second] = _propose(views[first], views[second], agreements, offset)
        best = max(agreements.values(), key=lambda value: value.similarity, default=None)
        if best is not None and best.similarity > 0:
            mirrored[first, second] = best.is_mirror
    return proposals, mirrored


def _count_people(proposals: Mapping[tuple[int, int], list[PairPose]]) -> float:
    """Count the people in pairs of views, weighted by how well they agree."""
    best = [rivals[0] for rivals in proposals.values() if rivals and not rivals[0].vague]
    return sum(1 - distance / MAX_DISAGREEMENT for proposal in best for _, _, distance in proposal.pairs)


def _mirror_images(mirror: Mapping[tuple[int, int], bool], count: int) -> list[int]:
    """List the views that are mirror images of all others, although the others are not of each other."""
    views = []
    for view in range(count):
        with_view = [is_mirror for edge, is_mirror in mirror.items() if view in edge]
        without_view = [is_mirror for edge, is_mirror in mirror.items() if view not in edge]
        # If there are two views, it may be either. The second one is called reversed.
        if with_view and all(with_view) and (not all(without_view) if without_view else view == count - 1):
            views.append(view)
    return views


def doubtful_views(
    people: Sequence[Sequence[ViewTrack]], cameras: Sequence[ViewCamera], lenses: Sequence[ViewCamera]
) -> dict[int, bool]:
    """Find the views in which nobody's landmarks meet those of other views clearly better than by chance.

    Args:
        people: The tracks of each person, on the take's clock.
        cameras: The cameras of the views.
        lenses: Cameras whose focal lengths are not adjusted to these people, as that would favour them.

    Returns:
        The numbers of these views, and whether they contradict the others. False: too little is seen.
    """
    shared = _people_of_several_views(people)
    if all(len(track) == 1 for tracks in shared for track in tracks):
        certain = [tracks for tracks in shared if explained_share(tracks, cameras) >= _MIN_SHARE_OF_MOMENT]
        return dict.fromkeys(set(range(len(cameras))).difference(t.view for tracks in certain for t in tracks), True)
    evidence = evidence_of_views(shared, lenses)
    _LOG.debug("evidence of each view: %s", np.array2string(evidence, precision=2))
    return {view: bool(evidence[view] > -_SURE) for view in np.flatnonzero(~(evidence <= _SURE)).tolist()}


def _people_of_several_views(people: Sequence[_Tracks]) -> list[_Tracks]:
    return [tracks for tracks in people if len({track.view for track in tracks}) > 1]


def unrivalled_matches(people: Sequence[Sequence[ViewTrack]]) -> list[list[ViewTrack]]:
    """List the tracks of pairs of people who may be one person, as they are alike in clothes and movements or pose.

    Pairs with a rival are left out: another person who is alike, in a view that shows one of the two at the same time.
    All tracks are on the take's clock.
    """
    pairs = [frozenset(pair) for pair in combinations(range(len(people)), 2)]
    tracks_of = {pair: [track for number in sorted(pair) for track in people[number]] for pair in pairs}
    two_people = {pair for pair in pairs if simultaneous(tracks_of[pair])}
    matches = [p for p in pairs if p not in two_people and _are_alike(*(people[number] for number in sorted(p)))]
    return [tracks_of[pair] for pair in matches if not any(pair ^ rival in two_people for rival in matches)]


def _are_alike(first: Sequence[ViewTrack], second: Sequence[ViewTrack]) -> bool:
    """Return whether two people wear similar clothes and move alike, or stand still in one pose."""
    agreements = [value for a, b in product(first, second) if (value := agreement(a, b, 0.0)) is not None]
    limits = [
        MAX_DISAGREEMENT if value.correlation >= _MIN_CORRELATION else _STILL_DISAGREEMENT for value in agreements
    ]
    agrees = [value.distance <= limit and not value.is_mirror for value, limit in zip(agreements, limits, strict=True)]
    clothes = np.mean([clothes_factor(a, b) for a, b in product(first, second)])
    return bool(agrees and all(agrees) and clothes < 1)


def _reverse(pose: PairPose) -> PairPose:
    rotation = pose.rotation.T
    pairs = [(b, a, distance) for a, b, distance in pose.pairs]
    return pose._replace(rotation=rotation, translation=-rotation @ pose.translation, offset=-pose.offset, pairs=pairs)


def propose_pose(first: Sequence[ViewTrack], second: Sequence[ViewTrack], offset: float) -> PairPose | None:
    """Propose a pose of the second camera relative to the first, whose clock is `offset` seconds behind.

    Returns:
        The best proposal. None if no person is in both.
    """
    rivals = _propose(first, second, _agreements(first, second, offset), offset)
    return _best_proposal(rivals, first, second, ())


def _best_proposal(
    rivals: Sequence[PairPose], first: Sequence[ViewTrack], second: Sequence[ViewTrack], lenses: Sequence[ViewCamera]
) -> PairPose | None:
    """Choose the best proposal, by landmarks if several come near the best one and the cameras are known."""
    rivals = [rival for rival in rivals if rival.score >= _MIN_SCORE * rivals[0].score][:_MAX_RIVALS]
    if len(lenses) == 2 and (len(rivals) > 1 or any(rival.vague for rival in rivals)):
        rivals = [_adjusted(rival, first, second, lenses) for rival in rivals]
        return max((rival for rival in rivals if rival.pairs), key=lambda rival: rival.score, default=None)
    return next((rival for rival in rivals if not rival.vague), None)


def _adjusted(
    proposal: PairPose, first: Sequence[ViewTrack], second: Sequence[ViewTrack], lenses: Sequence[ViewCamera]
) -> PairPose:
    """Adjust two cameras with the proposed pose, and join the tracks whose landmarks then meet in points."""
    tracks = [[replace(t, view=0) for t in first], [replace(t, view=1).moved(proposal.offset) for t in second]]
    start = [
        replace(lenses[0], rotation=np.eye(3), translation=np.zeros(3), offset=0.0),
        replace(lenses[1], rotation=proposal.rotation, translation=proposal.translation, offset=0.0),
    ]
    samples = sample_people([[tracks[0][i], tracks[1][j]] for i, j, _ in proposal.pairs], 2)
    cameras = adjust_cameras(start, samples, clocks=False)
    pairs = []
    score = 0.0
    for person in join_tracks([*tracks[0], *tracks[1]], cameras):
        tracks_of_views = ([track for track in person if track.view == view] for view in (0, 1))
        for a, b in product(*tracks_of_views):
            # The adjustment turns equal images from one direction until they show depth.
            seconds = explained_seconds([a, b], cameras) * _depth_share(a, b, proposal)
            if seconds > 0:
                overlap = sample_person([a, b], 2, 1).seconds
                distance = MAX_DISAGREEMENT * (1 - min(seconds / overlap, 1))
                pairs.append((tracks[0].index(a), tracks[1].index(b), distance))
                score += MAX_DISAGREEMENT * seconds
    return PairPose(cameras[1].rotation, cameras[1].translation, proposal.offset, pairs, score)


def _depth_share(first: ViewTrack, second: ViewTrack, proposal: PairPose) -> float:
    """Measure how much of a person's depth two views with the proposed pose show."""
    a, b = (joints[:, NECK] for joints in shared_joints(first, second)[:2])
    rays = [values / np.linalg.norm(values, axis=-1, keepdims=True) for values in (a @ proposal.rotation.T, b)]
    return float(np.median(depth_share(1 - np.square((rays[0] * rays[1]).sum(-1)))))


def _agreements(
    first: Sequence[ViewTrack], second: Sequence[ViewTrack], offset: float
) -> dict[tuple[int, int], Agreement]:
    """Compare all pairs of tracks that share enough time."""
    pairs = product(range(len(first)), range(len(second)))
    agreements = {(a, b): agreement(first[a], second[b], offset) for a, b in pairs}
    return {pair: value for pair, value in agreements.items() if value is not None}


def _propose(
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    agreements: Mapping[tuple[int, int], Agreement],
    offset: float,
) -> list[PairPose]:
    """Propose poses with which different tracks are one person, those with most agreement first."""
    agreements = {pair: value for pair, value in agreements.items() if not value.is_mirror}
    proposals: dict[frozenset[tuple[int, int]], PairPose] = {}
    for a, b in agreements:
        if agreements[a, b].distance > _VAGUE * MAX_DISAGREEMENT:
            continue
        # The pose of the cameras if these two tracks are one person.
        poses = [_pose_of([(first[a], second[b])], offset)]
        # Distant people stand aside of the expected position, because errors of one person's rotation grow.
        if matches := _match(first, second, agreements, poses[0], _FIRST_LATERAL * _LATERAL):
            poses.append(_pose_of([(first[i], second[j]) for i, j, _ in matches], offset))
        for rotation, translation, _ in poses:
            pairs = _match(first, second, agreements, (rotation, translation, offset))
            vague = not pairs
            pairs = pairs or [(a, b, MAX_DISAGREEMENT)]
            # Long agreement of many people wins. All photographs count alike.
            score = sum(
                max(MAX_DISAGREEMENT - distance, _MIN_AGREEMENT * MAX_DISAGREEMENT)
                * max(agreements[i, j].overlap, _ONE_MOMENT)
                for i, j, distance in pairs
            )
            members = frozenset((i, j) for i, j, _ in pairs)
            if members not in proposals or score > proposals[members].score:
                proposals[members] = PairPose(rotation, translation, offset, pairs, score, vague)
    return sorted(proposals.values(), key=lambda proposal: -proposal.score)


def _pose_of(pairs: Sequence[tuple[ViewTrack, ViewTrack]], offset: float) -> tuple[Array, Array, float]:
    """Find rotation and translation to the second camera by people in both, and return them with its clock's offset."""
    moments = [shared_joints(track, match.moved(offset)) for track, match in pairs]
    a, b, weights = (np.concatenate(values) for values in zip(*moments, strict=True))
    rotation = best_rotation(about_neck(a), about_neck(b), weights)
    return rotation, np.asarray(np.median(b[:, NECK] - a[:, NECK] @ rotation.T, axis=0)), offset


def _match(
    first: Sequence[ViewTrack],
    second: Sequence[ViewTrack],
    agreements: Mapping[tuple[int, int], Agreement],
    pose: tuple[Array, Array, float],
    lateral: float = _LATERAL,
) -> list[tuple[int, int, float]]:
    """Match the tracks that agree with a pose of the second camera, and measure their distances."""
    rotation, translation, offset = pose
    cost = np.full((len(first), len(second)), np.inf)
    for i, j in agreements:
        a, b, weights = shared_joints(first[i], second[j].moved(offset))
        posture = mean_distance(about_neck(a) @ rotation.T, about_neck(b), weights)
        distance = _lateral_distance(a[:, NECK] @ rotation.T + translation, b[:, NECK])
        cost[i, j] = posture * (1 + (distance / lateral) ** 2) * clothes_factor(first[i], second[j])
    usable = np.where(cost <= MAX_DISAGREEMENT, cost, 1e3)
    rows, columns = linear_sum_assignment(usable)
    return [(int(i), int(j), float(cost[i, j])) for i, j in zip(rows, columns, strict=True) if usable[i, j] < 1e3]


def _lateral_distance(predictions: Array, positions: Array) -> float:
    """Measure metres between positions (K, 3) across the viewing rays, because single views' depths are uncertain."""
    rays = positions / np.linalg.norm(positions, axis=-1, keepdims=True)
    along = (predictions * rays).sum(-1, keepdims=True) * rays
    return float(np.median(np.linalg.norm(predictions - along, axis=-1)))


def _unite(
    views: Sequence[Sequence[ViewTrack]], proposals: Mapping[tuple[int, int], PairPose]
) -> list[list[ViewTrack]]:
    """Join tracks that are one person, the most similar first. A person has one track at a time in each view."""
    group = {(view, index): {(view, index)} for view, tracks in enumerate(views) for index in range(len(tracks))}
    pairs = sorted(
        (distance, (first, i), (second, j))
        for (first, second), proposal in proposals.items()
        for i, j, distance in proposal.pairs
    )
    for _, a, b in pairs:
        union = group[a] | group[b]
        if group[a] is not group[b] and not simultaneous([views[view][index] for view, index in union]):
            for member in union:
                group[member] = union
    people = {id(members): [views[view][index] for view, index in sorted(members)] for members in group.values()}
    return sorted_people(people.values())
