"""A take: several cameras of the same people at the same time, put together from the fits of the single cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.views.bodies import (
    PersonBodies,
    PersonEvidence,
    gather_person,
    moved_person,
    solve_person_in_views,
)
from humanpose_cli.views.calibrated import CalibratedViews
from humanpose_cli.views.cameras import (
    ViewCamera,
    ViewSamples,
    adjust_cameras,
    in_axes_of_first,
    resect_cameras,
)
from humanpose_cli.views.joining import explained_seconds, join_tracks
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.people import RelatedViews, agreeing_offsets, relate_views
from humanpose_cli.views.samples import MIN_CONFIDENCE, MOMENTS, sample_people
from humanpose_cli.views.tracks import LANDMARKS, Array, ViewTrack, clock_times, tracks_of

_MAX_ZOOM = 0.03  # change of a focal length, as a share of it
_MAX_WALK = 0.1  # share of a camera's frames
_SMALL_SHIFT, _CLOCK_ROUNDS = 0.01, 5  # seconds of a clock's change; adjustments, at most
_JOINING_ROUNDS, _SAVED = 3, 1e-9  # joinings, at most; seconds of people that one must save
_MIN_ANGLE = 12.0  # degrees between the directions of two cameras below which they add little depth
_LOST = 0.15  # seconds after a view's last frame of a person, at least, that a message says
_IN_IMAGE = 0.9  # share of the landmarks of a body that is in an image
_MIN_BASELINE = 0.05  # distance between two cameras, as a share of that to the people


@dataclass(frozen=True, eq=False)
class Take:
    """What the cameras of a take have in common.

    Attributes:
        cameras: Of the views that are used, the first one's axes being the take's.
        used: Numbers of these views among the input's.
        times: (F,) seconds of the take's frames, those of the first camera.
        people: Bodies of each person.
        messages: Sentences about views that move, are left out, or add little.
        calibration: The calibrated cameras in the unit that the people show; None of cameras that are found.
    """

    cameras: list[ViewCamera]
    used: list[int]
    times: Array
    people: list[PersonBodies]
    messages: list[str] = field(default_factory=list)
    calibration: CalibratedViews | None = None


def solve_take(
    fits: Sequence[Fit],
    names: Sequence[str],
    body: Body,
    *,
    options: ViewsOptions | None = None,
    keypoint_options: KeypointFitOptions | None = None,
    calibrated: CalibratedViews | None = None,
    offsets: Sequence[float | None] | None = None,
    heard: Sequence[float | None] = (),
    progress: Progress = no_progress,
) -> Take:
    """Find the cameras and bodies of a take.

    Raises InputError if no two views show the same person, or if they contradict calibrated cameras.

    Args:
        fits: Of the single cameras.
        names: Of the cameras, for messages.
        calibrated: Their cameras; None: they are found.
        offsets: Seconds that each clock is ahead of the first one's; None where unknown.
        heard: The same by the cameras' sound, which holds unless the people's movements contradict it.
    """
    options = options or ViewsOptions()
    still = [not _is_cut(fit) and not _moves(fit, options.max_turn) for fit in fits]
    views = [tracks_of(fit, number, body) if still[number] else [] for number, fit in enumerate(fits)]
    fixed_offsets = offsets if offsets is not None else agreeing_offsets(views, heard)
    lenses = [_lens(fit) for fit in fits] if calibrated is None else calibrated.views
    related = relate_views(views, fixed_offsets, lenses)
    used = [number for number, pose in enumerate(related.poses) if pose is not None and views[number]]
    messages = _messages(related, fits, names, still)
    if len(used) < 2:
        raise _too_few(names, messages, explained=sum(still) < 2 or bool(related.mirror_images))
    cameras = _start_cameras(fits, related, used, calibrated)
    times = clock_times(fits[used[0]]) - cameras[0].offset
    people = [replace_views(tracks, used) for tracks in related.people if tracks]
    clocks = offsets is None
    if calibrated is not None:
        before = sample_people(_shared(people), len(used))
        calibrated = calibrated.in_unit_of_people(cameras, before)
        cameras = _start_cameras(fits, related, used, calibrated)
    cameras, people = _adjusted(cameras, people, fixed_poses=calibrated is not None, clocks=clocks)
    cameras, people = _rejoined(cameras, people, fixed_poses=calibrated is not None, clocks=clocks)
    if calibrated is not None:
        after = sample_people(_shared(people), len(used))
        calibrated.refuse_contradiction(names, used, cameras, before, after)
    _refuse_one_position(cameras, people, [names[number] for number in used])
    evidence = [one for tracks in people if (one := gather_person(tracks, times, len(used))) is not None]
    chosen = [fits[number] for number in used]
    cameras, bodies = _bodies(body, evidence, chosen, cameras, options, keypoint_options, calibrated is None, progress)
    messages += _parallel(cameras, bodies, [names[number] for number in used])
    messages += _losses(cameras, bodies, chosen, times, [names[number] for number in used])
    return Take(cameras, used, times, bodies, messages, calibrated)


def _refuse_one_position(
    cameras: Sequence[ViewCamera], people: Sequence[Sequence[ViewTrack]], names: Sequence[str]
) -> None:
    """Raise InputError if all cameras see the people from one position: they show no depth."""
    first = [track.joints.mean((0, 1)) for tracks in people for track in tracks if track.view == 0]
    distance = np.linalg.norm(np.median(first, axis=0)) if first else np.inf
    apart = max(float(np.linalg.norm(camera.centre - cameras[0].centre)) for camera in cameras)
    if apart < _MIN_BASELINE * distance:
        expected = f"a distance between them of {_MIN_BASELINE:.0%} of that to the people, or more"
        remedy = "film from several sides; hpc fit reads one video"
        raise InputError(", ".join(names), "stand at one position", expected=expected, remedy=remedy)


def _adjusted(
    cameras: list[ViewCamera], people: list[list[ViewTrack]], *, fixed_poses: bool, clocks: bool
) -> tuple[list[ViewCamera], list[list[ViewTrack]]]:
    """Adjust the cameras by bundle adjustment, and move the people to their clocks."""
    for _ in range(_CLOCK_ROUNDS):
        shared = _placing(_shared(people))
        moving = any(len(track) > 1 for tracks in shared for track in tracks)
        samples = sample_people(shared, len(cameras))
        solved = adjust_cameras(cameras, samples, fixed_poses=fixed_poses, clocks=clocks and moving)
        shifts = [after.offset - before.offset for after, before in zip(solved, cameras, strict=True)]
        people = [[track.moved(shifts[track.view]) for track in tracks] for tracks in people]
        cameras = solved
        # Within an adjustment landmarks move at constant speeds: only for small changes of a clock.
        if max(map(abs, shifts)) < _SMALL_SHIFT:
            break
    return cameras, people


def _rejoined(
    cameras: list[ViewCamera], people: list[list[ViewTrack]], *, fixed_poses: bool, clocks: bool
) -> tuple[list[ViewCamera], list[list[ViewTrack]]]:
    """Join the tracks again, by what the cameras explain, and adjust the cameras to who they are then."""
    for _ in range(_JOINING_ROUNDS):
        before = sum(explained_seconds(tracks, cameras) for tracks in people)
        again = join_tracks([track for tracks in people for track in tracks], cameras)
        if sum(explained_seconds(tracks, cameras) for tracks in again) <= before + _SAVED:
            break
        if not _shared(again):
            break
        cameras, people = _adjusted(cameras, again, fixed_poses=fixed_poses, clocks=clocks)
    return cameras, people


def _shared(people: Sequence[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Select the people that two views or more show."""
    return [tracks for tracks in people if len({track.view for track in tracks}) > 1]


