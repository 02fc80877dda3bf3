import json

import numpy as np
import pytest
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.reference_people import ReferencePeople, true_person

from humanpose_cli.batch.items import Shard, item_of
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.hands import HandDetector
from humanpose_cli.fitting.fitter import Fitter, fit_item
from humanpose_cli.fitting.networks import Estimates
from humanpose_cli.fitting.options import FitOptions, FitOutputs
from humanpose_cli.fitting.people import TrackMasks, find_people
from humanpose_cli.fitting.sequence_people import SequencePeopleBuilder
from humanpose_cli.io.frame_range import parse_frame_range
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import Frame, InputItem, open_inputs
from humanpose_cli.io.video import VideoReader, VideoWriter
from humanpose_cli.refining.outputs import write_outputs


def test_frames_of_several_sizes_make_one_overlay_video(tmp_path):
    """With --sequence, a folder may hold any images."""
    files = tmp_path / "1.png", tmp_path / "2.png"
    write_image(files[0], np.full((48, 64, 3), 200, np.uint8))
    write_image(files[1], np.full((64, 48, 3), 200, np.uint8))
    item = InputItem("shot", "frames", tmp_path, files, tmp_path)
    with Fitter(people_source=ReferencePeople()) as fitter:
        fitted = fit_item(fitter, item, tmp_path / "shot.fit.npz")
    _, overlay = write_outputs(fitted, tmp_path / "shot.fit.npz", FitOutputs())
    assert fitted.image_size.tolist() == [[64, 48], [64, 48]]  # frames are brought to the first size
    first, second = (pixels for _, pixels in VideoReader(overlay))
    assert first.shape == second.shape == (48, 64, 3)
    np.testing.assert_allclose(first, 200, atol=4)
    np.testing.assert_allclose(second[:, 18:46], 200, atol=12)  # 36 of 64 columns, in the middle
    np.testing.assert_allclose(second[:, [2, 61]], 0, atol=12)


def test_a_fit_of_every_other_frame_has_half_the_rate_and_the_video_s_times(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 20) as writer:
        for value in range(9):
            writer.write(np.full((48, 64, 3), 20 * value, np.uint8))
    pixels = np.zeros((9, 48, 64, 3), np.uint8)
    with Fitter(people_source=ReferencePeople()) as fitter:
        (item,) = open_inputs([tmp_path / "a.mp4"], frames=parse_frame_range("0.1s:-1:2"))
        video = fitter.fit(item)
        array = fitter.fit(pixels, frames="-7:-1:2")
        with raises(UsageError, problem="no times"):
            fitter.fit(pixels, frames="1s:")
    assert video.frame_names.tolist() == ["000002", "000004", "000006"]
    assert video.frame_rate == pytest.approx(10)
    np.testing.assert_allclose(video.frame_times, [0, 0.1, 0.2], atol=1e-9)
    assert [frame.index for frame in video.images.part(1, 3).frames()] == [4, 6]
    assert array.frame_names.tolist() == ["000002", "000004", "000006"]
    assert array.frame_rate == 0  # unknown


def test_frames_left_out_lengthen_the_time_between_the_others(clip_frames):
    """Of a sequence without a rate, whose frames are taken to be 1/30 s apart."""
    frames = [Frame(2 * t, str(t), pixels) for t, pixels in enumerate(clip_frames)]
    builder = SequencePeopleBuilder(FitOptions(), Estimates(None), TrackMasks(False), HandDetector(False))
    for frame in frames:
        builder.add(frame, [])
    np.testing.assert_allclose(builder.finish(None).seconds, 2 / 30 * np.arange(len(frames)))


@pytest.mark.extensive
@pytest.mark.parametrize("damage", ["lost", "flawed"])
def test_a_damaged_frame_shows_no_people_and_is_listed(clip_frames, reference_people, damage):
    frames = [Frame(t, str(t), pixels) for t, pixels in enumerate(clip_frames)]
    frames[1] = Frame(
        1, "1", np.random.default_rng(0).integers(0, 256, frames[0].pixels.shape, np.uint8), damage=damage
    )
    with Fitter(people_source=reference_people) as fitter:
        fitted = fitter.fit_sequence(frames)
    assert fitted.options.damaged == [1]
    assert fitted.interpolated.tolist() == [False, True, False, False]
    assert fitted.shot_id.tolist() == [0, 0, 0, 0]


