"""What observations accept, refuse and hide."""

import numpy as np
import pytest

from humanpose_cli.fitting.observations import KeypointObservations


def fields(**changed: object) -> dict[str, object]:
    return {
        "keypoints": np.full((2, 17, 2), 5.0),
        "confidence": np.ones((2, 17)),
        "focal": [500.0, 600.0],
        "principal_point": np.full((2, 2), 50.0),
        "image_size": np.full((2, 2), 100),
        "skeleton": "coco17",
        **changed,
    }


def test_rows_keep_everything_of_the_row():
    observations = KeypointObservations(**fields(shape_group=[4, 5], world=np.arange(102.0).reshape(2, 17, 3)))
    second = observations.rows(slice(1, 2))
    assert len(second) == 1
    assert second.focal.tolist() == [600.0]
    assert second.shape_group.tolist() == [5]
    assert second.world[0, 0].tolist() == [51, 52, 53]
    assert second.names.name == "coco17"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e9])
def test_broken_positions_lose_their_confidence(broken):
    keypoints = np.full((2, 17, 2), 5.0)
    keypoints[0, 3, 1] = broken
    observations = KeypointObservations(**fields(keypoints=keypoints))
    assert observations.confidence[0, 3] == 0
    assert observations.confidence.sum() == 33
    assert observations.keypoints.isfinite().all()


def test_confidence_is_clipped_and_nan_is_hidden():
    confidence = np.tile([1.2, -0.5, np.nan, 0.4] + [1.0] * 13, (2, 1))
    observations = KeypointObservations(**fields(confidence=confidence))
    assert observations.confidence[0, :4].tolist() == [1, 0, 0, 0.4]


def test_unknown_spread_counts_as_none():
    spread = np.full((2, 17), 2.0)
    spread[0, :3] = [np.nan, -1, np.inf]
    assert KeypointObservations(**fields(spread=spread)).spread[0, :4].tolist() == [0, 0, 0, 2]
