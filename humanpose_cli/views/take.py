"""A take: several cameras of the same people at the same time, combined from the fits of the single cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.views.bodies import PersonBodies, PersonEvidence, gather_person, moved_person, solve_person_in_views
from humanpose_cli.views.calibrated import CalibratedViews
from humanpose_cli.views.cameras import ViewCamera, resect_cameras
from humanpose_cli.views.epipolar import is_one_camera
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.people import (
    Clocks,
    RelatedViews,
    TakePeople,
    doubtful_views,
    identify_people,
    relate_by_calibration,
    relate_views,
)
from humanpose_cli.views.samples import MOMENTS, sample_person
from humanpose_cli.views.tracks import LANDMARKS, Array, ViewTrack, clock_times, tracks_of

_MAX_ZOOM = 0.03  # change of a focal length, as a share of it
_MAX_WALK = 0.1  # share of a camera's frames
_MIN_ANGLE = 12.0  # degrees between the directions of two cameras below which they add little depth
_MIN_GAIN = 0.02  # seconds of a clock in a take, that are reported
_MIN_LOSS = 0.15  # seconds after a view's last frame of a person that are reported
_MIN_INSIDE = 0.9  # share of the landmarks of a body inside an image


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
    offsets: Sequence[float] | None = None,
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
    heard = {view: value for view, value in enumerate(sound_offsets) if view and value is not None}
    expected = [heard.get(view, 0.0) for view in range(len(fits))]
    clocks = Clocks(expected if offsets is None else offsets, given=offsets is not None)
    lenses = [_lens(fit) for fit in fits] if calibrated is None else calibrated.views
    if calibrated is None:
        related = relate_views(views, clocks, lenses)
    else:
        related = relate_by_calibration(views, clocks, calibrated, names)
    _refuse_one_camera(views, related, lenses, names)
    messages = _messages(related, fits, names, still)
    if len(related.used) < 2:
        raise _too_few_views(related, names, messages, too_few_still=sum(still) < 2, fixed_clocks=offsets is not None)
    people, calibrated = identify_people(related, lenses, calibrated, names, clocks=offsets is None)
    fits = [fits[number] for number in related.used]
    names = [names[number] for number in related.used]
    by_sound = bool(heard) and all(related.offsets[view] == value for view, value in heard.items())
    if calibrated is not None:
        doubts = calibrated.size_doubts(people.cameras, people.samples)
    else:
        doubts = [] if by_sound else _doubts(people, [lenses[number] for number in related.used], names)
    times = clock_times(fits[0]) - related.offsets[related.used[0]]
    evidence = [person for tracks in people.tracks if (person := gather_person(tracks, times, len(fits))) is not None]
    rounds = options.refinements if calibrated is None else 0
    keypoint_options = keypoint_options or KeypointFitOptions()
    cameras, bodies = _bodies(body, evidence, fits, people.cameras, keypoint_options, rounds, progress)
    messages += (
        _parallel(cameras, bodies, names)
        + _drifts(cameras, times, names)
        + _losses(cameras, bodies, fits, times, names)
    )
    return Take(cameras, related.used, times, bodies, messages, doubts, calibrated)


def _too_few_views(
    related: RelatedViews, names: Sequence[str], messages: Sequence[str], *, too_few_still: bool, fixed_clocks: bool
) -> InputError:
    """Explain why fewer than two views are used."""
    has_reason = too_few_still or bool(related.mirror_images)
    problem = "leave fewer than two views: " + "; ".join(messages) if has_reason else "share no person"
    remedy = "check `offsets`" if fixed_clocks else "film the same people at the same time from stands"
    remedy += "; hpc fit reads each video alone"
    return InputError(", ".join(names), problem, expected="two views of one person", remedy=remedy)


def _refuse_one_camera(
    views: Sequence[Sequence[ViewTrack]], related: RelatedViews, lenses: Sequence[ViewCamera], names: Sequence[str]
) -> None:
    """Raise InputError if two views are of one camera: cropped, mirrored, reversed or encoded again."""
    on_clock = [[track.moved(offset) for track in view] for view, offset in zip(views, related.offsets, strict=True)]
    for first, second in combinations(range(len(views)), 2):
        if any(is_one_camera(a, b, lenses[second]) for a, b in product(on_clock[first], on_clock[second])):
            expected, remedy = "videos of cameras at different places", "hpc fit reads one video"
            raise InputError(
                f"{names[first]}, {names[second]}", "stand at one position", expected=expected, remedy=remedy
            )


def _doubts(people: TakePeople, lenses: Sequence[ViewCamera], names: Sequence[str]) -> list[str]:
    """Write sentences about the views in which landmarks do not meet those of other views better than by chance."""
    doubtful = doubtful_views(people.tracks, people.cameras, lenses)
    if len(doubtful) > len(names) - 2:
        if any(doubtful.values()):
            return ["the views may show different people"]
        return ["too little is seen to tell whether the views show the same people"]
    return [
        f"{names[view]} may show other people than the other views"
        if contradicts
        else f"too little is seen to tell whether {names[view]} shows the people of the other views"
        for view, contradicts in doubtful.items()
    ]


def _is_cut(fit: Fit) -> bool:
    """Return whether the frames are of several shots. A pushed camera looks like a cut."""
    return bool(np.ptp(fit.shot_id))


def _moves(fit: Fit, max_turn: float) -> bool:
    """Return whether a camera turns by more than `max_turn` degrees after its first frame, zooms or walks."""
    rotations = fit.world_to_camera[:, :3, :3]
    cosines = (np.einsum("fij,ij->f", rotations, rotations[0]).astype(np.float64) - 1) / 2
    turn = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    zoom = float(np.ptp(fit.focal) / fit.focal[0])
    unsolved = len(fit.options.camera_walks or ()) / fit.frame_count
    return turn > max_turn or zoom > _MAX_ZOOM or unsolved > _MAX_WALK or fit.options.camera_paths is not None


def _lens(fit: Fit) -> ViewCamera:
    """Make a camera with a fit's focal length in the axes of its own images."""
    camera = fit.camera(0)
    is_fixed = bool(fit.options.focal)
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
    several = [person for person in people if len(person.evidence.views) > 1]
    points, samples = [], []
    for person in several:
        times = person.evidence.times[person.evidence.visible.sum(0) >= 2]
        samples.append(sample_person(person.evidence.tracks, len(cameras), MOMENTS, times))
        rows = np.searchsorted(person.evidence.times, samples[-1].times)
        points.append(person.landmarks[rows][:, list(LANDMARKS)])
    return resect_cameras(cameras, points, samples)


