"""The page that corrects joints, in Chromium: what it saves is read as keypoints of the user's detector."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.browser import probed
from helpers.errors import raises
from helpers.moving_people import FRAMES, PRESENT, moving_people

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.export.editing import edit_page
from humanpose_cli.io.detections import read_keypoints

FIT = moving_people()
WRIST = BLAZEPOSE33.index("left_wrist")
# A drag of person 0's left wrist by 30 and -20 pixels of the image in frame 2.
DRAG = """(() => {
  if (document.body.dataset.ready === undefined || window.saved) return window.saved ?? null;
  show(2);
  const box = canvas.getBoundingClientRect(), scale = box.width / width;
  const [x, y] = shown("0")[data.joints.indexOf("left_wrist")];
  canvas.setPointerCapture = () => {};  // the browser knows no pointer of scripts
  const send = (name, right, down) => canvas.dispatchEvent(new PointerEvent(name, {
    clientX: box.left + (x + right) * scale, clientY: box.top + (y + down) * scale, pointerId: 1}));
  send("pointerdown", 0, 0);
  send("pointermove", 30, -20);
  send("pointerup", 30, -20);
  STEPS
  return window.saved = JSON.parse(annotations());
})()"""


def pixels_of(fit):
    images = np.random.default_rng(0).integers(0, 255, (FRAMES, 480, 640, 3), np.uint8)
    random = np.random.default_rng(1)
    points = np.concatenate((random.uniform(60, 420, (len(fit), 33, 2)), np.full((len(fit), 33, 1), 0.6)), -1)
    points[:, BLAZEPOSE33.index("right_ankle"), 2] = 0
    return replace(fit, keypoints2d=points.astype(np.float32)), images


def saved(tmp_path, steps: str):
    fit, images = pixels_of(FIT)
    document = probed(edit_page(fit, images, title="clip").text, tmp_path, DRAG.replace("STEPS", steps))
    path = tmp_path / "clip.keypoints.json"
    path.write_text(json.dumps(document))
    return fit, read_keypoints(path)


@pytest.mark.slow
def test_a_dragged_joint_is_saved_with_full_confidence(tmp_path):
    fit, detections = saved(tmp_path, "")
    for frame in range(FRAMES):
        rows = fit.rows_for(frame)
        people = {person.track: person.keypoints for person in detections.people_in(str(fit.frame_names[frame]))}
        assert sorted(people) == fit.track_id[rows].tolist()
        for row in rows:
            expected = fit.keypoints2d[row].copy()
            if (frame, fit.track_id[row]) == (2, 0):
                expected[WRIST] = (*(expected[WRIST, :2] + (30, -20)), 1)
            joints = BLAZEPOSE33.indices(COCO17.joint_names[:-1])  # the last ankle was not detected
            np.testing.assert_allclose(people[fit.track_id[row]][joints], expected[joints], atol=0.02)
            ankle = people[fit.track_id[row]][BLAZEPOSE33.index("right_ankle")]
            np.testing.assert_allclose(ankle, (*fit.joints2d[row, SMPL24.index("right_ankle")], 0), atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "later"),
    [("", False), ("find('#later').checked = true;", True)],
)
def test_people_are_locked_swapped_renamed_and_removed(tmp_path, steps, later):
    """Each in frame 3, or in all from there; a swap that is undone leaves no trace."""
    steps += "show(3); find('#swap').click(); find('#undo').click(); find('#swap').click(); find('#lock').click();"
    steps += "window.prompt = () => '2'; find('#rename').click();"  # the two people exchange their numbers
    steps += "show(4); chosen = '0'; find('#remove').click();"
    fit, detections = saved(tmp_path, steps)
    people = {
        frame: {person.track: person.keypoints for person in detections.people_in(str(fit.frame_names[frame]))}
        for frame in range(FRAMES)
    }
    row = {(int(t), int(f)): n for n, (t, f) in enumerate(zip(fit.track_id, fit.frame_index, strict=True))}
    mirrored = fit.keypoints2d[:, list(BLAZEPOSE33.mirror)]
    hip = BLAZEPOSE33.index("left_hip")
    np.testing.assert_allclose(people[3][2][hip], (*mirrored[row[0, 3], hip, :2], 1), atol=0.02)
    np.testing.assert_allclose(people[3][0][hip], fit.keypoints2d[row[2, 3], hip], atol=0.02)
    assert sorted(people[4]) == [2]
    source = mirrored[row[0, 4]] if later else fit.keypoints2d[row[2, 4]]
    np.testing.assert_allclose(people[4][2][hip, :2], source[hip, :2], atol=0.02)
    assert (people[4][2][hip, 2] > 0.99) == later
    assert all(sorted(people[frame]) == sorted(t for t in PRESENT if frame in PRESENT[t]) for frame in range(4))


def test_pages_need_frames_of_one_camera():
    with raises(UsageError, subject="edit", problem="no frames"):
        edit_page(FIT)