def _is_cut(fit: Fit) -> bool:
    """Return whether the frames are of several shots: a push looks like a cut."""
    return bool(np.ptp(fit.shot_id))


def _moves(fit: Fit, max_turn: float) -> bool:
    """Return whether a camera turns by more than `max_turn` degrees from its first frame on, zooms or walks."""
    first, rotations = fit.world_to_camera[0, :3, :3], fit.world_to_camera[:, :3, :3]
    cosines = (np.einsum("fij,ij->f", rotations, first).astype(np.float64) - 1) / 2
    turned = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    zoomed = float(np.ptp(fit.focal) / fit.focal[0])
    unsolved = len(fit.options.get("camera_walks", ())) / fit.frame_count
    return turned > max_turn or zoomed > _MAX_ZOOM or unsolved > _MAX_WALK or "camera_paths" in fit.options


def _too_few(names: Sequence[str], messages: Sequence[str], *, explained: bool) -> InputError:
    """Make the error for fewer than two views; `explained`: for the reasons that the messages have."""
    problem = "leave fewer than two views: " + "; ".join(messages) if explained else "share no person"
    remedy = "film the same people at the same time from stands; hpc fit reads each video alone"
    return InputError(", ".join(names), problem, expected="two views of one person", remedy=remedy)


def _lens(fit: Fit) -> ViewCamera:
    """Make a camera of a fit's focal length in the axes of its own images."""
    camera = fit.camera(0)
    is_fixed = bool(fit.options.get("focal"))
    return ViewCamera(np.eye(3), np.zeros(3), camera.focal, camera.principal_point, camera.size, fixed_focal=is_fixed)


