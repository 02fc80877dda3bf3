"""Masks of `hpc fit`, written and taken again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.reference_people import ReferencePeople, true_person

import humanpose_cli.fitting.fitter
from humanpose_cli.io.images import read_image, write_image


@pytest.mark.extensive
def test_masks_that_were_written_are_read_again(hpc, tmp_path, monkeypatch, clip, clip_frames):
    """Those of two people of whom one hides the other; a third one gets no body, so no mask."""
    front, behind = true_person(clip, 0), true_person(clip, 0, shift=60)
    hidden = replace(true_person(clip, 0, shift=-90), not_fitted="hidden by another person")
    people = ReferencePeople({0: [front, behind, hidden]})
    monkeypatch.setattr(humanpose_cli.fitting.fitter, "find_people", lambda *_, **__: people)
    size = clip_frames[0].shape[:2]
    nearer, farther = (person.mask.in_image(*size) > 0.5 for person in (front, behind))
    photo = np.where(nearer[..., None], np.uint8([200, 40, 30]), np.roll(clip_frames[0], 60, 1))
    write_image(tmp_path / "photo.png", photo)

    def masks(folder: str, *options: str) -> list[np.ndarray]:
        line = ("fit", f"{tmp_path}/photo.png", "--masks", "--no-overlay", "--method", "keypoints", *options)
        assert hpc(*line, "--out", f"{tmp_path}/{folder}").code == 0
        files = sorted((tmp_path / folder).glob("photo.png.person*.mask.png"))
        assert [file.name[16:17] for file in files] == ["0", "1"]
        return [read_image(file).pixels[..., 0] > 0 for file in files]

    written = masks("first")
    for mask, truth in zip(written, (nearer, farther & ~nearer), strict=True):
        assert (mask & truth).sum() > 0.85 * (mask | truth).sum()
    assert np.array_equal(masks("again", "--mask", f"{tmp_path}/first"), written)
    corrected = written[1] & (np.arange(size[0]) < size[0] / 2)[:, None]
    write_image(tmp_path / "corrected.png", np.where(corrected, np.uint8(255), np.uint8(0)))
    other, own = masks("corrected", "--mask", f"{tmp_path}/corrected.png")
    assert np.array_equal(own, corrected)
    assert (other & nearer).sum() > 0.85 * (other | nearer).sum()
