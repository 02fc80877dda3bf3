"""What is put into a dataset cache comes out again, to the last bit, and as every program can read it."""

from __future__ import annotations

import hashlib
import pickle
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from helpers.cache_source import SmallSource, all_samples, assert_same, random_person, random_sample
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.building import build_cache, make_plan
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.encoding import decode_png, encode_png
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Group, Person, Sample
from humanpose_cli.lab.cache.schema import COLUMNS, Header
from humanpose_cli.lab.cache.writing import write_shard

SOURCE = SmallSource(group_count=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    build_cache(SOURCE, folder, shard_size=6)
    return folder


@pytest.fixture(scope="module")
def samples():
    return all_samples(SOURCE)


def header(**fields) -> Header:
    empty = {"kind": "shard", "source": "s", "options": "{}", "tool_version": "0", "plan": "", "content_digest": ""}
    counts = {"shard": 0, "shard_count": 1, "picture_count": 0, "person_count": 0, "group_count": 0}
    return Header(**{**empty, **counts, **fields})


def one_shard(path, samples, **group):
    write_shard(path, header(), [Group("all", len(samples), **group)], lambda group: samples)
    return open_cache(path)


def test_every_sample_comes_back(folder, samples):
    cache = open_cache(folder)
    assert len(cache) == len(samples) == 15
    assert len(cache.shard_paths) == 3
    for row, sample in enumerate(samples):
        assert_same(cache.sample(row), sample)
    assert_same(cache.sample(-1), samples[-1])


def test_a_shard_is_a_cache(folder, samples):
    cache = open_cache(folder / "shard-00001.h5")
    assert len(cache) == 6
    for row in range(6):
        assert_same(cache.sample(row), samples[6 + row])
    assert cache.pairs("pairs", "train").tolist() == [[0, 1], [1, 0], [3, 4], [4, 3]]


def test_columns_are_read_over_shards(folder, samples):
    cache = open_cache(folder, max_open=1)
    people = [person for sample in samples for person in sample.people]
    unknown = np.full(72, np.nan, np.float32)
    poses = np.stack([unknown if person.poses is None else person.poses for person in people])
    np.testing.assert_array_equal(cache.people["poses"][:], poses)
    rows = np.array([14, 0, 7, 7, 3])
    np.testing.assert_array_equal(cache.people["poses"][rows], poses[rows])
    np.testing.assert_array_equal(cache.people["poses"][2], poses[2])
    np.testing.assert_array_equal(cache.people["poses"][1:14:4], poses[1:14:4])
    assert cache.people["identity"][:].tolist() == [person.identity for person in people]
    assert cache.images["name"][[14, 2]].tolist() == [samples[14].name, samples[2].name]
    assert cache.people["poses"][[]].shape == (0, 72)
    assert cache.people["identity"][[]].shape == (0,)
    mask = cache.people["identity"][:] == "Zoë"
    np.testing.assert_array_equal(cache.people["poses"][mask], poses[mask])
    with raises(UsageError, subject="rows of people", got="99"):
        cache.people["poses"][[0, 99]]
    with pytest.raises(KeyError):
        cache.people["keypoints/h36m17"]


def test_rows_of_other_tables_count_over_the_complete_cache(folder, samples):
    cache = open_cache(folder)
    owners = [row for row, sample in enumerate(samples) for _ in sample.people]
    assert cache.people["picture"][:].tolist() == owners
    firsts = np.cumsum([0, *(len(sample.people) for sample in samples)])
    assert cache.images["first_person"][:].tolist() == firsts[:-1].tolist()
    for row, sample in enumerate(samples):
        assert list(cache.people_of(row)) == list(range(firsts[row], firsts[row + 1]))
        for index, truth in enumerate(sample.people):
            one = cache.sample(row, person=index, maps=(), labels=["box", "keypoints/smpl24"])
            wanted = {name: values for name, values in truth.keypoints.items() if name == "smpl24"}
            assert_same(one.people[index], Person(box=truth.box, keypoints=wanted))
            assert one.people[:index] == index * (Person(),)
            assert (one.maps, one.image) == ({}, sample.image)


def test_what_belongs_together(folder, samples):
    cache = open_cache(folder)
    assert cache.splits == {"all": ("train",), "small": ("test", "train")}
    test = [row for row, sample in enumerate(samples) if sample.splits["small"] == "test"]
    assert cache.rows("small", "test").tolist() == test
    assert cache.rows("small").tolist() == list(range(15))
    assert cache.pair_splits == {"pairs": ("train",)}
    assert cache.pairs("pairs", "train").tolist() == [
        pair for start in range(0, 15, 3) for pair in ([start, start + 1], [start + 1, start])
    ]
    assert cache.groups == {f"clip {number}": range(3 * number, 3 * number + 3) for number in range(5)}
    assert cache.sequences == ("video 0", "video 1", "video 2")
    for name in cache.sequences:
        rows = cache.sequence(name).tolist()
        expected = [row for row, sample in enumerate(samples) if sample.sequence == name]
        assert rows == sorted(expected, key=lambda row: samples[row].frame)
    assert cache.find("clip3/1") == 10
    for wrong in (lambda: cache.find("nobody"), lambda: cache.rows("other"), lambda: cache.sequence("video 9")):
        with pytest.raises(UsageError):
            wrong()
    message = "small/validation: is no protocol of this cache, expected all/train, small/test"
    with pytest.raises(UsageError, match=message):
        cache.rows("small", "val")


@pytest.mark.slow
def test_a_sequence_is_in_the_order_of_its_frames_whatever_that_of_its_shards(tmp_path):
    class Backwards(SmallSource):
        def read(self, group):
            for sample in super().read(group):
                yield replace(sample, sequence="all", frame=-sample.frame)

    build_cache(Backwards(group_count=3), tmp_path, shard_size=3)
    cache = open_cache(tmp_path)
    rows = cache.sequence("all")
    assert (np.diff(cache.images["frame"][rows]) > 0).all()
    assert sorted(rows.tolist()) == list(range(9))


def test_images_and_maps_are_decoded(folder, samples):
    cache = open_cache(folder)
    for name, spec in LABEL_MAPS.items():
        pixels = cache.map(0, name)
        assert pixels.dtype == spec.dtype
        assert pixels.shape == ((40, 48) if spec.channels == 1 else (40, 48, 3))
        np.testing.assert_array_equal(pixels, decode_png(samples[0].maps[name]))
        assert cache.map(1, name) is None
    with raises(UsageError, problem="is no label map"):
        cache.map(0, "colours")
    import io

    from PIL import Image

    assert cache.sample(1).image == samples[1].image
    np.testing.assert_array_equal(cache.image(1), np.array(Image.open(io.BytesIO(samples[1].image))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_maps_keep_every_value(dtype, shape):
    """Colour channels included, whose order the coder swaps twice."""
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    np.testing.assert_array_equal(decode_png(encode_png(pixels)), pixels)


def test_other_programs_read_it(folder, samples):
    """Through the index alone, as h5py follows its links."""
    with h5py.File(folder / "index.h5") as index:
        assert index.attrs["source"] == b"small"
        shard = index["links/00002"]
        np.testing.assert_array_equal(shard["people/poses"][0], samples[12].people[0].poses)
        assert shard["people/poses"].attrs["units"] == b"radians"
        assert shard["people/poses"].attrs["known"] == 2
        assert shard["people/surface_points/values"].attrs["known"] == 2
        assert shard["people/mask/values"].attrs["known"] == 2
        assert shard["people/keypoints/coco17"].attrs["skeleton"] == b"coco17"
        image = shard["pictures/image"]
        start, stop = image["offsets"][1:3]
        assert image["values"][start:stop].tobytes() == samples[13].image
        assert shard["people/identity"][0].decode() == "Zoë"
        assert h5py.check_string_dtype(shard["people/identity"].dtype).encoding == "utf-8"


def test_only_labels_that_somebody_has_are_stored(tmp_path):
    random = np.random.default_rng(0)
    samples = [random_sample(random, "a", full=False), replace(random_sample(random, "b", full=False), focal=3.0)]
    cache = one_shard(tmp_path / "few.h5", samples)
    assert set(cache.people) == {"picture", "identity", "clothing", "activity", "gender", "body", "box"}
    assert set(cache.images) == {"name", "size", "focal", "frame", "first_person", "person_count"}
    np.testing.assert_array_equal(cache.images["focal"][:], [np.nan, 3.0])
    assert cache.labels["people/box"] == 2
    assert cache.labels["pictures/focal"] == 1
    assert cache.labels["people/clothing"] == 0
    assert "people/poses" not in cache.labels


@pytest.mark.slow
def test_shards_with_different_labels_are_one_table(tmp_path):
    random = np.random.default_rng(0)
    truth = random_person(random, (48, 40), full=True)

    class MixedSource(SmallSource):
        def read(self, group):
            for number in range(group.count):
                sample = random_sample(np.random.default_rng(number), f"{group.name}/{number}", full=False)
                yield replace(sample, people=(truth,)) if group.key == 1 else sample

    build_cache(MixedSource(group_count=3, count=1), tmp_path, shard_size=1)
    poses = open_cache(tmp_path).people["poses"][:]
    assert poses.dtype == np.float32
    assert np.isnan(poses[[0, 2]]).all()
    np.testing.assert_array_equal(poses[1], truth.poses)


def test_no_people_and_nothing(tmp_path):
    """Images without anybody make empty tables."""
    random = np.random.default_rng(0)
    cache = one_shard(tmp_path / "empty.h5", [random_sample(random, "a", full=False, people=0)])
    assert cache.people.row_count == 0
    assert cache.people["identity"][:].tolist() == []
    assert cache.sample(0).people == ()
    assert list(cache.people_of(0)) == []


def test_texts_of_any_language_and_length(tmp_path):
    random = np.random.default_rng(0)
    names = ["ü/Ωmega", "人" * 200, "a b"]
    people = (Person(identity="", clothing="żółty płaszcz"),)
    samples = [replace(random_sample(random, name, full=False), people=people) for name in names]
    cache = one_shard(tmp_path / "texts.h5", samples)
    assert cache.images["name"][:].tolist() == names
    assert [cache.sample(row).name for row in range(3)] == names
    assert cache.people["clothing"][1] == "żółty płaszcz"


@pytest.mark.extensive
def test_equal_samples_make_equal_bytes(tmp_path, folder):
    """At another time, in another folder, with another number of processes."""
    time.sleep(1.1)  # HDF5 counts time in seconds
    build_cache(SOURCE, tmp_path, shard_size=6, workers=2)
    names = sorted(path.name for path in folder.glob("*.h5"))
    assert names == ["index.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_digest_is_of_the_contents(tmp_path):
    """As anybody can compute it with h5py."""
    pixel = encode_png(np.zeros((2, 3), np.uint8))
    person = Person(identity="me", poses=np.arange(72, dtype=np.float32), box=np.array([0, 0, 1, 1]))
    sample = Sample("a", pixel, (3, 2), 100.0, people=(person,), splits={"p": "train"})
    cache = one_shard(tmp_path / "a.h5", [replace(sample, image=pixel)])
    again = one_shard(tmp_path / "b.h5", [replace(sample, focal=101.0)])
    assert again.header.content_digest != cache.header.content_digest

    datasets = {}
    with h5py.File(tmp_path / "a.h5") as file:
        file.visititems(lambda name, entry: datasets.__setitem__(name, entry[()]) if hasattr(entry, "dtype") else None)
    digest = hashlib.sha256()
    for name in sorted(datasets):
        array = datasets[name]
        shape = ",".join(str(size) for size in array.shape)
        digest.update(f"{name}\0{array.dtype.str}\0{shape}\0".encode() + array.tobytes())
    assert cache.header.content_digest == digest.hexdigest()


def test_a_cache_can_be_pickled(folder, samples):
    cache = pickle.loads(pickle.dumps(open_cache(folder, max_open=2)))
    assert_same(cache.sample(7), samples[7])


def test_groups_are_dealt_out_by_their_sizes():
    class SizedSource(SmallSource):
        def groups(self):
            return [Group(str(number), count) for number, count in enumerate((2, 3, 2, 9, 4, 1, 1))]

    plan = make_plan(SizedSource(), 6)
    assert [[group.count for group in shard] for shard in plan.shards] == [[2, 3], [2], [9], [4, 1, 1]]


def test_all_columns_were_tried(folder):
    """The source of these tests has one of everything, but for skeletons, which are all alike."""
    labels = set(open_cache(folder).labels)
    left = {column.path for column in COLUMNS if column.table in ("pictures", "people")} - labels
    assert {path.rpartition("/")[0] for path in left} <= {"people/keypoints", "people/joints"}
