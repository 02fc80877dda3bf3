"""People of a target that drive people of a photograph, chosen by id, by size or from left to right."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from helpers.errors import raises
from helpers.tracked_fits import fit_of_tracks

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import write_image
from humanpose_cli.io.pose_files import JointTarget
from humanpose_cli.reposing.driving import TargetPeople, motion_of_fit, target_of_each
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.targets import read_target

# Person 0 is the largest and on the right; person 1 comes later, on the left; person 2 is small, between them.
THREE = {0: [(t, 60, 30) for t in range(5)], 1: [(2, 0, 20), (4, 0, 20)], 2: [(0, 40, 5)]}


def frames_of(target):
    """(track, frame) of each pose."""
    return [tuple(row) for row in target.params.trans[:, :2].astype(int).tolist()]


def test_a_motion_of_one_person_is_what_the_target_shows_of_them() -> None:
    fit = fit_of_tracks(THREE)
    largest, later = motion_of_fit(fit, "largest"), motion_of_fit(fit, 1, "a.mp4", range(60, 66))
    assert frames_of(largest) == [(0, t) for t in range(5)]
    assert (largest.person, later.person) == (0, 1)
    assert frames_of(later) == [(1, 2), (1, 2), (1, 4)]  # held where they are not found
    assert later.frame_numbers == (62, 63, 64)
    (warning,) = later.warnings
    assert "person 1 of the target is not shown in 4 of 6 frames, but in frames 62 to 64" in warning
    with raises(InputError, subject="a.mp4", problem="has no person 3", expected="0, 1 or 2"):
        motion_of_fit(fit, 3, "a.mp4")
    with raises(InputError, problem="no person 1", expected="0, the only one"):
        motion_of_fit(fit_of_tracks({0: [(0, 0, 1)]}), (0, 1))
    with raises(InputError, problem="shows no person whose pose could be taken"):
        motion_of_fit(fit_of_tracks({}), "largest")


def test_motions_of_several_people_are_of_the_same_frames() -> None:
    motion = motion_of_fit(fit_of_tracks(THREE), "all", numbers=range(10, 16))
    assert isinstance(motion, TargetPeople)
    assert (len(motion), motion.frame_numbers) == (5, (10, 11, 12, 13, 14))
    assert [person.person for person in motion.people] == [1, 2, 0]  # from left to right
    assert frames_of(motion.people[0]) == [(1, 2), (1, 2), (1, 2), (1, 2), (1, 4)]
    assert frames_of(motion.people[1]) == [(2, 0)] * 5
    pair = motion_of_fit(fit_of_tracks(THREE), (1,))
    assert isinstance(pair, TargetPeople)
    assert (len(pair), len(pair.people)) == (3, 1)


def test_people_are_paired_from_left_to_right_or_as_named() -> None:
    photo = fit_of_tracks({0: [(0, 10, 40)], 1: [(0, 55, 20)]}, frames=1)  # the larger one on the left
    motion = motion_of_fit(fit_of_tracks(THREE), "all")

    def drivers(options: ReposeOptions, rows: list[int]) -> list[int | None]:
        return [target.person for target in target_of_each(motion, photo, rows, options)]

    everyone = ReposeOptions("all", "all")
    assert drivers(everyone, [0, 1]) == [1, 0]  # the two largest of three
    assert drivers(everyone, [1]) == [0]
    assert drivers(ReposeOptions("1=2,0=0"), [1, 0]) == [2, 0]
    one = motion_of_fit(fit_of_tracks(THREE), 1)
    assert target_of_each(one, photo, [0, 1], ReposeOptions("all", "1")) == [one, one]


def test_what_the_options_name() -> None:
    assert ReposeOptions("0=1,1=0").pairs == {0: 1, 1: 0}
    assert ReposeOptions("0=1,1=1,2=0").drivers == (1, 0)
    assert (ReposeOptions("2,0").chosen, ReposeOptions("2,0").pairs) == ({2: None, 0: None}, {})
    assert [ReposeOptions(target_person=each).drivers for each in ("largest", "all", "4")] == ["largest", "all", 4]
    for person in ("bob", "0=", "=1", "0=all", "largest,1", "-1", ""):
        with raises(UsageError, subject="person", problem="is not known"):
            _ = ReposeOptions(person).pairs
    with raises(UsageError, subject="person", problem="is named twice"):
        ReposeOptions("0=1,0=2")
    with raises(UsageError, subject="person", problem="names the target's person for some only"):
        ReposeOptions("0=1,1")
    with raises(UsageError, subject="target_person", problem="is not known"):
        ReposeOptions(target_person="0=1")
    with raises(UsageError, subject="target_person", problem="is named by `person` already"):
        ReposeOptions("0=1", "all")


def test_a_fit_of_everybody_is_made_only_where_others_than_the_largest_are_wanted(tmp_path: Path) -> None:
    write_image(tmp_path / "pose.png", np.zeros((8, 8, 3), np.uint8))
    calls: list[object] = []

    class Fitter:
        identity: ClassVar = {}

        def fit(self, images: object, *, people: str, **_: object) -> FitRecord:
            calls.append(people)
            return fit_of_tracks(THREE)

    for drivers in ("largest", "all", (0, 1), "largest", 2):
        read_target(tmp_path / "pose.png", Fitter, drivers=drivers, fits=tmp_path / "targets")
    assert calls == ["largest", "all"]
    assert len(list((tmp_path / "targets").iterdir())) == 2


def test_fit_files_and_motions_of_one_person(tmp_path: Path) -> None:
    fit, joints = fit_of_tracks(THREE), JointTarget(np.zeros((1, 24, 3)), SMPL24)
    write_fit(tmp_path / "a.fit.npz", fit)
    both = read_target(tmp_path / "a.fit.npz", object, drivers=(0, 1), frames=FrameRange(1, 3))
    assert [frames_of(person) for person in both.people] == [[(1, 2), (1, 2)], [(0, 1), (0, 2)]]
    assert read_target(both, object, drivers="all") is not None
    with raises(UsageError, subject="target_person", problem="cannot be chosen: the target is one motion"):
        read_target(joints, object, drivers=1)
    one = motion_of_fit(fit, 1)
    assert len(read_target(one, object, drivers=1)) == 3
    with raises(UsageError, problem="cannot be chosen"):
        read_target(one, object, drivers=2)
