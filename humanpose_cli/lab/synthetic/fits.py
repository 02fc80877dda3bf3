"""Fits of rendered people by this program's methods, from which the network of the refinement learns.

Real errors differ from random ones: they are similar in neighbouring frames, and a texture baked under such fits
repeats them. Clips are fitted alternately by keypoints and by the body network, and the fits of every second pair of
clips are refined once, like the input of a refinement's second round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import best_pairs, box_overlap
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.io.inputs import Frame
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.cache.samples import Person, Sample
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.refiner import Refiner

if TYPE_CHECKING:
    from humanpose_cli.fitting.result import Fit

_METHODS: tuple[Literal["keypoints", "nbf"], ...] = ("keypoints", "nbf")
_MIN_OVERLAP = 0.3  # intersection over union of the boxes of a person and the fit


class ClipFitter:
    """Adds fits to the people of clips with known cameras, as in `hpc evaluate refine`; loads models when needed."""

    def __call__(self, number: int, samples: Sequence[Sample]) -> list[Sample]:
        """Add `fit_poses`, `fit_betas` and `fit_trans` to the detected people of a clip.

        Args:
            number: Number of the clip, which decides the method.
            samples: Frames of the clip.
        """
        pixels = (decode_image(sample.image) for sample in samples)
        images = np.stack([image for image in pixels if image is not None])  # rendered images can be decoded
        fitter = self._fitters[_METHODS[number % len(_METHODS)]]
        fit = fitter.fit_sequence(_frames(samples, images), frame_rate=samples[0].frame_rate, frame_count=len(samples))
        if number // len(_METHODS) % 2 and len(fit):
            fit = self._refiner.align(fit, FitFrames.of(fit, images)).moved
        return [replace(sample, people=_with_fits(sample.people, fit, i)) for i, sample in enumerate(samples)]

    @cached_property
    def _fitters(self) -> dict[str, Fitter]:
        return {method: Fitter(FitOptions(method=method), device="cpu", threads=1) for method in _METHODS}

    @cached_property
    def _refiner(self) -> Refiner:
        return Refiner(RefineOptions(correspondence="flow", rounds=1), device="cpu", threads=1)


def _frames(samples: Sequence[Sample], images: NDArray[np.uint8]) -> Iterator[Frame]:
    for number, (sample, image) in enumerate(zip(samples, images, strict=True)):
        centre = sample.principal_point
        yield Frame(
            number,
            f"{number:06d}",
            image,
            sample.focal,
            principal_point=None if centre is None else (float(centre[0]), float(centre[1])),
        )


def _with_fits(people: Sequence[Person], fit: Fit, frame: int) -> list[Person]:
    """Assign fits to the people of a frame by the overlap of their boxes, at most one to each."""
    rows = fit.rows_for(frame)
    result = list(people)
    indices = [number for number, person in enumerate(people) if person.box is not None]
    if not indices:
        return result
    overlaps = box_overlap(np.stack([np.asarray(people[i].box) for i in indices])[:, None], fit.boxes[rows])
    for index, column in best_pairs(overlaps, _MIN_OVERLAP):
        person = indices[index]
        row = rows[column]
        result[person] = replace(
            people[person], fit_poses=fit.poses[row], fit_betas=fit.betas[row], fit_trans=fit.trans[row]
        )
    return result
