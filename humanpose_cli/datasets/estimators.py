"""Our own fits as makers of labels: what data sets that lack poses are given by `hpc preprocess`.

Both are pickled to the processes that read a source; models load where they are first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.conventions import skeleton_by_name
from humanpose_cli.datasets.common import EstimatedImage, FittedBodies, people_of_fit
from humanpose_cli.fitting.fitter import FitOptions, Fitter
from humanpose_cli.fitting.joints import JointFitOptions, fit_joints
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.inputs import Frame

__all__ = ["BodyJointFitter", "FitEstimator"]


class FitEstimator:
    """`PoseEstimator` of the keypoint fit: `hpc fit` for the images of a data set."""

    def __init__(self, options: FitOptions | None = None) -> None:
        self.options = options or FitOptions()
        self._fitter: Fitter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "_fitter": None}

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values."""
        return {"name": "keypoint fit", **asdict(self.options)}

    def estimate(
        self, images: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool, focal: float | None = None
    ) -> Sequence[EstimatedImage]:
        """See `PoseEstimator.estimate`."""
        fitter = self._with(single_person, focal)
        if not sequence:
            records = [fitter.fit_image(pixels) for pixels in images]
            return [_estimated(record, 0) for record in records]
        record = fitter.fit_sequence(_frames(images))
        return [_estimated(record, frame) for frame in range(len(record.frame_names))]

    def _with(self, single_person: bool, focal: float | None) -> Fitter:
        """The one fitter, its models loaded once in this process, with an image's own wishes."""
        if self._fitter is None:
            self._fitter = Fitter(self.options, device="cpu", threads=1)
        people = "largest" if single_person else self.options.people
        self._fitter.options = replace(self.options, people=people, focal=focal or self.options.focal)
        return self._fitter


def _frames(images: Iterable[NDArray[np.uint8]]) -> Iterator[Frame]:
    for index, pixels in enumerate(images):
        yield Frame(index, f"{index:06d}", pixels)


def _estimated(record: FitRecord, frame: int) -> EstimatedImage:
    x, y = record.principal_point[frame]
    return EstimatedImage(people_of_fit(record, frame), float(record.focal[frame]), (float(x), float(y)))


class BodyJointFitter:
    """`JointFitter` of `fit_joints`: bodies that have a data set's 3-D joints.

    body  'default' or 'smpl:FILE'
    """

    def __init__(self, body: str = "default", options: JointFitOptions | None = None) -> None:
        self.body, self.options = body, options or JointFitOptions()

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values."""
        return {"name": "joint fit", "body": body_by_name(self.body).name, **asdict(self.options)}

    def fit(self, joints: NDArray[Any], skeleton: str, *, shared_shape: bool = True) -> FittedBodies:
        """See `JointFitter.fit`."""
        body = body_by_name(self.body)
        found = fit_joints(body, joints, skeleton_by_name(skeleton), shared_shape=shared_shape, options=self.options)
        kind, _, gender = body.name.partition("-")
        return FittedBodies(found.poses, found.betas, found.trans, found.error, body=kind, gender=gender or "neutral")
