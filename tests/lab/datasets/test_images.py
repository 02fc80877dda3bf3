"""One's own images: fits, an estimator, DensePose output in its forms, and what is told when they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dataset_files import write_dump
from helpers.errors import raises
from helpers.fit_values import fit_of_rows
from helpers.paper_datasets import Estimator, image, write
from helpers.small_datasets import images_tree as tree
from PIL import Image

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.calibrations import CalibratedCamera, write_calibration
from humanpose_cli.io.densepose_files import DensePoseDump
from humanpose_cli.io.fit_files import COLUMNS, FitRecord, write_fit
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.io.take_views import TakeViews
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.label_maps import decode_map
from humanpose_cli.lab.cache.samples import Sample
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.images import ImagesOptions, ImagesSource

SIZE = (20, 30)


def fit_of(names: list[str], rows: list[tuple[int, int]], *, interpolated_row: int = -1) -> FitRecord:
    """A fit with these (track, frame) rows; betas and the box tell the row's number."""
    count, frames = len(rows), len(names)
    numbers = np.arange(count, dtype=float)
    return fit_of_rows(
        FitRecord,
        names,
        SIZE,
        33.0,
        track_id=[track for track, _ in rows],
        frame_index=[frame for _, frame in rows],
        interpolated=numbers == interpolated_row,
        principal_point=np.tile([9.0, 16.0], (frames, 1)),
        betas=np.tile(numbers[:, None], (1, 10)),
        joints3d=np.ones((count, 24, 3)),
        joints2d=np.full((count, 24, 2), 4.0),
        keypoints2d=np.full((count, 33, 3), 0.5),
        boxes=np.stack((numbers, numbers, numbers + 5, numbers * 2 + 9), 1),
        joint_confidence=np.full((count, 24), 0.7),
        gender="female",
        body="smpl-female",
    )


def fits(folder: Path) -> Path:
    folder.joinpath("sub").mkdir(parents=True)
    write_fit(folder / "a.jpg.fit.npz", fit_of(["a.jpg"], [(0, 0), (1, 0)]))
    write_fit(folder / "sub/b.png.fit.npz", fit_of(["b.png"], []))
    write_fit(folder / "clip.fit.npz", fit_of(["007.jpg", "009.jpg"], [(3, 0), (3, 1)], interpolated_row=1))
    return folder


def by_name(source: ImagesSource) -> dict[str, list[Sample]]:
    return {group.name: list(source.read(group)) for group in source.groups()}


def test_images_and_sequences_are_distinguished(tmp_path: Path) -> None:
    source = ImagesSource(tree(tmp_path), ImagesOptions(split="test"))
    samples_by_name = by_name(source)
    assert {name: len(samples) for name, samples in samples_by_name.items()} == {"a.jpg": 1, "sub/b.png": 1, "clip": 3}
    (alone,) = samples_by_name["sub/b.png"]
    assert (alone.name, alone.sequence, alone.people) == ("sub/b.png", "", [])
    assert alone.image == (tmp_path / "sub/b.png").read_bytes()
    assert alone.splits == {"images": "test"}
    with raises(UsageError, subject="split", got="tests"):
        ImagesOptions(split="tests")
    assert [(s.name, s.sequence, s.frame) for s in samples_by_name["clip"]] == [
        ("clip/007.jpg", "clip", 0),
        ("clip/008.jpg", "clip", 1),
        ("clip/009.jpg", "clip", 2),
    ]
    assert any("no poses" in note for note in source.notes)
    apart = ImagesSource(tmp_path, ImagesOptions(sequence=False))
    assert [group.count for group in apart.groups()] == [1] * 5


def test_fits_say_who_is_where(tmp_path: Path) -> None:
    source = ImagesSource(tree(tmp_path / "in"), ImagesOptions(fits=str(fits(tmp_path / "out"))))
    samples = by_name(source)
    (sample,) = samples["a.jpg"]
    assert (sample.focal, sample.principal_point) == (33.0, (9.0, 16.0))
    assert [person.betas[0] for person in sample.people] == [1, 0]  # the larger box first
    person = sample.people[0]
    assert (person.identity, person.body, person.gender) == ("a.jpg/1", "smpl", "female")
    np.testing.assert_array_equal(person.fit_betas, person.betas)
    np.testing.assert_allclose(person.keypoints["smpl24"][0], [4, 4, 0.5])  # how visible it is
    np.testing.assert_allclose(person.joints["smpl24"][0], [1, 1, 1, 0.7])
    assert person.detected is not None
    assert person.detected.shape == (33, 3)
    assert samples["sub/b.png"][0].people == []
    people = [[person.identity for person in sample.people] for sample in samples["clip"]]
    assert people == [["clip/3"], [], []]  # the second frame was not fitted, the third only interpolated
    assert source.info.options["fits"] is True
    assert source.info.options["poses_by"] == "fit files"
    assert str(tmp_path) not in repr(source.info)


