"""DeepFashion: images in both resolutions, pair lists, and what is told about damaged folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.paper_datasets import MANGLED, Estimator, deepfashion_tree, write

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.datasets import deepfashion
from humanpose_cli.lab.datasets.deepfashion import DeepFashionOptions, DeepFashionSource
from humanpose_cli.lab.datasets.estimators import SourceTools


@pytest.fixture(autouse=True)
def _small_official_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepfashion, "OFFICIAL_IMAGES", 7)
    monkeypatch.setattr(deepfashion, "OFFICIAL_PAIRS", {("patn", "train"): 2, ("patn", "test"): 1})


def test_a_group_is_a_garment_with_its_pairs(tmp_path: Path) -> None:
    source = DeepFashionSource(deepfashion_tree(tmp_path))
    groups = source.groups()
    names = ["WOMEN/Tees_Tanks/id_00007838/05", "WOMEN/Tees_Tanks/id_00007838/06", "MEN/Pants/id_00001611/01"]
    assert [(group.name, group.count) for group in groups] == list(zip(names, (3, 2, 2), strict=True))
    assert groups[0].pairs == {("patn", "train"): [(0, 1), (1, 0)]}
    assert groups[1].pairs == {("patn", "test"): [(1, 0)]}
    assert groups[2].pairs == {}
    samples = list(source.read(groups[0]))
    assert [sample.name.rpartition("/")[2] for sample in samples] == ["05_1_front", "05_2_side", "05_7_additional"]
    assert samples[1].image == (tmp_path / "Img/img/WOMEN/Tees_Tanks/id_00007838/05_2_side.jpg").read_bytes()
    assert samples[1].splits == {"inshop": "train", "patn": "train", "warp3d": "train"}
    assert samples[2].splits == {"inshop": "train", "warp3d": "train"}
    (person,) = samples[1].people
    assert person.clothing == names[0]
    assert person.identity == "WOMEN/Tees_Tanks/id_00007838"
    assert any("no poses" in note for note in source.notes)
    assert source.info.options["pair_lists"] == ["fasion-resize-pairs-train.csv", "fasion-resize-pairs-test.csv"]


def test_high_resolution_is_the_same_image_larger(tmp_path: Path) -> None:
    source = DeepFashionSource(deepfashion_tree(tmp_path, highres=True))
    sample = next(iter(source.read(source.groups()[0])))
    assert sample.size == (750, 1101)
    assert source.info.options["folder"] == "img_highres"
    low = DeepFashionSource(tmp_path, DeepFashionOptions(resolution="low"))
    assert next(iter(low.read(low.groups()[0]))).size == (256, 256)


def test_an_estimator_sees_single_images(tmp_path: Path) -> None:
    estimator = Estimator()
    source = DeepFashionSource(deepfashion_tree(tmp_path), tools=SourceTools(estimator))
    samples = list(source.read(source.groups()[1]))
    assert estimator.calls == [(2, False, True)]
    np.testing.assert_allclose([s.people[0].betas[0] * 256 for s in samples], [30, 40], atol=1)  # type: ignore[index]
    assert samples[0].people[0].clothing == "WOMEN/Tees_Tanks/id_00007838/06"
    assert samples[0].focal == 100.0
    without = DeepFashionSource(tmp_path, DeepFashionOptions(poses="none"), SourceTools(estimator))
    assert next(iter(without.read(without.groups()[1]))).people[0].poses is None


def test_only_paired_images_on_request(tmp_path: Path) -> None:
    source = DeepFashionSource(deepfashion_tree(tmp_path), DeepFashionOptions(images="paired"))
    assert [group.count for group in source.groups()] == [2, 2]


def test_images_of_a_split_may_be_listed_without_pairs(tmp_path: Path) -> None:
    deepfashion_tree(tmp_path)
    (tmp_path / "fasion-resize-pairs-train.csv").unlink()
    write(tmp_path / "train.lst", f"{MANGLED}1front.jpg\n")
    source = DeepFashionSource(tmp_path)
    group = source.groups()[0]
    assert not group.pairs
    splits = [sample.splits for sample in source.read(group)]
    assert [split.get("patn") for split in splits] == ["train", None, None]


def test_the_authors_splits_are_by_garment_and_random_pairs_are_of_their_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"WOMEN/Tees_Tanks/id_00007838/05": "test", "WOMEN/Tees_Tanks/id_00007838/06": "validation"}
    monkeypatch.setattr(deepfashion, "deepfashion_clothes", lambda: splits)
    source = DeepFashionSource(deepfashion_tree(tmp_path), DeepFashionOptions(random_pairs=50))
    groups = source.groups()
    splits_of_groups = [{sample.splits["warp3d"] for sample in source.read(group)} for group in groups]
    assert splits_of_groups == [{"test"}, {"validation"}, {"train"}]
    learning = DeepFashionSource(tmp_path, DeepFashionOptions(learn="train+validation"))
    splits_of_groups = [{sample.splits["warp3d"] for sample in learning.read(group)} for group in learning.groups()]
    assert splits_of_groups == [{"test"}, {"train"}, {"train"}]
    pairs = groups[0].pairs["warp3d", "test"]
    assert len(pairs) == 50
    assert {a for a, _ in pairs} == {b for _, b in pairs} == {0, 1, 2}
    assert all(a != b for a, b in pairs)
    assert [("warp3d", "test") in group.pairs for group in groups] == [True, False, False]
    groups_of_pairs = DeepFashionSource(tmp_path, DeepFashionOptions(images="paired", random_pairs=50)).groups()
    assert not any(("warp3d", "test") in group.pairs for group in groups_of_pairs)


def test_garments_of_one_image_are_in_no_split_of_the_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepfashion, "OFFICIAL_IMAGES", 6)
    path = deepfashion_tree(tmp_path) / "Eval/list_eval_partition.txt"
    lines = path.read_text().splitlines()
    other_lines = [line for line in lines if "id_00001611/01_4" not in line]
    assert len(other_lines) == len(lines) - 1
    path.write_text("\n".join(["6", *other_lines[1:]]) + "\n")
    source = DeepFashionSource(tmp_path)
    (sample,) = source.read(source.groups()[-1])
    assert sample.splits == {"inshop": "train"}


PARTITION, PAIRS = "Eval/list_eval_partition.txt", "fasion-resize-pairs-train.csv"


def test_missing_images_are_an_error_or_a_note(tmp_path: Path) -> None:
    deepfashion_tree(tmp_path)
    (tmp_path / "Img/img/WOMEN/Tees_Tanks/id_00007838/05_2_side.jpg").unlink()
    with raises(InputError, subject="partition.txt"):
        DeepFashionSource(tmp_path).groups()
    source = DeepFashionSource(tmp_path, DeepFashionOptions(allow_missing=True))
    assert source.groups()[0].count == 2
    assert source.groups()[0].pairs.get(("patn", "train"), []) == []
    assert sum("missing" in note for note in source.notes) == 2