def _messages(related: RelatedViews, fits: Sequence[Fit], names: Sequence[str], still: Sequence[bool]) -> list[str]:
    messages = []
    for number, pose in enumerate(related.poses):
        if number in related.mirror_images:
            messages.append(f"{names[number]} is a mirror image of what the others show: it is left out")
        elif _is_cut(fits[number]):
            messages.append(f"{names[number]} has cuts, or its camera was pushed: it is left out")
        elif not still[number]:
            messages.append(f"{names[number]} is from a camera that moves: it is left out")
        elif not len(fits[number]):
            messages.append(f"{names[number]} shows no person: it is left out")
        elif pose is None:
            messages.append(f"{names[number]} shares no person with the other views: it is left out")
    return messages


def replace_views(tracks: Sequence[ViewTrack], used: Sequence[int]) -> list[ViewTrack]:
    """Count the tracks' views among those that are used."""
    return [replace(track, view=used.index(track.view)) for track in tracks if track.view in used]


def _start_cameras(
    fits: Sequence[Fit],
    related: RelatedViews,
    used: Sequence[int],
    calibrated: CalibratedViews | None,
) -> list[ViewCamera]:
    cameras = []
    for number in used:
        offset = related.offsets[number]
        if calibrated is not None:
            cameras.append(replace(calibrated.views[number], offset=offset))
            continue
        pose, fit = related.poses[number], fits[number]
        assert pose is not None
        cameras.append(replace(_lens(fit), rotation=pose[0], translation=pose[1], offset=offset))
    return in_axes_of_first(cameras)


