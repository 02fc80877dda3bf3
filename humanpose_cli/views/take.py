"""A take: several cameras of the same people at the same time, combined from the fits of the single cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.views.bodies import PersonBodies, PersonEvidence, gather_person, moved_person, solve_person_in_views
from humanpose_cli.views.calibrated import CalibratedViews
from humanpose_cli.views.cameras import ViewCamera, ViewSamples, adjust_cameras, in_axes_of_first, resect_cameras
from humanpose_cli.views.joining import explained_seconds, explained_share, join_tracks, sorted_people
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.people import RelatedViews, agreeing_offsets, lone_pairs, relate_views, strange_views
from humanpose_cli.views.samples import MIN_CONFIDENCE, MOMENTS, sample_people
from humanpose_cli.views.tracks import LANDMARKS, Array, ViewTrack, clock_times, tracks_of

_MAX_ZOOM = 0.03  # change of a focal length, as a share of it
_MAX_WALK = 0.1  # share of a camera's frames
_MIN_SHIFT = 0.01  # seconds of a clock's change below which it is adjusted
_CLOCK_ROUNDS = 5  # maximum number of adjustments
_JOINING_ROUNDS = 3  # maximum number of joinings
_MIN_SAVING = 1e-9  # seconds of people that joining must save
_MIN_SHARE = 0.75  # of a pair that is joined, to be explained; one real person has 0.82 or more
_MAX_LOSS = 0.05  # of the explained share of everyone else
_MIN_ANGLE = 12.0  # degrees between the directions of two cameras below which they add little depth
_MIN_LOSS = 0.15  # seconds after a view's last frame of a person that are reported
_MIN_INSIDE = 0.9  # share of the landmarks of a body inside an image
_MIN_BASELINE = 0.05  # distance between two cameras, as a share of the distance to the people


@dataclass(frozen=True, eq=False)
class Take:
    """The cameras and people of a take.

    Attributes:
        cameras: The cameras of the views that are used. The first one's axes are the take's.
        used: The numbers of these views in the input.
        times: (F,) seconds. The times of the take's frames, which are the first camera's.
        people: The bodies of each person.
        messages: Sentences about views that move, are left out, or add little.
        doubts: Why views may not belong together, unless the sound says that they do, or the calibration may be wrong.
        calibration: The calibrated cameras in the unit that the people show. None if cameras are estimated.
    """

    cameras: list[ViewCamera]
    used: list[int]
    times: Array
    people: list[PersonBodies]
    messages: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
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
    sound_offsets: Sequence[float | None] = (),
    progress: Progress = no_progress,
) -> Take:
    """Estimate the cameras and bodies of a take.

    Args:
        fits: The fits of the single cameras.
        names: The names of the cameras, for messages.
        body: The body.
        options: Options of the take.
        keypoint_options: Options of the keypoint fit.
        calibrated: The calibrated cameras. None: they are estimated.
        offsets: Seconds that each clock is ahead of the first one's. None: they are estimated.
        sound_offsets: The offsets by sound, which hold unless the people's movements contradict them.
        progress: Called with (done, total, unit).

    Raises:
        InputError: If no two views show the same person, or the views contradict calibrated cameras.
    """
    options = options or ViewsOptions()
    still = [not _is_cut(fit) and not _moves(fit, options.max_turn) for fit in fits]
    views = [tracks_of(fit, number, body) if still[number] else [] for number, fit in enumerate(fits)]
    fixed_offsets = offsets if offsets is not None else agreeing_offsets(views, sound_offsets)
    lenses = [_lens(fit) for fit in fits] if calibrated is None else calibrated.views
    related = relate_views(views, fixed_offsets, lenses)
    used = [number for number, pose in enumerate(related.poses) if pose is not None and views[number]]
    messages = _messages(related, fits, names, still)
    if len(used) < 2:
        has_reason = sum(still) < 2 or bool(related.mirror_images)
        problem = "leave fewer than two views: " + "; ".join(messages) if has_reason else "share no person"
        remedy = "check `offsets`" if offsets is not None else "film the same people at the same time from stands"
        remedy += "; hpc fit reads each video alone"
        raise InputError(", ".join(names), problem, expected="two views of one person", remedy=remedy)
    cameras = _start_cameras(related, used, lenses, calibrated=calibrated is not None)
    times = clock_times(fits[used[0]]) - cameras[0].offset
    # From now on views are numbered among those that are used.
    people = [
        [replace(track, view=used.index(track.view)) for track in tracks if track.view in used]
        for tracks in related.people
        if tracks
    ]
    clocks = offsets is None
    if calibrated is not None:
        before = sample_people(_shared(people), len(used))
        calibrated = calibrated.in_unit_of_people(cameras, before)
        cameras = _start_cameras(related, used, calibrated.views, calibrated=True)
    cameras, people = _adjusted(cameras, people, fixed_poses=calibrated is not None, clocks=clocks)
    cameras, people = _rejoined(cameras, people, fixed_poses=calibrated is not None, clocks=clocks)
    if calibrated is not None:
        after = sample_people(_shared(people), len(used))
        calibrated.refuse_contradiction(names, used, cameras, before, after)
    _refuse_one_position(cameras, people, [names[number] for number in used])
    by_sound = calibrated is None and offsets is None and fixed_offsets is not None
    strange = [] if by_sound else strange_views(people, cameras, calibrated=calibrated is not None)
    doubts = _doubts(strange, [names[number] for number in used], calibrated=calibrated is not None)
    evidence = [person for tracks in people if (person := gather_person(tracks, times, len(used))) is not None]
    fits = [fits[number] for number in used]
    refinements = options.refinements if calibrated is None else 0
    keypoint_options = keypoint_options or KeypointFitOptions()
    cameras, bodies = _bodies(body, evidence, fits, cameras, keypoint_options, refinements, progress)
    used_names = [names[number] for number in used]
    messages += _parallel(cameras, bodies, used_names) + _losses(cameras, bodies, fits, times, used_names)
    return Take(cameras, used, times, bodies, messages, doubts, calibrated)


def _refuse_one_position(
    cameras: Sequence[ViewCamera], people: Sequence[Sequence[ViewTrack]], names: Sequence[str]
) -> None:
    """Raise InputError if all cameras film from one position, because they show no depth."""
    first = [track.joints.mean((0, 1)) for tracks in people for track in tracks if track.view == 0]
    distance = np.linalg.norm(np.median(first, axis=0)) if first else np.inf
    baseline = max(float(np.linalg.norm(camera.centre - cameras[0].centre)) for camera in cameras)
    if baseline < _MIN_BASELINE * distance:
        expected = f"a distance between them of at least {_MIN_BASELINE:.0%} of the distance to the people"
        remedy = "film from several sides; hpc fit reads one video"
        raise InputError(", ".join(names), "stand at one position", expected=expected, remedy=remedy)


def _adjusted(
    cameras: list[ViewCamera],
    people: list[list[ViewTrack]],
    *,
    fixed_poses: bool,
    clocks: bool,
    everyone: bool = False,
) -> tuple[list[ViewCamera], list[list[ViewTrack]]]:
    """Adjust the cameras by bundle adjustment, and move the people to the cameras' clocks."""
    for _ in range(_CLOCK_ROUNDS):
        shared = _shared(people) if everyone else _placing(_shared(people))
        moving = any(len(track) > 1 for tracks in shared for track in tracks)
        samples = sample_people(shared, len(cameras))
        solved = adjust_cameras(cameras, samples, fixed_poses=fixed_poses, clocks=clocks and moving)
        shifts = [after.offset - before.offset for after, before in zip(solved, cameras, strict=True)]
        people = [[track.moved(shifts[track.view]) for track in tracks] for tracks in people]
        cameras = solved
        # Within an adjustment landmarks have constant speeds, which holds for small changes of a clock only.
        if max(map(abs, shifts)) < _MIN_SHIFT:
            break
    return cameras, people


