import pytest

from humanpose_cli.core.conventions import (
    BLAZEPOSE33,
    COCO17,
    COCO21,
    H36M17,
    REPOSING19,
    SKELETONS,
    SMPL24,
    Skeleton,
    skeleton_by_name,
    skeletons_with,
)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_trees_are_complete(skeleton):
    assert len(set(skeleton.joint_names)) == len(skeleton)
    assert all(p in skeleton.joint_names for p in skeleton.parent_names if p)
    for joint in range(len(skeleton)):
        steps = 0
        while joint >= 0:
            joint, steps = skeleton.parents[joint], steps + 1
            assert steps <= len(skeleton), "the tree has a cycle"


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_mirror_swaps_sides_and_is_an_involution(skeleton):
    for joint, mirrored in enumerate(skeleton.mirror):
        assert skeleton.mirror[mirrored] == joint
        name = skeleton.joint_names[joint]
        if name.startswith("left_"):
            assert skeleton.joint_names[mirrored] == name.replace("left_", "right_")
        elif not name.startswith("right_"):
            assert mirrored == joint


def test_smpl_parents_come_first_and_have_the_published_order():
    assert all(p < c for p, c in SMPL24.bones)
    assert SMPL24.parents == (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)


@pytest.mark.parametrize(
    ("skeleton", "rows"),
    [
        (COCO17, {"nose": 0, "left_shoulder": 5, "right_wrist": 10, "left_hip": 11, "right_ankle": 16}),
        (COCO21, {"nose": 0, "right_ankle": 16, "left_heel": 17, "right_heel": 18, "left_foot_index": 19}),
        (BLAZEPOSE33, {"nose": 0, "left_ear": 7, "left_shoulder": 11, "right_hip": 24, "right_foot_index": 32}),
        (H36M17, {"pelvis": 0, "right_hip": 1, "left_hip": 4, "thorax": 8, "left_shoulder": 11, "right_wrist": 16}),
        (REPOSING19, {"neck": 0, "left_shoulder": 2, "right_ankle": 13, "left_eye": 14, "right_ear": 17, "pelvis": 18}),
        (SMPL24, {"pelvis": 0, "left_hip": 1, "neck": 12, "head": 15, "left_wrist": 20, "right_hand": 23}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_published_rows(skeleton, rows):
    assert {name: skeleton.index(name) for name in rows} == rows


def test_coco21_is_coco17_with_the_feet_of_blazepose33():
    assert COCO21.joint_names[:17] == COCO17.joint_names
    assert COCO21.joint_names[17:] == BLAZEPOSE33.joint_names[-4:]
    assert {name: COCO21.parent_names[COCO21.index(name)] for name in COCO21.joint_names[17:]} == {
        "left_heel": "left_ankle",
        "right_heel": "right_ankle",
        "left_foot_index": "left_heel",
        "right_foot_index": "right_heel",
    }
    assert skeleton_by_name("coco21") is COCO21


def test_lookups_name_what_there_is():
    assert skeleton_by_name("coco17") is COCO17
    assert skeletons_with(17) == [H36M17, COCO17]
    assert skeletons_with(5) == []
    with pytest.raises(KeyError, match="reposing19"):
        skeleton_by_name("mpii")
    with pytest.raises(KeyError, match="smpl24"):
        SMPL24.index("nose")
    with pytest.raises(ValueError, match="odd"):
        Skeleton("odd", ("a", "b"), ("",))
