"""Makes fit records from detections and bodies, and summarises them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.doubt import doubts_of_tracks, losses_in_view
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import COLUMNS, HAND_COLUMNS, FitRecord, UnfittedDetection
from humanpose_cli.io.fit_options import StoredOptions


def detector_keypoints(person: DetectedPerson) -> np.ndarray:
    """Return keypoints (33, 3), x, y, confidence, in the order of blazepose33. Missing landmarks are zero."""
    if person.skeleton is BLAZEPOSE33:
        return person.keypoints
    rows = np.zeros((len(BLAZEPOSE33), 3))
    for row, name in enumerate(person.skeleton.joint_names):
        if name in BLAZEPOSE33:
            rows[BLAZEPOSE33.index(name)] = person.keypoints[row]
    return rows


def fit_record(
    people: Sequence[DetectedPerson],
    bodies: KeypointFit | None,
    frames: Sequence[FrameCamera],
    *,
    model: Body,
    options: StoredOptions,
    frame_rate: float,
    frame_times: Sequence[float] | None,
) -> Fit:
    """Make the fit of N rows in F frames.

    Args:
        people: N rows.
        bodies: The bodies of these rows, in the same order. None if N = 0.
        frames: The cameras of the F frames.
        model: The body that was fitted.
        options: The options that are stored in the fit.
        frame_rate: Frames per second. 0 if unknown.
        frame_times: Seconds. The times of the frames. None if they follow from the frame rate.
    """
    if bodies is None:
        fit = Fit.empty([f.name for f in frames], [f.camera.size for f in frames], [f.camera.focal for f in frames])
    else:
        fit = _with_rows(people, bodies, frames)
    return replace(
        fit,
        # The body by its name: the path of its file differs between machines, and outputs must not.
        body=model.name,
        gender=model.name.removeprefix("smpl-") if model.name.startswith("smpl-") else "neutral",
        model=model,
        options=options,
        frame_rate=frame_rate,
        frame_times=None if frame_times is None else np.asarray(frame_times, np.float64),
    )


def _with_rows(people: Sequence[DetectedPerson], bodies: KeypointFit, frames: Sequence[FrameCamera]) -> Fit:
    count = len(people)
    # A person without usable keypoints has no error, and a confidence of zero.
    columns = {**bodies.columns, "reprojection_error": np.nan_to_num(bodies.reprojection_error)}
    if any(f.ground is not None for f in frames):
        columns["ground"] = [f.ground or (0.0, 0.0, 0.0, 0.0) for f in frames]
        columns["focal_people"] = [0] * len(frames)
    return Fit.build(
        track_id=[p.track for p in people],
        frame_index=[p.frame for p in people],
        interpolated=np.array([p.interpolated for p in people], bool),
        keypoints2d=np.reshape([detector_keypoints(p) for p in people], (count, len(BLAZEPOSE33), 3)),
        boxes=np.reshape([p.box for p in people], (count, 4)),
        frame_names=[f.name for f in frames],
        shot_id=[f.shot for f in frames],
        image_size=np.reshape([f.camera.size for f in frames], (len(frames), 2)),
        focal=[f.camera.focal for f in frames],
        principal_point=np.reshape([f.camera.principal_point for f in frames], (len(frames), 2)),
        world_to_camera=np.stack([f.world_to_camera for f in frames]),
        **columns,
    )


def doubts_of_keypoints(people: Sequence[DetectedPerson]) -> dict[str, Any]:
    """Describe what the landmark model sees at the user's keypoints of a sequence, as options of its fit.

    Of our own keypoints as a user's, it exchanges the sides in 3 % of the rows, of exchanged ones in 97 %. Nobody is at
    them in 0 %, but in a third or more of the rows of most mirrored, transposed and reversed clips.
    """
    shown = [person for person in people if not person.interpolated]
    counts, absent = (Counter(p.track for p in rows) for rows in (shown, [p for p in shown if p.absent]))
    nobody = sorted(track for track, count in absent.items() if 3 * count >= counts[track])
    is_exchanged = 2 * sum(person.exchanged for person in shown) > len(shown)
    results = {"nobody": nobody, "doubts": ["left and right may be exchanged"] * is_exchanged}
    return {name: values for name, values in results.items() if values}


def unfitted_detection(person: DetectedPerson) -> UnfittedDetection:
    """Describe a person without a body, rounded to hundredths."""
    x0, y0, x1, y1 = (round(float(value), 2) for value in person.box)
    return UnfittedDetection(person.frame, (x0, y0, x1, y1), round(person.score, 2), person.not_fitted)


def body_columns(
    fit: FitRecord, body: Body, rotations: Tensor, betas: Tensor, trans: Tensor, scales: Tensor
) -> tuple[dict[str, Any], np.ndarray]:
    """Compute the columns of other bodies in the rows of a fit, and the distance of their landmarks from the keypoints.

    Args:
        fit: The fit.
        body: The body model.
        rotations: (N, 24, 3, 3). Rotations relative to the parents.
        betas: (N, S). The shapes.
        trans: (N, 3) metres.
        scales: (N, 24). Factors on the segments' sizes.

    Returns:
        The columns by name, and (N, 33) pixels.
    """
    with torch.no_grad():
        posed_body = body.pose(rotations.float(), betas, trans, scales, vertices=False)
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed_body, betas).numpy()
    cameras = Camera(fit.focal[fit.frame_index], fit.principal_point[fit.frame_index])
    joints = posed_body.joints.numpy()
    columns = {
        "poses": matrix_to_axis_angle(rotations).flatten(1).float().numpy(),
        "betas": betas.numpy(),
        "trans": trans.numpy(),
        "segment_scales": scales.numpy(),
        "joints3d": joints,
        "joints2d": cameras.project(joints).astype(np.float32),
    }
    return columns, np.linalg.norm(cameras.project(landmarks) - fit.keypoints2d[..., :2], axis=-1)


def confident(fit: Fit, minimum: float) -> Fit:
    """Leave out people whose confidence is below `minimum`. `options.left_out` is their number."""
    if not minimum:
        return fit
    tracks = [person.id for person in fit.people if person.confidence >= minimum]
    left_out = len(fit.tracks) - len(tracks)
    return replace(fit.select(np.isin(fit.track_id, tracks)), options=replace(fit.options, left_out=left_out))


def joined(fits: Sequence[Fit]) -> Fit:
    """Join fits of independent images to one fit, with a frame and a shot each. People are numbered consecutively."""
    columns: dict[str, list[np.ndarray]] = {name: [getattr(fit, name) for fit in fits] for name in COLUMNS}
    if any(fit.hand_poses is not None for fit in fits):  # images without people have none
        for name, (shape, _) in HAND_COLUMNS.items():
            empty = [np.zeros((len(fit), *map(int, shape[1:])), np.float32) for fit in fits]
            columns[name] = [fit.row_columns.get(name, zeros) for fit, zeros in zip(fits, empty, strict=True)]
    first, hands = 0, []
    for number, fit in enumerate(fits):
        hands += [{**hand, "person": hand["person"] + first} for hand in fit.options.hands_not_taken or ()]
        columns["track_id"][number] = fit.track_id + first
        columns["frame_index"][number] = fit.frame_index + number
        columns["shot_id"][number] = fit.shot_id + number
        first += len(fit.tracks)
    together: dict[str, Any] = {name: np.concatenate(arrays) for name, arrays in columns.items()}
    last = fits[-1]
    detections = [replace(detection, frame=number) for number, fit in enumerate(fits) for detection in fit.unfitted]
    options = replace(
        last.options,
        no_person=[number for number, fit in enumerate(fits) if fit.options.no_person] or None,
        hands_not_taken=hands or None,
        not_fitted=[detection.document() for detection in detections] or None,
    )
    if options.left_out is not None:
        options = replace(options, left_out=sum(fit.options.left_out or 0 for fit in fits))
    return Fit.build(**together, gender=last.gender, body=last.body, options=options)


def record_summary(record: FitRecord) -> dict[str, Any]:
    """Summarise a record for a line of a table. Medians are over rows that are not interpolated.

    Returns:
        `people` and `frames`, numbers. `error_px`, the median reprojection error, and `confidence`, the median
        confidence, or None. `doubtful`, such as "left leg hidden, guessed", with numbers if there are several people,
        "" if no fit is doubtful. And if they apply: `not_fitted`, such as "2 hidden by another person; person 1 last
        seen at 1.42 s, still in view". `hands_not_taken`, such as "left hand: hidden". `left_out`, the number of people
        below the minimum confidence. `views`, the number of cameras of a take. `accepted`, the mean share of the
        refinement that was accepted, with `overlap_before` and `overlap_after`.
    """
    tracks, is_detected = record.tracks, ~record.interpolated
    doubts = {track: doubt for track, doubt in doubts_of_tracks(record).items() if doubt}
    reasons = Counter(detection.reason for detection in record.unfitted)
    not_fitted = [f"{count} {reason}" for reason, count in reasons.items()]
    not_fitted += loss_sentences(record)
    sentences = [doubt if len(tracks) == 1 else f"person {track}: {doubt}" for track, doubt in doubts.items()]
    return {
        "people": len(tracks),
        "frames": record.frame_count,
        "error_px": float(np.median(record.reprojection_error[is_detected])) if is_detected.any() else None,
        "confidence": float(np.median(record.confidence[is_detected])) if is_detected.any() else None,
        "doubtful": "; ".join(sentences),
        **({"not_fitted": "; ".join(not_fitted)} if not_fitted else {}),
        **({"hands_not_taken": "; ".join(hands)} if (hands := _hands_not_taken(record)) else {}),
        **({"left_out": left_out} if (left_out := record.options.left_out) is not None else {}),
        **_step_summary(record),
    }


def _hands_not_taken(record: FitRecord) -> list[str]:
    """Name the hands that are relaxed in most frames, and the most frequent reason, such as "left hand: hidden"."""
    reasons: dict[tuple[int, str], Counter[str]] = {}
    for entry in record.options.hands_not_taken or ():
        reasons.setdefault((entry["person"], entry["side"]), Counter())[entry["reason"]] += entry["frames"]
    several = len(record.tracks) > 1
    return [
        f"{f'person {track}, ' if several else ''}{side} hand: {counts.most_common(1)[0][0]}"
        for (track, side), counts in reasons.items()
        if 2 * counts.total() > (record.track_id == track).sum() > 0
    ]


def loss_sentences(record: FitRecord) -> list[str]:
    """Name the people who are lost in view, such as "person 1 last seen at 1.42 s, still in view"."""
    losses = losses_in_view(record).items()
    return [f"person {track} last seen at {seconds:.2f} s, still in view" for track, seconds in losses]


def _step_summary(record: FitRecord) -> dict[str, Any]:
    """Summarise the changes that steps have made."""
    summary: dict[str, Any] = {"views": len(record.cameras)} if len(record.cameras) > 1 else {}
    if record.options.refinement is not None:
        tracks = record.options.refinement["tracks"].values()
        for name in ("accepted", "overlap_before", "overlap_after"):
            values = [value for track in tracks for value in track[name] if value is not None]
            summary[name] = float(np.mean(values)) if values else None
    return summary