def _rejoined(
    cameras: list[ViewCamera], people: list[list[ViewTrack]], *, fixed_poses: bool, clocks: bool
) -> tuple[list[ViewCamera], list[list[ViewTrack]]]:
    """Join the tracks again with the adjusted cameras, and adjust the cameras to the new people."""
    for _ in range(_JOINING_ROUNDS):
        explained = sum(explained_seconds(tracks, cameras) for tracks in people)
        joined = join_tracks([track for tracks in people for track in tracks], cameras)
        saving = sum(explained_seconds(tracks, cameras) for tracks in joined)
        if saving <= explained + _MIN_SAVING or not _shared(joined):
            break
        cameras, people = _adjusted(cameras, joined, fixed_poses=fixed_poses, clocks=clocks)
    return _with_lone_pairs(cameras, people, fixed_poses=fixed_poses, clocks=clocks)


def _with_lone_pairs(
    cameras: list[ViewCamera], people: list[list[ViewTrack]], *, fixed_poses: bool, clocks: bool
) -> tuple[list[ViewCamera], list[list[ViewTrack]]]:
    """Join pairs without a rival if cameras that are adjusted to everyone explain most of the pair, too.

    In cameras that are estimated from one person, landmarks of another person may not meet.
    """
    tried: set[frozenset[tuple[int, int]]] = set()
    while True:
        pairs = {frozenset((track.view, track.track) for track in tracks): tracks for tracks in lone_pairs(people)}
        key = next((key for key in pairs if key not in tried), None)
        if key is None:
            return cameras, people
        tried.add(key)
        joined = [tracks for tracks in people if tracks[0] not in pairs[key]] + [pairs[key]]
        solution = _adjusted(cameras, joined, fixed_poses=fixed_poses, clocks=clocks, everyone=True)
        losses = [
            explained_share(tracks, cameras) - explained_share(solved_tracks, solution[0])
            for tracks, solved_tracks in zip(joined[:-1], solution[1], strict=False)
        ]
        if explained_share(solution[1][-1], solution[0]) > _MIN_SHARE and max(losses, default=0) < _MAX_LOSS:
            cameras, people = solution[0], sorted_people(solution[1])


