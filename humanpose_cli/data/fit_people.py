"""The people of a fit file as labelled people."""

from __future__ import annotations

import numpy as np

from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.samples import Person
from humanpose_cli.io.fit_files import FitRecord

__all__ = ["people_of_fit"]


def people_of_fit(record: FitRecord, frame: int, name: str = "") -> list[Person]:
    """Those seen in one frame (0 … F−1), the largest box first, without the rows that were only interpolated.

    The fit stands twice: as the best that is known, and as what refinement starts from.
    name  of the picture or sequence, which makes a track's number an identity
    """
    rows = [int(row) for row in record.rows_for(frame) if not record.interpolated[row]]
    areas = np.prod(record.boxes[rows, 2:] - record.boxes[rows, :2], axis=1)
    return [_person(record, rows[i], name) for i in np.argsort(-areas, kind="stable")]


def _person(record: FitRecord, row: int, name: str) -> Person:
    sure = record.joint_confidence[row][:, None]
    return Person(
        identity=f"{name}/{record.track_id[row]}" if name else "",
        gender=record.gender,
        body=record.body.partition("-")[0],
        box=record.boxes[row],
        poses=record.poses[row],
        betas=record.betas[row],
        trans=record.trans[row],
        segment_scales=record.segment_scales[row],
        keypoints={SMPL24.name: np.concatenate((record.joints2d[row], sure), 1)},
        joints={SMPL24.name: np.concatenate((record.joints3d[row], sure), 1)},
        fit_poses=record.poses[row],
        fit_betas=record.betas[row],
        fit_trans=record.trans[row],
        detected=record.keypoints2d[row],
    )