@pytest.mark.extensive
def test_frames_that_are_not_searched_have_people_between_those_of_their_neighbours(clip_frames, reference_people):
    frames = [Frame(t, str(t), pixels) for t, pixels in enumerate(clip_frames)]
    reference_people.unsearched = frozenset({1, 2})
    with Fitter(people_source=reference_people) as fitter:
        fitted = fitter.fit_sequence(frames)
        del reference_people.by_index[3]
        ends = fitter.fit_sequence(frames)
    assert fitted.options.not_searched == [1, 2]
    assert fitted.frame_index.tolist() == [0, 1, 2, 3]
    assert not fitted.interpolated.any()
    for values in (fitted.keypoints2d, fitted.boxes):
        np.testing.assert_allclose(values[1], (2 * values[0] + values[3]) / 3, atol=1e-3)
    np.testing.assert_allclose(fitted.joints3d[1], (2 * fitted.joints3d[0] + fitted.joints3d[3]) / 3, atol=0.02)
    # Nothing is known of the frames behind the last that shows the person.
    assert ends.frame_index.tolist() == [0]


@pytest.mark.slow
def test_detection_files_are_distinguished_by_the_folders_of_their_images(tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a/1.png": [], "b/1.png": []}))
    with Fitter(people_source=find_people(boxes=boxes)) as fitter:
        for folder in ("a", "b", "c"):
            file = tmp_path / folder / "1.png"
            write_image(file, np.zeros((32, 32, 3), np.uint8))
            item = InputItem("1.png", "image", file, (file,), file.parent)
            if folder == "c":
                with raises(InputError, problem="boxes that do not mention 1.png"):
                    fitter.fit(file)
            else:
                assert len(fit_item(fitter, item, tmp_path / "1.fit.npz")) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["keypoints", *extensive("nbf", "auto")])
def test_images_fitted_together_are_as_alone(tmp_path, clip, clip_frames, method):
    """Nobody, two people, a damaged file, one whose people the file does not mention, one person."""
    people = {"0": [], "1": [true_person(clip, 0), true_person(clip, 3, shift=200)], "4": [true_person(clip, 2)]}

    class Named(ReferencePeople):
        def in_image(self, frame):
            if frame.path.stem not in people:
                raise InputError(frame.name, "is not mentioned")
            return people[frame.path.stem]

    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        write_image(file, clip_frames[number % 4])
    files[2].write_bytes(b"no image")
    items = [InputItem(file.name, "image", file, (file,), tmp_path) for file in files]
    with Fitter(people_source=Named(), method=method, batch_size=3) as fitter:
        alone = {}
        for item in (items[0], items[1], items[4]):
            alone[item.key] = fitter.fit(item)
        looked = []
        fitter.prepare(items, lambda *step: looked.append(step))
        assert looked[-1] == (5, 5, "images searched")
        for number, message in ((2, r"2\.png"), (3, "is not mentioned")):
            with pytest.raises(InputError, match=message):
                fitter.fit(items[number])
        people.clear()  # what is prepared needs no further look
        for key, expected in alone.items():
            found = fitter.fit(next(item for item in items if item.key == key))
            assert len(found) == len(expected) == len(found.detections)
            assert found.frame_names.tolist() == [key]
            assert found.tracks == expected.tracks
            assert np.array_equal(found.joints3d, expected.joints3d)
        with raises(InputError, problem="is not mentioned"):
            fitter.fit(items[4])  # once


@pytest.mark.extensive
@pytest.mark.parametrize("method", [*extensive("keypoints", "nbf"), "auto"])
def test_fit_files_of_two_shards_are_those_of_one_run(tmp_path, clip, clip_frames, method):
    """Byte by byte. The shards hold different numbers of images, and the images different numbers of people."""

    names = [f"{number}.png" for number in range(3)]
    people = {n: [true_person(clip, n + k, shift=7 * n + 90 * k) for k in range(1 + n % 2)] for n in range(3)}

    class Named(ReferencePeople):
        def in_image(self, frame):
            return people[int(frame.path.stem)]

    items = [InputItem(name, "image", tmp_path / name, (tmp_path / name,), tmp_path) for name in names]
    for item, pixels in zip(items, clip_frames, strict=False):
        write_image(item.path, pixels)
    with Fitter(people_source=Named(), method=method, device="cpu") as fitter:

        def run(*shards: Shard) -> dict[str, bytes]:
            found = {}
            for shard in shards:
                chosen = [item.payload for item in shard.part([item_of(item) for item in items])]
                fitter.prepare(chosen)
                for item in chosen:
                    path = tmp_path / f"{shard.index}-of-{shard.count}" / f"{item.key}.fit.npz"
                    fit_item(fitter, item, path).save(path)
                    found[item.key] = path.read_bytes()
            return found

        assert run(Shard(0, 2), Shard(1, 2)) == run(Shard())


@pytest.mark.slow
def test_an_image_reports_its_steps(tmp_path):
    file = tmp_path / "a.png"
    write_image(file, np.zeros((32, 32, 3), np.uint8))
    item = InputItem("a.png", "image", file, (file,), tmp_path)
    steps = []
    with Fitter(people_source=ReferencePeople()) as fitter:
        fit_item(fitter, item, tmp_path / "a.fit.npz", lambda *step: steps.append(step))
    assert steps == [(0, 3, "finding people"), (1, 3, "fitting bodies")]