def _shared(people: Sequence[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Select the people that two or more views show."""
    return [tracks for tracks in people if len({track.view for track in tracks}) > 1]


def _doubts(strange: Sequence[int], names: Sequence[str], *, calibrated: bool) -> list[str]:
    """Write sentences about strange views: there, nobody's landmarks meet those of another view."""
    if strange and calibrated:
        named = "" if len(strange) == len(names) else f" of {', '.join(names[view] for view in strange)}"
        return [f"the calibration{named} may be wrong"]
    if len(strange) > len(names) - 2:
        return ["the views may show different people"]
    return [f"{names[view]} may show other people than the other views" for view in strange]


def _is_cut(fit: Fit) -> bool:
    """Return whether the frames are of several shots. A pushed camera looks like a cut."""
    return bool(np.ptp(fit.shot_id))


def _moves(fit: Fit, max_turn: float) -> bool:
    """Return whether a camera turns by more than `max_turn` degrees after its first frame, zooms or walks."""
    rotations = fit.world_to_camera[:, :3, :3]
    cosines = (np.einsum("fij,ij->f", rotations, rotations[0]).astype(np.float64) - 1) / 2
    turn = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    zoom = float(np.ptp(fit.focal) / fit.focal[0])
    unsolved = len(fit.options.get("camera_walks", ())) / fit.frame_count
    return turn > max_turn or zoom > _MAX_ZOOM or unsolved > _MAX_WALK or "camera_paths" in fit.options


def _lens(fit: Fit) -> ViewCamera:
    """Make a camera with a fit's focal length in the axes of its own images."""
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


def _start_cameras(
    related: RelatedViews, used: Sequence[int], lenses: Sequence[ViewCamera], *, calibrated: bool
) -> list[ViewCamera]:
    cameras = []
    for number in used:
        camera = replace(lenses[number], offset=related.offsets[number])
        if (pose := related.poses[number]) is not None and not calibrated:
            camera = replace(camera, rotation=pose[0], translation=pose[1])
        cameras.append(camera)
    return in_axes_of_first(cameras)


def _placing(people: Sequence[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Choose the people by whom cameras are estimated: for each view, the people visible in most views."""
    views_of_people = [{track.view for track in tracks} for tracks in people]
    all_views = set().union(*views_of_people)
    most = {view: max(len(views) for views in views_of_people if view in views) for view in all_views}
    return [
        tracks
        for tracks, views in zip(people, views_of_people, strict=True)
        if any(len(views) == most[view] for view in views)
    ]


def _bodies(
    body: Body,
    evidence: Sequence[PersonEvidence],
    fits: Sequence[Fit],
    cameras: list[ViewCamera],
    options: KeypointFitOptions,
    refinements: int,
    progress: Progress,
) -> tuple[list[ViewCamera], list[PersonBodies]]:
    """Solve the bodies of all people, and refine cameras and bodies some times."""
    people: list[PersonBodies] = []
    for number in range(1 + refinements):
        report = part_of(progress, number / (1 + refinements), (number + 1) / (1 + refinements))
        if number:
            cameras = _with_bodies(cameras, people)
        starts: Sequence[PersonBodies | None] = people or [None] * len(evidence)
        people = []
        for person, start in zip(evidence, starts, strict=True):
            if len(person.views) < 2:
                view = person.best_view
                people.append(moved_person(body, person, fits[view], cameras[view]))
            else:
                people.append(solve_person_in_views(body, person, fits, cameras, options, start, report))
    return cameras, people


def _with_bodies(cameras: list[ViewCamera], people: Sequence[PersonBodies]) -> list[ViewCamera]:
    points = []
    samples = []
    for person in people:
        evidence = person.evidence
        if len(evidence.views) < 2:
            continue
        rows = np.flatnonzero(evidence.visible.sum(0) >= 2)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, MOMENTS).round().astype(int))]
        keypoints = evidence.keypoints[:, rows][:, :, list(LANDMARKS)]
        weights = np.where(keypoints[..., 2] >= MIN_CONFIDENCE, keypoints[..., 2], 0.0)
        heights = np.ones(len(cameras))
        for track in evidence.tracks:
            heights[track.view] = max(heights[track.view], track.height)
        points.append(person.landmarks[rows][:, list(LANDMARKS)])
        pixels = keypoints[..., :2]
        samples.append(ViewSamples(evidence.times[rows], pixels, weights, np.zeros_like(pixels), heights, 0.0))
    return resect_cameras(cameras, points, samples)


def _parallel(cameras: Sequence[ViewCamera], people: Sequence[PersonBodies], names: Sequence[str]) -> list[str]:
    """Write a sentence for each camera that films from the same direction as another one."""
    messages = []
    middles = [person.landmarks.mean((0, 1)) for person in people if len(person.evidence.views) > 1]
    if not middles:
        return []
    middle = np.mean(middles, axis=0)
    rays = np.stack([camera.centre - middle for camera in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # Rays of cameras that face each other are parallel, too.
    angles = np.degrees(np.arccos(np.clip(np.abs(rays @ rays.T), 0, 1)))
    for second in range(1, len(cameras)):
        angle, first = min((angles[second, number], number) for number in range(second))
        if angle < _MIN_ANGLE:
            line = f"look along one line to {angle:.0f}°: they show little depth"
            messages.append(f"{names[second]} and {names[first]} {line}")
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
            # Behind the last frame of all views, the body does not move.
            rows = slice(min(last + 1, len(evidence.times) - 1), None)
            pixels = cameras[view].project(person.landmarks[rows])
            inside = ((pixels >= 0) & (pixels <= cameras[view].size)).all(-1).mean()
            if end - evidence.times[last] > _MIN_LOSS and inside > _MIN_INSIDE:
                time = evidence.times[last]
                messages.append(f"{names[view]} loses person {number} at {time:.2f} s, still in its image")
    return messages
