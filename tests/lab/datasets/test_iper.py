"""iPER: frames, videos, its own estimates, an estimator's, the pair lists, and what is told about damaged folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.paper_datasets import (
    IPER_FRAMES,
    Estimator,
    assert_travels,
    iper_authors_joints,
    iper_cameras,
    iper_protocol,
    iper_tree,
    write,
)

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.datasets import iper
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.iper import IperOptions, IperSource
from humanpose_cli.models.warp3d.generator import frame_joints


def test_frames_keep_their_bytes_and_name_their_person(tmp_path: Path) -> None:
    source = IperSource(iper_tree(tmp_path))
    groups = source.groups()
    assert [(group.name, group.count) for group in groups] == [("001/1", 10), ("002/3", 5), ("003/1", 15)]
    samples = list(source.read(groups[2]))
    assert len(samples) == 15
    ninth = samples[8]
    assert (ninth.name, ninth.sequence, ninth.frame) == ("003/1/2/frame00000001", "003/1/2", 1)
    assert ninth.image == (tmp_path / "images/003/1/2/frame00000001.png").read_bytes()
    assert ninth.size == (16, 16)
    assert ninth.splits == {"iper": "test"}
    (person,) = ninth.people
    assert (person.identity, person.clothing, person.activity) == ("003", "003/1", "random motion")
    assert person.poses is None
    assert samples[0].people[0].activity == "turning in an A pose"
    assert "no poses" in source.notes[0]
    assert source.info.options["poses_by"] is None


def test_estimates_show_the_body_where_their_weak_camera_does(tmp_path: Path) -> None:
    """HMR's camera puts a point of the body at s (x + t) in −1 … 1: the same pixels, up to perspective."""
    source = IperSource(iper_tree(tmp_path, smpls=True))
    sample = list(source.read(source.groups()[0]))[2]
    (person,) = sample.people
    scale, x, y = iper_cameras(3)[2]
    flat = np.array([[0.2, -0.4, 0.0], [-0.3, 0.1, 0.0]])  # in the plane of the body's origin: no perspective
    expected = (scale * (flat[:, :2] + [x, y]) + 1) / 2 * 16
    assert person.trans is not None
    assert sample.focal is not None
    pixels = project_points(flat + person.trans, sample.focal, (8, 8))
    np.testing.assert_allclose(pixels, expected, atol=1e-9)
    assert sample.focal == pytest.approx(16 * 500 / 224)
    np.testing.assert_array_equal(person.poses, np.ones(72))
    assert (person.body, person.gender, person.identity) == ("smpl", "neutral", "001")
    assert source.info.options["poses_by"] == {"name": "HMR, as iPER comes with"}


def test_an_estimator_sees_each_video_once_as_a_sequence(tmp_path: Path) -> None:
    estimator = Estimator()
    source = IperSource(iper_tree(tmp_path, smpls=True), IperOptions(every=2), SourceTools(estimator))
    group = source.groups()[2]
    assert group.count == 4 + 4
    samples = list(source.read(group))
    assert estimator.calls == [(4, True, True), (4, True, True)]
    assert [sample.frame for sample in samples] == [0, 2, 4, 6, 0, 2, 4, 6]
    greys = [sample.people[0].betas[0] * 256 for sample in samples]  # type: ignore[index]
    np.testing.assert_allclose(greys, [60, 62, 64, 66, 80, 82, 84, 86])
    assert samples[5].focal == 100.0
    assert samples[5].principal_point == (5.0, 6.0)
    assert samples[5].people[0].clothing == "003/1"
    assert source.info.options["poses_by"] == {"name": "stand-in"}


def test_the_authors_joints_give_the_network_their_numbers(tmp_path: Path) -> None:
    source = IperSource(iper_tree(tmp_path, authors=True, side=64), IperOptions(poses="authors", every=2))
    sample = list(source.read(source.groups()[2]))[5]
    assert (sample.sequence, sample.frame) == ("003/1/2", 2)
    (person,) = sample.people
    joints = person.joints["reposing19"]
    assert sample.focal == pytest.approx(64 * 1125 / 1024)
    assert sample.focal is not None
    expected = iper_authors_joints(2) / 4
    np.testing.assert_allclose(person.keypoints["reposing19"][:, :2], expected[:, :2])
    frame = frame_joints(joints[:, :3], Camera(sample.focal, (32.0, 32.0), (64, 64)))
    np.testing.assert_allclose(frame, expected + np.array([0, 0, 32]), atol=1e-4)
    ankles = joints[[7, 13], :3]
    assert 1.2 < np.linalg.norm(ankles.mean(0) - joints[1, :3]) < 1.7  # metres from nose to ankles, of the default body
    low, high = np.split(person.box, 2)
    assert (low <= expected[:, :2].min(0)).all()
    assert (high >= expected[:, :2].max(0)).all()
    assert (person.poses, person.identity, person.clothing) == (None, "003", "003/1")
    assert source.info.options["poses_by"] == {"name": "the reposing paper's authors"}
    assert_travels(source, 1)