def _placing(people: Sequence[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Choose the people who place the cameras: for each view those of its people that the most views show."""
    shown = [{track.view for track in tracks} for tracks in people]
    largest = {view: max(len(views) for views in shown if view in views) for view in set().union(*shown)}
    return [
        tracks
        for tracks, views in zip(people, shown, strict=True)
        if any(len(views) == largest[view] for view in views)
    ]


def _bodies(
    body: Body,
    evidence: Sequence[PersonEvidence],
    fits: Sequence[Fit],
    cameras: list[ViewCamera],
    options: ViewsOptions,
    keypoint_options: KeypointFitOptions | None,
    refined: bool,
    progress: Progress,
) -> tuple[list[ViewCamera], list[PersonBodies]]:
    """Solve the bodies of all people; cameras are refined with them, if they are not given."""
    fitting = keypoint_options or KeypointFitOptions()
    rounds = 1 + (options.refinements if refined else 0)
    people: list[PersonBodies | None] = [None] * len(evidence)
    for number in range(rounds):
        report = part_of(progress, number / rounds, (number + 1) / rounds)
        if number:
            cameras = _with_bodies(cameras, [one for one in people if one is not None])
        for index, one in enumerate(evidence):
            if len(one.views) < 2:
                view = one.best_view
                people[index] = moved_person(body, one, fits[view], cameras[view])
            else:
                people[index] = solve_person_in_views(body, one, fits, cameras, fitting, people[index], report)
    return cameras, [one for one in people if one is not None]


def _with_bodies(cameras: list[ViewCamera], people: Sequence[PersonBodies]) -> list[ViewCamera]:
    points, samples = [], []
    for person in people:
        evidence = person.evidence
        if len(evidence.views) < 2:
            continue
        several = np.flatnonzero(evidence.visible.sum(0) >= 2)
        rows = several[np.unique(np.linspace(0, len(several) - 1, MOMENTS).round().astype(int))]
        keypoints = evidence.keypoints[:, rows][:, :, list(LANDMARKS)]
        weights = np.where(keypoints[..., 2] >= MIN_CONFIDENCE, keypoints[..., 2], 0.0)
        heights = np.ones(len(cameras))
        for track in evidence.tracks:
            heights[track.view] = max(heights[track.view], track.height)
        points.append(person.landmarks[rows][:, list(LANDMARKS)])
        pixels, times = keypoints[..., :2], evidence.times[rows]
        samples.append(ViewSamples(times, pixels, weights, np.zeros_like(pixels), heights, 0.0))
    return resect_cameras(cameras, points, samples)


def _parallel(cameras: Sequence[ViewCamera], people: Sequence[PersonBodies], names: Sequence[str]) -> list[str]:
    """Write a sentence for each camera from whose direction another one looks, too."""
    messages = []
    middles = [person.landmarks.mean((0, 1)) for person in people if len(person.evidence.views) > 1]
    if not middles:
        return []
    middle = np.mean(middles, axis=0)
    rays = np.stack([camera.centre - middle for camera in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # Rays of cameras that face each other are parallel, too.
    angles = np.degrees(np.arccos(np.clip(np.abs(rays @ rays.T), 0, 1)))
    for later in range(1, len(cameras)):
        angle, other = min((angles[later, earlier], earlier) for earlier in range(later))
        if angle < _MIN_ANGLE:
            messages.append(
                f"{names[later]} and {names[other]} look along one line to {angle:.0f}°: they show little depth"
            )
    return messages


def _losses(
    cameras: Sequence[ViewCamera],
    people: Sequence[PersonBodies],
    fits: Sequence[Fit],
    times: Array,
    names: Sequence[str],
) -> list[str]:
    """Write a sentence for each person that a view loses although the body is in its image."""
    messages = []
    for number, person in enumerate(people):
        evidence = person.evidence
        for view in evidence.views if len(evidence.views) > 1 else ():
            last = int(np.flatnonzero(evidence.visible[view])[-1])
            end = min(times[-1], clock_times(fits[view])[-1] - cameras[view].offset)
            # Behind the last frame of all views, the body stays where it was.
            rows = slice(min(last + 1, len(evidence.times) - 1), None)
            pixels = cameras[view].project(person.landmarks[rows])
            inside = ((pixels >= 0) & (pixels <= cameras[view].size)).all(-1).mean()
            if end - evidence.times[last] > _LOST and inside > _IN_IMAGE:
                messages.append(
                    f"{names[view]} loses person {number} at {evidence.times[last]:.2f} s, still in its image"
                )
    return messages