def test_a_video_with_its_fit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with VideoWriter(tmp_path / "in/v.mp4", 25.0) as writer:
        for frame in range(4):
            writer.write(np.full((SIZE[1], SIZE[0], 3), 60 * frame, np.uint8))
    (tmp_path / "out").mkdir()
    names = [f"{frame:06d}" for frame in range(4)]
    write_fit(tmp_path / "out/v.mp4.fit.npz", fit_of(names, [(0, 0), (0, 1), (0, 2), (0, 3)]))
    source = ImagesSource(tmp_path / "in", ImagesOptions(fits=str(tmp_path / "out"), every=2))
    (samples,) = by_name(source).values()
    assert [(sample.name, sample.frame) for sample in samples] == [("v.mp4/000000", 0), ("v.mp4/000002", 2)]
    assert [sample.people[0].betas[0] for sample in samples] == [0, 2]  # type: ignore[index]


def test_an_estimator_finds_everybody_where_there_are_no_fits(tmp_path: Path) -> None:
    estimator = Estimator()
    source = ImagesSource(tree(tmp_path), tools=SourceTools(estimator))
    samples = by_name(source)
    assert sorted(estimator.calls) == [(1, False, False), (1, False, False), (3, True, False)]
    assert samples["a.jpg"][0].focal == 100.0
    np.testing.assert_allclose(samples["clip"][2].people[0].betas[0] * 256, 102, atol=1)  # type: ignore[index]