def test_images_are_stored_smaller_and_estimated_in_those_of_the_data_set(tmp_path: Path) -> None:
    class Boxed(Estimator):
        def estimate(self, images: Any, *, sequence: bool, single_person: bool) -> Any:
            found = [replace(e, people=[boxed(e.people[0])]) for e in super().estimate(images, **flags)]
            assert sequence
            return found

    flags = {"sequence": True, "single_person": True}
    points = np.array([[8.0, 16.0, 0.5]])

    def boxed(person: Any) -> Any:
        return replace(person, box=np.array([4.0, 8, 12, 16]), keypoints={"smpl24": points}, detected=points)

    root = iper_tree(tmp_path, side=32)
    full, small = (
        list(IperSource(root, IperOptions(image_size=size), SourceTools(Boxed())).read(IperSource(root).groups()[1]))[1]
        for size in (0, 16)
    )
    pixels = decode_image(small.image)
    assert pixels is not None
    assert (small.size, pixels.shape) == ((16, 16), (16, 16, 3))
    assert abs(float(pixels[..., 1].mean()) - 41) < 2  # its grey
    assert (full.size, full.focal, full.principal_point) == ((32, 32), 100.0, (5.0, 6.0))
    assert (small.focal, small.principal_point) == (50.0, (2.5, 3.0))
    person = small.people[0]
    np.testing.assert_array_equal(person.box, [2, 4, 6, 8])
    np.testing.assert_array_equal(person.keypoints["smpl24"], points * (0.5, 0.5, 1))
    np.testing.assert_array_equal(person.detected, points * (0.5, 0.5, 1))
    np.testing.assert_array_equal(person.betas, full.people[0].betas)
    kept = list(IperSource(root, IperOptions(image_size=64)).read(IperSource(root).groups()[1]))[1]
    assert kept.image == full.image


def test_a_release_is_chosen(tmp_path: Path) -> None:
    root = iper_tree(tmp_path)
    path = root / "iPER_256_video_release" / "001_1_1.mp4"
    path.parent.mkdir()
    with VideoWriter(path, 25.0) as writer:
        for _ in range(3):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    options = IperOptions(release="iPER_256_video_release", split="train", allow_missing=True)
    assert [group.count for group in IperSource(root, options).groups()] == [3]
    assert [group.count for group in IperSource(root).groups()] == [10, 5, 15]
    with raises(InputError, problem="holds neither frames nor videos", expected="images_HD"):
        IperSource(root, IperOptions(release="images_HD"))


def test_random_pairs_are_drawn_within_clothes_of_val(tmp_path: Path) -> None:
    source = IperSource(iper_tree(tmp_path), IperOptions(random_pairs=400))
    first, _, last = source.groups()
    assert first.pairs == {}
    pairs = last.pairs["random-pairs", "test"]
    assert len(pairs) == 400
    assert all(a != b and 0 <= a < 15 and 0 <= b < 15 for a, b in pairs)
    assert {a for a, _ in pairs} == {b for _, b in pairs} == set(range(15))
    again = IperSource(tmp_path, IperOptions(random_pairs=400)).groups()[2].pairs["random-pairs", "test"]
    assert again == pairs
    other = IperSource(tmp_path, IperOptions(random_pairs=400, seed=1)).groups()[2].pairs["random-pairs", "test"]
    assert other != pairs


