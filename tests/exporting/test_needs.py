"""Limits of formats."""

import pytest

from humanpose_cli.exporting.needs import refusal_of


@pytest.mark.parametrize(
    ("kind", "frames", "bodies", "reason"),
    [
        ("c3d", 65_535, 10**6, "None"),
        ("c3d", 65_536, 0, "at most 65,535, found 65,536; bvh and trc hold"),
        ("glb", 0, 2_500_001, "cannot hold so many"),
        ("obj", 1, 10**10, "expected about 8000000 GB"),
        ("masks", 1, 1, "need the frames"),
    ],
)
def test_a_format_that_cannot_hold_a_fit_is_refused(tmp_path, kind, frames, bodies, reason):
    error = refusal_of(kind, frames, bodies, tmp_path / "new" / "folder", has_images=False)
    assert reason in str(error)