def iuv(seed: int = 0) -> np.ndarray:
    """(H, W, 3) chart, 255 U, 255 V, half of it nobody."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    values[..., 0] = random.integers(1, 25, values.shape[:2])
    values[: SIZE[1] // 2] = 0
    return values


@pytest.mark.parametrize("form", ["png", "npz"])
def test_densepose_images_become_maps(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "dp"
    for name in ("a", "sub/b", "clip/007", "008", "clip/009"):
        path = folder / f"{name}_IUV.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "png":  # as OpenCV writes channels I, U, V: blue first
            Image.fromarray(iuv()[..., ::-1]).save(path)
        else:
            np.savez(path, iuv=iuv())
    source = ImagesSource(tree(tmp_path / "in"), ImagesOptions(densepose=str(folder)))
    for samples in by_name(source).values():
        for sample in samples:
            np.testing.assert_array_equal(decode_map("densepose", sample.maps["densepose"]), iuv())
            assert sample.people == []
    assert source.info.options["densepose"] is True


def two_people() -> list[dict[str, object]]:
    """In a.jpg: someone surer at the left border over someone less sure; in sub/b.png nobody."""
    labels = torch.full((6, 4), 3)
    labels[0] = 0
    uv = torch.stack((torch.full((6, 4), 0.2), torch.full((6, 4), 1.0)))
    other = torch.arange(-4, 11)[5:].reshape(2, 5).T  # of a larger storage, and not contiguous
    other_uv = torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0)).permute(2, 0, 1)
    return [
        {
            "file_name": "elsewhere/a.jpg",
            "scores": torch.tensor([0.99, 0.8]),
            "pred_boxes_XYXY": torch.tensor([[-1.7, 2.9, 2.8, 8.9], [1.2, 6.3, 3.3, 11.4]]),
            "results": [(labels, uv), (other, other_uv)],
        },
        {"file_name": "elsewhere/sub/b.png", "scores": torch.zeros(0), "pred_boxes_XYXY": torch.zeros(0, 4)},
    ]


def test_a_densepose_dump_gives_maps_and_people(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "results.pkl", two_people())
    source = ImagesSource(tree(tmp_path / "in"), ImagesOptions(densepose=str(path), allow_missing=True))
    samples = by_name(source)
    (sample,) = samples["a.jpg"]
    charts = decode_map("densepose", sample.maps["densepose"])
    expected = np.zeros_like(charts)
    other, other_uv = two_people()[0]["results"][1]  # type: ignore[index]
    expected[6:11, 1:3, 0] = other
    expected[6:11, 1:3, 1:] = np.rint(other_uv.permute(1, 2, 0).numpy() * 255)
    expected[3:8, :3] = [3, 51, 255]  # from row 2, column −1, without its first row
    np.testing.assert_array_equal(charts, expected)
    certain, less = sample.people
    np.testing.assert_allclose(certain.box, [0, 2.9, 2.8, 8.9], atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(less.box, [1.2, 6.3, 3.3, 11.4], atol=1e-6)  # type: ignore[arg-type]
    assert certain.mask is not None
    (tmp_path / "mask.png").write_bytes(certain.mask)
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.sum() == 255 * 5 * 3
    assert (mask[3:8, :3] == 255).all()
    assert not decode_map("densepose", samples["sub/b.png"][0].maps["densepose"]).any()
    assert all("densepose" not in sample.maps for sample in samples["clip"])  # not in the dump, and allowed


def test_images_of_one_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    empty = {"scores": torch.zeros(0), "pred_boxes_XYXY": torch.zeros(0, 4)}
    names = ["x/a.jpg", "x/sub/a.jpg", "x/other/a.jpg"]
    dump = DensePoseDump(write_dump(tmp_path / "d.pkl", [{"file_name": name, **empty} for name in names]))
    assert [dump.find("sub/a.jpg"), dump.find("other/a.jpg"), dump.find("a.jpg"), dump.find("b/a.jpg")] == [
        *(1, 2, None, None)
    ]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    root, out = tree(tmp_path / "in"), fits(tmp_path / "out")
    options = ImagesOptions(fits=str(out))
    (out / "sub/b.png.fit.npz").unlink()
    with raises(InputError, subject="out"):
        ImagesSource(root, options).groups()
    tolerant = ImagesSource(root, ImagesOptions(fits=str(out), allow_missing=True))
    assert by_name(tolerant)["sub/b.png"][0].people == []
    write_fit(out / "a.jpg.fit.npz", fit_of(["c.jpg"], [(0, 0)]))
    with raises(InputError, subject="a.jpg.fit.npz", got="c.jpg"):
        by_name(tolerant)
    write_fit(out / "a.jpg.fit.npz", fit_of(["a.jpg"], [(0, 0)]))
    write(root / "a.jpg", image((30, 20), 10))
    with raises(InputError, subject="a.jpg.fit.npz"):
        by_name(tolerant)
    (out / "a.jpg.fit.npz").write_bytes(b"PK\x03\x04")
    with raises(InputError, subject="a.jpg.fit.npz"):
        by_name(tolerant)
    with raises(InputError, subject="gone"):
        ImagesSource(root, ImagesOptions(fits=str(tmp_path / "gone")))


def test_densepose_that_does_not_fit_is_named(tmp_path: Path) -> None:
    root, folder = tree(tmp_path / "in"), tmp_path / "dp"
    folder.mkdir()
    source = ImagesSource(root, ImagesOptions(densepose=str(folder)))
    group = source.groups()[0]
    with raises(InputError, subject="dp"):
        list(source.read(group))
    np.savez(folder / "a_IUV.npz", iuv=iuv()[:-1])
    with raises(InputError, subject="a_IUV.npz (iuv)"):
        list(source.read(group))
    np.savez(folder / "a_IUV.npz", iuv=np.full((SIZE[1], SIZE[0], 3), 25, np.uint8))
    with raises(InputError, subject="a_IUV.npz (iuv)"):
        list(source.read(group))
    with raises(InputError, subject="gone"):
        ImagesSource(root, ImagesOptions(densepose=str(tmp_path / "gone")))


# Takes: two photographs of a moment, of one person whom both show and of another whom the second one alone shows.


def take_of(names: list[str]) -> Fit:
    one = fit_of(names[:1], [(0, 0), (1, 0)])
    keypoints = np.full((2, 2, 33, 3), 0.5)
    keypoints[0, 1] = 0
    matrix = np.tile(np.eye(4), (2, 1, 1))
    matrix[1, :3, 3] = (0.25, 0, 0)
    views = TakeViews.build(
        names=names,
        image_size=[SIZE, SIZE],
        focal=[33.0, 44.0],
        principal_point=[(9.0, 16.0), (10.0, 15.0)],
        from_first=matrix,
        offset=[0.0, 0.0],
        frame=[[0], [0]],
        frame_names=[[name] for name in names],
        keypoints2d=keypoints,
        boxes=np.tile([1.0, 1, 9, 9], (2, 2, 1)),
        reprojection_error=np.zeros((2, 2)),
        weight=np.ones((2, 2)),
    )
    world = np.eye(4, dtype=np.float32)[None]
    world[0, 2, 3] = 3
    columns = {name: getattr(one, name) for name in COLUMNS}
    return Fit.build(**{**columns, "world_to_camera": world}, gender="female", body="smpl-female", views=views)


def takes(root: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        write(root / f"jump/{name}", image(SIZE, 10))
    return root


class TakeEstimator(Estimator):
    def __init__(self) -> None:
        super().__init__()
        self.calibrations: list[Path | None] = []

    def estimate_take(self, views: Sequence[InputItem], names: Sequence[str], calibration: Path | None = None) -> Fit:
        self.calibrations.append(calibration)
        assert [view.path.name for view in views] == list(names)
        return take_of(list(names))


@pytest.mark.parametrize("by", ["files", "estimator"])
def test_a_take_labels_all_of_its_views(tmp_path: Path, by: str) -> None:
    options, tools = ImagesOptions(views=True, sequence=False, split="test"), SourceTools(TakeEstimator())
    if by == "files":
        (tmp_path / "out").mkdir()
        take_of(["a.jpg", "b.jpg"]).save(tmp_path / "out/jump.fit.npz")
        options, tools = replace(options, fits=str(tmp_path / "out")), SourceTools()
    source = ImagesSource(takes(tmp_path / "in"), options, tools)
    ((name, (first, second)),) = by_name(source).items()
    assert (name, first.name, second.name) == ("jump", "jump/a.jpg", "jump/b.jpg")
    assert [[person.identity for person in sample.people] for sample in (first, second)] == [["jump/0"]] * 2
    assert (first.focal, second.focal) == (33.0, 44.0)
    assert second.principal_point == (10.0, 15.0)
    pelvises = [person.joints["smpl24"][0, :3] for person in (first.people[0], second.people[0])]  # type: ignore[index]
    np.testing.assert_allclose(pelvises[1] - pelvises[0], (0.25, 0, 0), atol=1e-6)
    np.testing.assert_allclose(second.world_to_camera, [[1, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 1, 3]], atol=1e-6)
    assert second.splits == {"images": "test"}


def test_videos_of_one_camera_are_of_several_takes(tmp_path: Path) -> None:
    """As in the laboratories' folders, whose file of cameras lies above them."""
    for take in ("leap", "run"):
        for camera in ("c1", "c2"):
            write(tmp_path / f"S1/jump/{take}.{camera}.jpg", image(SIZE, 10))
    cameras = [
        CalibratedCamera(name, SIZE, np.diag((30.0, 30.0, 1.0)), np.zeros(5), np.eye(3), np.zeros(3))
        for name in ("c1", "c2")
    ]
    write_calibration(tmp_path / "S1/cameras.json", cameras)
    estimator = TakeEstimator()
    options = ImagesOptions(views=True, sequence=False, calibration="cameras.json")
    source = ImagesSource(tmp_path, options, SourceTools(estimator))
    samples_by_name = by_name(source)
    assert {name: [sample.name for sample in samples] for name, samples in samples_by_name.items()} == {
        "S1/jump/leap": ["S1/jump/leap.c1.jpg", "S1/jump/leap.c2.jpg"],
        "S1/jump/run": ["S1/jump/run.c1.jpg", "S1/jump/run.c2.jpg"],
    }
    assert estimator.calibrations == [tmp_path / "S1/cameras.json"] * 2
    missing = ImagesSource(tmp_path, replace(options, calibration="none.json"), SourceTools(estimator))
    with raises(InputError, subject="none.json"):
        missing.groups()


def test_takes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    options = ImagesOptions(views=True, sequence=False)
    source = ImagesSource(takes(tmp_path / "in"), options)
    assert any("hpc combine" in note for note in source.notes)
    assert [len(sample.people) for sample in by_name(source)["jump"]] == [0, 0]
    (tmp_path / "out").mkdir()
    new_options = replace(options, fits=str(tmp_path / "out"))
    with raises(InputError, problem="names 1 fit files that are not there"):
        ImagesSource(tmp_path / "in", new_options).groups()
    take_of(["c.jpg", "d.jpg"]).save(tmp_path / "out/take.fit.npz")
    with raises(InputError, problem="is of other cameras", expected="a.jpg, b.jpg", got="c.jpg, d.jpg"):
        by_name(ImagesSource(tmp_path / "in", new_options))
    write(tmp_path / "in/alone/a.jpg", image(SIZE, 10))
    with raises(InputError, subject="alone"):
        ImagesSource(tmp_path / "in", options).groups()