def test_the_authors_clothes_are_held_out_of_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iper, "IPER_VALIDATION", frozenset({"002/3"}))
    source = IperSource(iper_tree(tmp_path))
    splits = {group.name: {sample.splits["iper"] for sample in source.read(group)} for group in source.groups()}
    assert splits == {"001/1": {"train"}, "002/3": {"validation"}, "003/1": {"test"}}
    for split, name in (("train", "001/1"), ("validation", "002/3"), ("val", "002/3"), ("test", "003/1")):
        (group,) = IperSource(tmp_path, IperOptions(split=split)).groups()
        assert group.name == name
        assert bool(group.pairs) == (split == "test")
    learning = IperSource(tmp_path, IperOptions(learn="train+validation"))
    splits = {group.name: {sample.splits["iper"] for sample in learning.read(group)} for group in learning.groups()}
    assert splits == {"001/1": {"train"}, "002/3": {"train"}, "003/1": {"test"}}


@pytest.mark.slow
def test_three_frames_of_each_video_meet_all_of_its_frames(tmp_path: Path) -> None:
    source = IperSource(iper_tree(tmp_path))
    pairs = source.groups()[2].pairs["three-frames", "test"]
    assert len(pairs) == 3 * 7 + 3 * 8
    assert all((a < 7) == (b < 7) for a, b in pairs)
    assert source.info.options["three_frames"] == "drawn"
    fewer = IperSource(tmp_path, IperOptions(every=2)).groups()[2]
    pairs = fewer.pairs["three-frames", "test"]
    assert len(pairs) == 3 * 4 + 3 * 4
    assert all((a < 4) == (b < 4) and max(a, b) < fewer.count == 8 for a, b in pairs)
    assert {b for _, b in pairs} == set(range(8))


def test_the_owners_protocol_names_the_three_frames(tmp_path: Path) -> None:
    write(iper_tree(tmp_path) / "iPER_protocol.json", iper_protocol())
    source = IperSource(tmp_path)
    pairs = [pair for pair in source.groups()[2].pairs["three-frames", "test"] if pair[0] >= 7]
    assert pairs == [(7 + source_, 7 + target) for source_ in (2, 4, 0) for target in range(1, 6)]
    assert source.info.options["three_frames"] == "official"


def test_videos_are_read_where_there_are_no_frames(tmp_path: Path) -> None:
    for video, count in IPER_FRAMES.items():
        path = tmp_path / "iPER_256_video_release" / f"{video.replace('/', '_')}.mp4"
        path.parent.mkdir(exist_ok=True)
        with VideoWriter(path, 25.0) as writer:
            for frame in range(count):
                writer.write(np.full((32, 32, 3), 20 * frame, np.uint8))
    write(tmp_path / "train.txt", "001/1/1\n001/1/2\n002/3/1\n")
    write(tmp_path / "val.txt", "003/1/1\n003/1/2\n")
    estimator = Estimator()
    source = IperSource(tmp_path, IperOptions(every=3), SourceTools(estimator))
    group = source.groups()[0]
    samples = list(source.read(group))
    assert [(sample.sequence, sample.frame) for sample in samples] == [
        *(("001/1/1", 0), ("001/1/1", 3)),
        *(("001/1/2", 0), ("001/1/2", 3)),
    ]
    assert group.count == 4
    greys = [sample.people[0].betas[0] * 256 for sample in samples]  # type: ignore[index]
    np.testing.assert_allclose(greys, [0, 60, 0, 60], atol=4)
    assert samples[1].size == (32, 32)


def _damage(root: Path, what: str) -> None:
    if what == "video":
        for file in (root / "images/003/1/1").iterdir():
            file.unlink()
        (root / "images/003/1/1").rmdir()
    elif what == "count":
        write(root / "train.txt", "001/1/1\n")
    elif what == "name":
        write(root / "train.txt", "001/1/1\n../../etc\n002/3/1\n")
    elif what == "protocol":
        write(root / "iPER_protocol.json", '{"val": {"003/1/2": {"s_n": {}}}}')


@pytest.mark.parametrize(
    ("what", "subject"),
    [
        ("video", {"subject": "val.txt"}),
        ("count", {"subject": "train.txt", "got": "1"}),
        ("name", {"subject": "train.txt", "problem": "which is no video"}),
        ("protocol", {"subject": "iPER_protocol.json (003/1/2)"}),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, what: str, subject: str) -> None:
    _damage(iper_tree(tmp_path), what)
    with raises(InputError, **subject):
        IperSource(tmp_path).groups()


def test_an_estimator_that_is_not_there_is_named(tmp_path: Path) -> None:
    with raises(UsageError, problem="needs a pose estimator"):
        IperSource(iper_tree(tmp_path), IperOptions(poses="estimator"))
