"""What the detector says about a labelled person lands beside their labels."""

import pickle

import cv2
import numpy as np
import skimage.data

from humanpose_cli.data.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.datasets.labelling import DetectedLabels

BOX = np.array([60.0, 0.0, 400.0, 512.0], np.float32)  # the astronaut


class Photo:
    """A source with one photograph of one person, a box without area, one outside and none."""

    info = SourceInfo("photo", {"a": 1})

    def groups(self):
        return [Group("one", 1)]

    def read(self, group):
        data = cv2.imencode(".png", skimage.data.astronaut()[..., ::-1])[1].tobytes()
        nothing = np.array([5.0, 5.0, 5.5, 30.0], np.float32)
        outside = np.array([600.0, 5.0, 700.0, 90.0], np.float32)
        people = (Person(identity="her", box=BOX), Person(box=nothing), Person(), Person(box=outside))
        yield Sample("astronaut", data, (512, 512), people=people)


def test_the_detector_is_asked_about_people_with_boxes():
    source = pickle.loads(pickle.dumps(DetectedLabels(Photo(), views=1)))
    assert source.info.options == {"a": 1, "detector_views": 1}
    (sample,) = source.read(source.groups()[0])
    her, flat, unknown, outside = sample.people
    assert her.identity == "her"
    nose, left_shoulder, right_shoulder = her.detected[[0, 11, 12]]
    assert 180 < nose[0] < 260
    assert 90 < nose[1] < 190
    assert left_shoulder[0] > nose[0] > right_shoulder[0]
    assert her.detected_world.shape == (33, 4)
    assert her.detected_world[11, 0] > her.detected_world[12, 0]
    mask = cv2.imdecode(np.frombuffer(her.detected_mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (512, 512)
    assert mask[130, 220] > 200  # her face
    assert mask[40, 40] < 50
    assert flat.detected is None
    assert unknown.detected is None
    assert outside.detected is None
