"""Our own fits as makers of labels: what data sets that lack poses are given by `hpc preprocess`.

Sources ask for nothing else than the public members of these classes, so whoever opens a source may pass in others.
Instances are pickled to the processes that read a source; models load where they are first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.conventions import skeleton_by_name
from humanpose_cli.datasets.common import EstimatedImage, FittedBodies
from humanpose_cli.fitting.fitter import FitOptions, Fitter
from humanpose_cli.fitting.joints import JointFitOptions, fit_joints
from humanpose_cli.io.inputs import Frame

__all__ = ["BodyJointFitter", "FitEstimator"]


class FitEstimator:
    """Images → people with body parameters by the keypoint fit: `hpc fit` for the images of a data set."""

    def __init__(self, options: FitOptions | None = None) -> None:
        self.options = options or FitOptions()
        self._fitter: Fitter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "_fitter": None}

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        return {"name": "keypoint fit", **asdict(self.options)}

    def estimate(
        self, images: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool, focal: float | None = None
    ) -> Sequence[EstimatedImage]:
        """One result for each image, in their order.

        images         (H, W, 3) uint8 RGB, taken one after the other: those of a long video are never all in memory
        sequence       True: frames of one shot, in which a person keeps one shape; False: images by themselves
        single_person  True: only the person that the images are about
        focal          pixels, where the data set gives it
        """
        fitter = self._with(single_person, focal)
        if not sequence:
            return [EstimatedImage.of_fit(fitter.fit_image(pixels), 0) for pixels in images]
        record = fitter.fit_sequence(Frame(i, f"{i:06d}", pixels) for i, pixels in enumerate(images))
        return [EstimatedImage.of_fit(record, frame) for frame in range(len(record.frame_names))]

    def _with(self, single_person: bool, focal: float | None) -> Fitter:
        """The one fitter, its models loaded once in this process, with an image's own wishes."""
        if self._fitter is None:
            self._fitter = Fitter(self.options, device="cpu", threads=1)
        people = "largest" if single_person else self.options.people
        self._fitter.options = replace(self.options, people=people, focal=focal or self.options.focal)
        return self._fitter


class BodyJointFitter:
    """3-D joints → body parameters by `fit_joints`.

    body  'default' or 'smpl:FILE'
    """

    def __init__(self, body: str = "default", options: JointFitOptions | None = None) -> None:
        self.body, self.options = body, options or JointFitOptions()

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        return {"name": "joint fit", "body": body_by_name(self.body).name, **asdict(self.options)}

    def fit(self, joints: NDArray[Any], skeleton: str, *, shared_shape: bool = True) -> FittedBodies:
        """joints (T, J, 4): metres in camera axes and confidence 0…1 (0: not known), of the skeleton of that name.

        shared_shape  True: the frames show one person, who has one shape
        """
        body = body_by_name(self.body)
        found = fit_joints(body, joints, skeleton_by_name(skeleton), shared_shape=shared_shape, options=self.options)
        kind, _, gender = body.name.partition("-")
        return FittedBodies(found.poses, found.betas, found.trans, found.error, body=kind, gender=gender or "neutral")