def _parallel(cameras: Sequence[ViewCamera], people: Sequence[PersonBodies], names: Sequence[str]) -> list[str]:
    """Write a sentence for each camera that films from the same direction as another one."""
    messages = []
    middles = [person.landmarks.mean((0, 1)) for person in people if len(person.evidence.views) > 1]
    if not middles:
        return []
    centre_of_people = np.mean(middles, axis=0)
    rays = np.stack([camera.centre - centre_of_people for camera in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # Rays of cameras that face each other are parallel, too.
    angles = np.degrees(np.arccos(np.clip(np.abs(rays @ rays.T), 0, 1)))
    for second in range(1, len(cameras)):
        angle, first = min((angles[second, number], number) for number in range(second))
        if angle < _MIN_ANGLE:
            line = f"look along one line to {angle:.0f}°: they show little depth"
            messages.append(f"{names[second]} and {names[first]} {line}")
    return messages


def _drifts(cameras: Sequence[ViewCamera], times: Array, names: Sequence[str]) -> list[str]:
    """Write a sentence for each clock that gains or loses against the first one's."""
    return [
        f"the clock of {name} {'gains' if camera.drift > 0 else 'loses'} {1000 * abs(camera.drift):.2f} ms a second"
        for camera, name in zip(cameras, names, strict=True)
        if abs(camera.drift) * float(times[-1] - times[0]) > _MIN_GAIN
    ]


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
            end = min(times[-1], cameras[view].on_clock(clock_times(fits[view]))[-1])
            # Behind the last frame of all views, the body does not move.
            rows = slice(min(last + 1, len(evidence.times) - 1), None)
            pixels = cameras[view].project(person.landmarks[rows])
            inside = ((pixels >= 0) & (pixels <= cameras[view].size)).all(-1).mean()
            if end - evidence.times[last] > _MIN_LOSS and inside > _MIN_INSIDE:
                time = evidence.times[last]
                messages.append(f"{names[view]} loses person {number} at {time:.2f} s, still in its image")
    return messages
