"""The contents of a dataset cache."""

from __future__ import annotations

import pytest
from helpers.cache_source import SmallSource, all_samples

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.contents import contents_lines, describe


@pytest.mark.slow
def test_contents(tmp_path):
    source = SmallSource()
    build_cache(source, tmp_path, shard_size=6)
    contents = describe(open_cache(tmp_path))
    samples = all_samples(source)
    people = [person for sample in samples for person in sample.people]
    numbers = [contents[name] for name in ("pictures", "people", "groups", "sequences", "shards", "shards_planned")]
    assert numbers == [15, len(people), 5, 3, 3, 3]
    assert contents["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("shard-*.h5"))
    assert contents["sizes"] == [{"width": 48, "height": 40, "pictures": 15}]
    assert contents["people_in_a_picture"] == {"0": 5, "1": 5, "2": 5}
    assert contents["different"] == {"identity": 2, "clothing": 1, "activity": 1}
    assert contents["splits"] == {"all/train": 15, "small/test": 6, "small/train": 9}
    assert contents["pairs"] == {"pairs/train": 10}
    labels = contents["labels"]
    pose_count = sum(person.poses is not None for person in people)
    assert labels["people/poses"] == labels["people/mask"] == labels["people/surface_points"] == pose_count
    assert labels["people/box"] == 15
    assert labels["pictures/maps/depth"] == labels["pictures/focal"] == 10
    lines = dict(contents_lines(contents))
    assert lines["protocol small"] == "test 6, train 9"
    assert lines["different"] == "2 identities, 1 outfit, 1 activity"
    assert lines["labels of people"].startswith("100 %: identity, box; 66 %: ")
