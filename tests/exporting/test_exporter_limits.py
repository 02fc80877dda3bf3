"""Limits of formats."""

import pytest

from humanpose_cli.exporting.exporter import refusal_of


@pytest.mark.parametrize(
    "asked",
    [
        *("c3d 65535 10000000: None", "c3d 65536 0: at most 65,535 frames, and there are 65,536; bvh"),
        *("glb 0 2500001: at most 2,500,000", "obj 1 10000000000: about 8000000 GB", "masks 1 1: need the frames"),
    ],
)
def test_a_format_that_cannot_hold_a_fit_is_refused(tmp_path, asked):
    (kind, frames, bodies), reason = asked.partition(":")[0].split(), asked.partition(": ")[2]
    assert reason in str(refusal_of(kind, int(frames), int(bodies), tmp_path / "new" / "one", has_images=False))
