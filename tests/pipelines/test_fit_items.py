import numpy as np
from conftest import KnownPeople

from humanpose_cli.io.images import write_image
from humanpose_cli.io.input_items import InputItem
from humanpose_cli.io.video import VideoReader
from humanpose_cli.pipelines.fit import BodyFitter
from humanpose_cli.pipelines.fit_items import fit_item


def test_frames_of_several_sizes_make_one_overlay_video(tmp_path):
    """With --sequence, a folder may hold any pictures."""
    files = tmp_path / "1.png", tmp_path / "2.png"
    write_image(files[0], np.full((48, 64, 3), 200, np.uint8))
    write_image(files[1], np.full((64, 48, 3), 200, np.uint8))
    item = InputItem("shot", "frames", tmp_path, files, tmp_path)
    with BodyFitter(people=KnownPeople()) as fitter:
        fitted = fit_item(fitter, item, tmp_path / "out")
    assert fitted.record.image_size.tolist() == [[64, 48], [48, 64]]
    first, second = (pixels for _, pixels in VideoReader(fitted.outputs[1]))
    assert first.shape == second.shape == (48, 64, 3)
    np.testing.assert_allclose(first, 200, atol=4)
    np.testing.assert_allclose(second[:, 18:46], 200, atol=12)  # 36 of 64 columns, in the middle
    np.testing.assert_allclose(second[:, [2, 61]], 0, atol=12)
