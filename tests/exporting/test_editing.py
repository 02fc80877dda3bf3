"""The page that corrects joints, in Chromium: what it saves is read as keypoints of the user's detector."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.browser import probed
from helpers.errors import raises
from helpers.moving_people import FRAMES, PRESENT, moving_people

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.editing import edit_page
from humanpose_cli.fitting.fit_reading import items_of
from humanpose_cli.fitting.result import FrameSource
from humanpose_cli.io.coco_annotations import LOCKED_CONFIDENCE
from humanpose_cli.io.detections import read_keypoints
from humanpose_cli.refining.frames import FitFrames

FIT = moving_people()
WRIST = BLAZEPOSE33.index("left_wrist")
HAND = BLAZEPOSE33.indices([f"left_{name}" for name in ("wrist", "pinky", "index", "thumb")])
# Images of other sizes: frame 2 is larger than the page, in the middle of whose video it stands.
SIZES = [(640, 480), (640, 480), (1100, 1500), (640, 480), (640, 480)]
# A drag of person 0's left wrist by 30 and -20 pixels of the image in frame 2.
DRAG = """(() => {
  if (document.body.dataset.ready === undefined || !video.videoWidth || window.saved) return window.saved ?? null;
  show(2);
  ZOOM
  const box = find("#frames video").getBoundingClientRect(), scale = box.height / 1500;
  const [x, y] = shown("0")[data.joints.indexOf("left_wrist")];
  canvas.setPointerCapture = () => {};  // the browser knows no pointer of scripts
  const send = (name, right, down) => canvas.dispatchEvent(new PointerEvent(name, {
    pointerId: 1, clientX: box.left + box.width / 2 + (x + right - 550) * scale,
    clientY: box.top + (y + down) * scale}));
  send("pointerdown", 0, 0);
  send("pointermove", 30, -20);
  send("pointerup", 30, -20);
  STEPS
  return window.saved = JSON.parse(annotations());
})()"""


def saved(tmp_path, steps: str, zoom: str = ""):
    """The fit, and the people of the file that its page saves after some steps."""
    points = np.concatenate(
        (np.random.default_rng(1).uniform(60, 420, (len(FIT), 33, 2)), np.full((len(FIT), 33, 1), 0.6)), -1
    )
    points[:, BLAZEPOSE33.index("right_ankle"), 2] = 0
    files = [tmp_path / f"{name}.png" for name in FIT.frame_names]
    for file, (width, height) in zip(files, SIZES, strict=True):
        cv2.imwrite(str(file), np.zeros((height, width), np.uint8))
    fit = replace(FIT, keypoints2d=points.astype(np.float32), image_size=np.array(SIZES, np.int32))
    frames = FitFrames(fit, FrameSource(tuple(items_of(files, sequence=False))), in_order=True)
    document = probed(
        edit_page(fit, frames, title="clip").text, tmp_path, DRAG.replace("STEPS", steps).replace("ZOOM", zoom)
    )
    path = tmp_path / "clip.keypoints.json"
    path.write_text(json.dumps(document))
    assert [(image["width"], image["height"]) for image in document["images"]] == SIZES
    return fit, read_keypoints(path)


@pytest.mark.slow
@pytest.mark.parametrize("zoom", ["", "find('#wide').click(); window.scale(zoom * 3, 50, 60);"])
def test_a_dragged_joint_is_locked_in_pixels_of_the_frame(tmp_path, zoom):
    fit, detections = saved(tmp_path, "", zoom)
    for frame in range(FRAMES):
        rows = fit.rows_for(frame)
        people = {person.track: person.keypoints for person in detections.people_in(str(fit.frame_names[frame]))}
        assert sorted(people) == fit.track_id[rows].tolist()
        for row in rows:
            expected = fit.keypoints2d[row].copy()
            expected[BLAZEPOSE33.index("right_ankle"), :2] = fit.joints2d[row, SMPL24.index("right_ankle")]
            if (frame, fit.track_id[row]) == (2, 0):
                expected[HAND, :2] += (30, -20)
                expected[WRIST, 2] = LOCKED_CONFIDENCE
            np.testing.assert_allclose(people[fit.track_id[row]], expected, atol=0.02)


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
    np.testing.assert_allclose(people[3][2][hip], (*mirrored[row[0, 3], hip, :2], LOCKED_CONFIDENCE), atol=0.02)
    np.testing.assert_allclose(people[3][0][hip], fit.keypoints2d[row[2, 3], hip], atol=0.02)
    assert sorted(people[4]) == [2]
    source = mirrored[row[0, 4]] if later else fit.keypoints2d[row[2, 4]]
    np.testing.assert_allclose(people[4][2][hip, :2], source[hip, :2], atol=0.02)
    assert (people[4][2][hip, 2] == LOCKED_CONFIDENCE) == later
    assert all(sorted(people[frame]) == sorted(t for t in PRESENT if frame in PRESENT[t]) for frame in range(4))


def test_pages_need_frames_of_one_camera():
    with raises(UsageError, subject="edit", problem="no frames"):
        edit_page(FIT)
