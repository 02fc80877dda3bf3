"""Fits as labels, for datasets that lack poses: of images by `hpc fit`, of 3-D joints by `fit_joints`.

Sources use only the public members of the two classes, so that callers may pass in others. Instances are pickled to the
processes that read a source; the fitter and its models load on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.conventions import SMPL24, skeleton_by_name
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.inputs import Frame, InputItem
from humanpose_cli.lab.cache.samples import Person

if TYPE_CHECKING:
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.fitting.joints import JointFit
    from humanpose_cli.fitting.options import FitOptions, PeopleChoice
    from humanpose_cli.fitting.result import Fit


@dataclass(frozen=True, eq=False)
class EstimatedImage:
    """The estimates of the people in one image.

    Attributes:
        people: The people, the largest first, with boxes and the estimator's other predictions.
        focal: Pixels. Focal length of the camera whose axes the people are in; None without people.
        principal_point: (2,) pixels; None for the centre.
        world_to_camera: (3, 4) for takes of several cameras, whose world is known; otherwise None.
    """

    people: Sequence[Person] = ()
    focal: float | None = None
    principal_point: tuple[float, float] | None = None
    world_to_camera: NDArray[Any] | None = None

    @classmethod
    def of_fit(cls, record: FitRecord, frame: int, name: str = "") -> EstimatedImage:
        """Take the estimates of one frame from a fit.

        Args:
            record: The fit.
            frame: Index of the frame.
            name: See `people_of_fit`.
        """
        x, y = record.principal_point[frame]
        world = record.world_to_camera[frame, :3] if record.options.of_take else None
        return cls(people_of_fit(record, frame, name), float(record.focal[frame]), (float(x), float(y)), world)

    def person(self, **facts: str) -> Person:
        """Return the first person with further names; without people, one without labels."""
        return replace(self.people[0] if self.people else Person(), **facts)  # type: ignore[arg-type]


def people_of_fit(record: FitRecord, frame: int, name: str = "") -> list[Person]:
    """List the people of a fit in one frame, the largest box first, without interpolated rows.

    The fit is stored twice: as the best labels, and as the start of a refinement.

    Args:
        record: The fit.
        frame: Index of the frame.
        name: Name of the image or sequence; with it, track numbers become identities.
    """
    rows = [int(row) for row in record.rows_for(frame) if not record.interpolated[row]]
    from humanpose_cli.fitting.evidence import joint_visibility

    visibility = joint_visibility(record)
    areas = np.prod(record.boxes[rows, 2:] - record.boxes[rows, :2], axis=1)
    people = []
    for row in (rows[i] for i in np.argsort(-areas, kind="stable")):
        confidence = record.joint_confidence[row][:, None]
        visible = visibility[row][:, None]
        person = Person(
            identity=f"{name}/{record.track_id[row]}" if name else "",
            gender=record.gender,
            body=record.body.partition("-")[0],
            box=record.boxes[row],
            poses=record.poses[row],
            betas=record.betas[row],
            trans=record.trans[row],
            segment_scales=record.segment_scales[row],
            keypoints={SMPL24.name: np.concatenate((record.joints2d[row], visible), 1)},
            joints={SMPL24.name: np.concatenate((record.joints3d[row], confidence), 1)},
            detected=record.keypoints2d[row],
        )
        people.append(replace(person, fit_poses=person.poses, fit_betas=person.betas, fit_trans=person.trans))
    return people


class FitEstimator:
    """Bodies of the people in a dataset's images, by `hpc fit`.

    Args:
        options: Options of the fit.
        device: Device of the networks: auto, cpu or cuda:N.
    """

    def __init__(self, options: FitOptions | None = None, device: str = "auto") -> None:
        from humanpose_cli.fitting.options import FitOptions

        self.options = options or FitOptions()
        self.device = device
        self._fitter: Fitter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "device": self.device, "_fitter": None}

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values, which a cache stores as the maker of its poses."""
        return {"name": "hpc fit", **self.options.identity({})}

    def estimate(
        self, images: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool
    ) -> Sequence[EstimatedImage]:
        """Estimate people, with one result per image in their order.

        Args:
            images: (H, W, 3) uint8 RGB, read one after the other: a long video is never completely in memory.
            sequence: True for frames of one shot, in which a person keeps one shape; False for single images.
            single_person: Only the person that the images are about.
        """
        people: PeopleChoice | None = "largest" if single_person else None
        if not sequence:
            fits = (self._loaded.fit_image(pixels, people=people) for pixels in images)
            return [EstimatedImage.of_fit(fit, 0) for fit in fits]
        frames = (Frame(i, f"{i:06d}", pixels) for i, pixels in enumerate(images))
        record = self._loaded.fit_sequence(frames, people=people)
        return [EstimatedImage.of_fit(record, frame) for frame in range(len(record.frame_names))]

    def estimate_take(self, views: Sequence[InputItem], names: Sequence[str], calibration: Path | None = None) -> Fit:
        """Fit the people that several cameras filmed at the same time.

        Args:
            views: The cameras' images or videos.
            names: Names of the views.
            calibration: File of their cameras; None to find the cameras from the people.

        Raises:
            HpcError: The errors of `check_take`, `TakeSolver` and `read_take_calibration`.
        """
        from humanpose_cli.lab.datasets.laboratory_calibrations import read_take_calibration
        from humanpose_cli.views.checks import check_take
        from humanpose_cli.views.solver import TakeSolver

        cameras = None if calibration is None else read_take_calibration(calibration)
        check_take(views, names, cameras)
        return TakeSolver(calibration=cameras)([self._loaded.fit(view, people="all") for view in views])

    @property
    def _loaded(self) -> Fitter:
        from humanpose_cli.fitting.fitter import Fitter

        if self._fitter is None:
            self._fitter = Fitter(self.options, device=self.device, threads=1)
        return self._fitter


class BodyJointFitter:
    """Body parameters of 3-D joints, by `fit_joints`.

    Args:
        body: "default" or "smpl:FILE".
    """

    def __init__(self, body: str = "default") -> None:
        self.body = body

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and body as plain JSON values, which a cache stores as the maker of its poses."""
        return {"name": "joint fit", "body": load_body(self.body).name}

    def fit(self, joints: NDArray[Any], skeleton: str) -> JointFit:
        """Fit the joints of one person.

        Args:
            joints: (T, J, 4) metres in camera axes, and confidence 0…1 (0: unknown).
            skeleton: Name of their skeleton.
        """
        from humanpose_cli.fitting.joints import fit_joints

        return fit_joints(load_body(self.body), joints, skeleton_by_name(skeleton))


@dataclass(frozen=True, eq=False)
class SourceTools:
    """Tools that a source may use in addition to its files; see `SourceEntry.needs`.

    Attributes:
        estimator: Estimates poses of images that lack them.
        joint_fitter: Fits bodies to 3-D joints.
        bodies: Gender ("neutral", "male", "female") → the model that the dataset's parameters belong to.
    """

    estimator: FitEstimator | None = None
    joint_fitter: BodyJointFitter | None = None
    bodies: Mapping[str, Body] = field(default_factory=dict)
