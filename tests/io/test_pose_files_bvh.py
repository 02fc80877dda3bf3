"""BVH: generated files against scipy's rotations, the names of the usual programs, units, damage."""

import re

import numpy as np
import pytest
from helpers.resting_person import person
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.io.pose_files.bvh import read_bvh_motion

REST = dict(zip(SMPL24.joint_names, person(SMPL24), strict=True))

JOINTS = (
    *("pelvis", "spine1", "spine2", "spine3", "neck", "head", "hip", "knee", "ankle", "foot"),
    *("collar", "shoulder", "elbow", "wrist", "hand"),
)


def parts(names: str, hips: str = "Hips", spine: str = "Spine Spine1 Spine2 Neck Head") -> dict[str, str]:
    """A program's names of the joints, those of the limbs first."""
    return dict(zip(JOINTS, f"{hips} {spine} {names}".split(), strict=True))


ABDOMEN = "Abdomen Chest Chest2 Neck Head"
MIXAMO = parts("UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand HandMiddle1")
PLAIN = parts("Hip Knee Ankle Toe Collar Shoulder Elbow Wrist Hand", spine=ABDOMEN)
BLENDER = parts("thigh shin foot toe shoulder upper_arm forearm hand f_middle.01")
UNREAL = parts("thigh calf foot ball clavicle upperarm lowerarm hand middle_01")
BIPED = parts("Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand Finger2")
POSER = parts("Thigh Shin Foot Toe Collar Shldr ForeArm Hand Mid1")
ACCLAIM = parts("femur tibia foot toes clavicle humerus radius wrist hand", spine="Spine Spine1 Spine2 lowerneck head")
MAKEHUMAN = parts("upperleg01 lowerleg01 foot toe clavicle upperarm01 lowerarm01 wrist hand")
SOMA = parts("Leg Shin Foot ToeBase Shoulder Arm ForeArm Hand HandMiddle1", spine="Spine Spine1 Chest Neck1 Head")
ROKOKO = parts("Thigh Shin Foot Toe Shoulder Arm ForeArm Hand HandMiddle1")
OPTITRACK = parts("Thigh Shin Foot Toe Shoulder UArm FArm Hand Middle1")
VRM = parts("UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand Middle1")
OPENSIM = {**ACCLAIM, "ankle": "talus"}
MOCOPI = parts(
    "up_leg low_leg foot toes shoulder up_arm low_arm hand middle_1", spine="torso_1 torso_3 torso_6 neck_1 Head"
)
ARKIT = parts(
    "upLeg leg foot toes shoulder_1 arm forearm hand handMiddle_1", spine="spine_1 spine_3 spine_6 neck_1 Head"
)
MAYA = {**PLAIN, "collar": "Scapula", "foot": "Toes"}

DIALECTS = {
    "n_smpl": ("m_avg_{S}_{part}", PLAIN),
    "vicon": ("Bob_{Side}{part}", MIXAMO),
    "optitrack": ("Skeleton1_{S}{part}", OPTITRACK),
    "rigify": ("DEF-{part}.{S}", BLENDER),
    "vrm": ("J_Bip_{S}_{part}", VRM),
    "iclone": ("CC_Base_{S}_{part}", UNREAL),
    "source": ("ValveBiped.Bip01_{S}_{part}", BIPED),
    "soma": ("{Side}{part}", SOMA),
    "rokoko": ("{Side}{part}", ROKOKO),
    "second life": ("m{part}{Side}", PLAIN),
    "kinect": ("{part}{Side}", PLAIN),
    "azure kinect": ("{part}_{SIDE}", {joint: name.upper() for joint, name in PLAIN.items()}),
    "opensim": ("{part}_{s}", OPENSIM),
    "mocopi": ("{s}_{part}", MOCOPI),
    "arkit": ("{side}_{part}_joint", ARKIT),
    "deepmotion": ("{s}_{part}_JNT", {joint: name.lower() for joint, name in MIXAMO.items()}),
    "advanced skeleton": ("{part}_{S}", MAYA),
    "smplx": ("{side}_{part}", {joint: name.lower() for joint, name in PLAIN.items()}),
    "unity": ("{Side}{part}", VRM),
    "mixamo": ("mixamorig:{Side}{part}", MIXAMO),
    "mixamo underscore": ("mixamorig_{Side}{part}", MIXAMO),
    "cmu": ("{Side}{part}", MIXAMO),
    "motionbuilder": ("Character1_{Side}{part}", MIXAMO),
    "plain": ("{Side}{part}", PLAIN),
    "lower case": ("{side}_{part}", PLAIN),
    "smpl": ("{S}_{part}", PLAIN),
    "blender": ("{part}.{S}", BLENDER),
    "unreal": ("{part}_{s}", UNREAL),
    "biped": ("Bip01 {S} {part}", BIPED),
    "poser": ("{s}{part}", POSER),
    "acclaim": ("{s}{part}", ACCLAIM),
    "makehuman": ("{part}.{S}", MAKEHUMAN),
}


def bvh_name(joint: str, dialect: str) -> str:
    pattern, parts = DIALECTS[dialect]
    for side in ("left", "right"):
        if joint.startswith(side):
            part = parts[joint.removeprefix(side + "_")]
            forms = {"Side": side.title(), "SIDE": side.upper(), "side": side, "S": side[0].upper(), "s": side[0]}
            return pattern.format(**forms, part=part)
    start, _, end = re.sub(r"\{(Side|SIDE|side)\}_?", "", pattern).partition("{part}")
    start, end = re.sub(r"[ _]?\{[Ss]\}_?", "_C_" if "J_Bip" in start else "_", start), re.sub(r"[_.]\{[Ss]\}", "", end)
    return f"{start.removeprefix('_')}{parts[joint]}{end}"


class Generated:
    """A random motion of the standing person, written as BVH and posed independently with scipy."""

    def __init__(self, dialect="mixamo", scale=1.0, seed=0, frames=4, orders=True, joints=SMPL24.joint_names):
        rng = np.random.default_rng(seed)
        self.dialect, self.scale, self.frames, self.kept = dialect, scale, frames, [*joints]
        all_orders = ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"]
        self.order = {j: str(rng.choice(all_orders)) if orders else "ZXY" for j in self.kept}
        self.angles = {j: rng.uniform(-80, 80, (frames, 3)) for j in self.kept}
        self.root = rng.normal(0, 1, (frames, 3))

    def parent(self, joint):
        """The nearest ancestor that the file has."""
        while (joint := SMPL24.parent_names[SMPL24.index(joint)]) and joint not in self.kept:
            pass
        return joint

    def children(self, joint):
        return [child for child in self.kept if self.parent(child) == joint]

    def positions(self) -> dict[str, np.ndarray]:
        """(T, 3) metres, y up, by joint."""
        found, turns = {"pelvis": self.root}, {}

        def pose(joint, above):
            # Intrinsic rotations in the listed order: capital letters in scipy.
            turns[joint] = above * Rotation.from_euler(self.order[joint], self.angles[joint], degrees=True)
            for child in self.children(joint):
                found[child] = found[joint] + turns[joint].apply(REST[child] - REST[joint])
                pose(child, turns[joint])

        pose("pelvis", Rotation.identity(self.frames))
        return found

    def text(self) -> str:
        lines, columns = ["HIERARCHY"], [self.root / self.scale]

        def write(joint, depth):
            tab = "\t" * depth
            kind, channels = ("JOINT", "3 ") if depth else ("ROOT", "6 Xposition Yposition Zposition ")
            offset = (REST[joint] - REST[self.parent(joint)] if depth else np.zeros(3)) / self.scale
            lines.extend((f"{tab}{kind} {bvh_name(joint, self.dialect)}", f"{tab}{{"))
            lines.append(f"{tab}\tOFFSET {offset[0]:.9f} {offset[1]:.9f} {offset[2]:.9f}")
            lines.append(f"{tab}\tCHANNELS {channels}" + " ".join(f"{axis}rotation" for axis in self.order[joint]))
            columns.append(self.angles[joint])
            for child in self.children(joint):
                write(child, depth + 1)
            if not self.children(joint):
                site = f"\tEnd Site\n\t{{\n\t\tOFFSET 0.0 {0.1 / self.scale} 0.0\n\t}}"
                lines.extend(tab + line for line in site.split("\n"))
            lines.append(f"{tab}}}")

        write("pelvis", 0)
        values = np.concatenate(columns, axis=1)
        lines += ["MOTION", f"Frames: {self.frames}", "Frame Time: 0.0083333"]
        lines += [" ".join(f"{value:.9f}" for value in row) for row in values]
        return "\n".join(lines) + "\n"

    def save(self, path, *changes):
        """Write the file with some texts replaced once."""
        text = self.text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")
        return path

    def at_rest(self):
        for angles in self.angles.values():
            angles[:] = 0
        return self

    def assert_head(self, pose, axes=lambda y_up: y_up * (1, -1, -1)):
        np.testing.assert_allclose(pose.joints[:, SMPL24.index("head")], axes(self.positions()["head"]), atol=2e-6)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_positions_agree_with_scipy_for_all_rotation_orders_and_names(tmp_path, dialect):
    made = Generated(dialect, seed=len(dialect))
    pose = read_pose(made.save(tmp_path / "x.bvh"), axes="y-up")  # its random motion stands along any axis
    expected = made.positions()
    assert (pose.skeleton, len(pose)) == (SMPL24, 4)
    assert pose.frame_rate == pytest.approx(120, rel=1e-4)
    hands = () if dialect in {"blender", "rigify"} else ("left_hand", "right_hand")
    spine = ("spine1", "spine2", "spine3")
    for row, joint in enumerate(SMPL24.joint_names):
        confidence = pose.joint_confidence[row]
        if joint in {"left_hand", "right_hand"} and joint not in hands:
            assert confidence == 0
            continue
        assert confidence == (0.5 if joint in spine else 1.0), joint
        in_camera = expected[joint] * (1, -1, -1)
        np.testing.assert_allclose(pose.joints[:, row], in_camera, atol=2e-6, err_msg=joint)


@pytest.mark.parametrize(
    ("unit", "metres"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001), ("inch", 0.0254), ("cmu", 0.0254 / 0.45)]
)
@pytest.mark.parametrize("person_size", [0.75, 1.0, 1.15])
def test_units_of_children_and_adults(tmp_path, unit, metres, person_size):
    made = Generated("cmu", scale=metres / person_size)
    pose = read_pose(made.save(tmp_path / f"{unit}.bvh"))
    expected = made.positions()["left_wrist"] * (1, -1, -1) * person_size
    np.testing.assert_allclose(pose.joints[:, SMPL24.index("left_wrist")], expected, rtol=1e-5, atol=1e-5)


def test_axes(tmp_path):
    made = Generated("cmu")
    path = made.save(tmp_path / "x.bvh")
    made.assert_head(read_pose(path, axes="camera"), lambda head: head)
    made.assert_head(read_pose(path, axes="z-up"), lambda head: head[:, [0, 2, 1]] * (1, -1, 1))


def along_z(text: str) -> str:
    """The file with a rest skeleton that stands along z: offsets (x, y, z) become (x, −z, y)."""
    return re.sub(r"OFFSET (\S+) (\S+) (\S+)", lambda m: f"OFFSET {m[1]} {-float(m[3])} {m[2]}", text)


def test_a_skeleton_that_stands_along_z_is_noticed(tmp_path):
    (tmp_path / "x.bvh").write_text(along_z(Generated("cmu", frames=1, orders=False).at_rest().text()))
    joints = read_pose(tmp_path / "x.bvh").joints[0]
    head, foot = joints[SMPL24.index("head")], joints[SMPL24.index("left_foot")]
    assert head[1] < foot[1] - 1.2
    assert foot[2] < joints[SMPL24.index("left_ankle")][2]


@pytest.mark.parametrize(
    ("rest", "turn", "axes"),
    [("y", 90, "z-up"), ("z", -90, "y-up"), ("y", 0, "y-up"), ("z", 0, "z-up"), ("y", 180, "y-up")],
)
def test_a_motion_that_stands_along_another_axis_than_the_rest_skeleton(tmp_path, rest, turn, axes):
    """The last one stands on its hands in three of four frames: axes are not turned over for that."""
    made = Generated("cmu", orders=False).at_rest()
    made.angles["pelvis"][1:, 1] = turn  # x of ZXY; the first frame is the rest pose
    made.root[:] = 0
    (tmp_path / "x.bvh").write_text(along_z(made.text()) if rest == "z" else made.text())
    pose = read_pose(tmp_path / "x.bvh")
    head, foot = (pose.joints[1:, SMPL24.index(joint), 1] for joint in ("head", "left_foot"))
    assert (np.sign(foot - head) == (-1 if turn == 180 else 1)).all()
    assert np.abs(foot - head).min() > 1.2
    assert [f"stands as in {axes} axes" in warning for warning in pose.warnings] == [True] * bool(turn % 180)
    assert read_pose(tmp_path / "x.bvh", axes="y-up").warnings == ()


def test_joints_that_the_file_lacks_have_no_confidence_and_end_sites_little(tmp_path):
    lacking = {"left_collar", "right_collar", "spine1", "spine2", "head", "right_hand", "left_foot"}
    made = Generated("plain", joints=[joint for joint in SMPL24.joint_names if joint not in lacking])
    pose = read_pose(made.save(tmp_path / "x.bvh"))
    confidence = dict(zip(SMPL24.joint_names, pose.joint_confidence.tolist(), strict=True))
    assert {joint for joint, value in confidence.items() if value == 0} == {
        "left_collar", "right_collar", "spine1", "spine3", "head",
    }  # fmt: skip
    # A sole spine joint stands for the middle one; an end site for the toes or the hand.
    assert {joint for joint, value in confidence.items() if value == 0.5} == {"spine2", "right_hand", "left_foot"}
    np.testing.assert_array_equal(pose.joints[:, SMPL24.index("head")], pose.joints[:, SMPL24.index("neck")])
    expected = made.positions()
    for joint in ("left_shoulder", "right_wrist", "neck", "left_ankle"):
        np.testing.assert_allclose(pose.joints[:, SMPL24.index(joint)], expected[joint] * (1, -1, -1), atol=2e-6)
    assert np.isfinite(pose.joints).all()


END = "MOTION\nFrames: 1\nFrame Time: .1\n"


def test_position_channels_replace_the_offset(tmp_path):
    (tmp_path / "x.bvh").write_text(
        "HIERARCHY\nROOT a\n{\nOFFSET 1 2 3\nCHANNELS 3 Xposition Yposition Zposition\nJOINT b c\n{\nOFFSET 5 5 5\n"
        f"CHANNELS 1 Yposition\nEnd Site\n{{\nOFFSET 0 0 1\n}}\n}}\n}}\n{END}10 20 30 7\n"
    )
    motion = read_bvh_motion(tmp_path / "x.bvh")
    assert [joint.name for joint in motion.joints] == ["a", "b c", "b c_end"]
    assert motion.positions()[0].tolist() == [[10, 20, 30], [15, 27, 35], [15, 27, 36]]


def test_rotation_order_pinned_by_hand(tmp_path):
    """Zrotation 90 listed first is outermost: the child on +x, turned about X first, ends on +y."""
    joint = "OFFSET 0 0 0\nCHANNELS 2 Zrotation Xrotation\nEnd Site {\nOFFSET 1 0 1\n}"
    (tmp_path / "x.bvh").write_text(f"HIERARCHY\nROOT a {{\n{joint}\n}}\n{END}90 90\n")
    np.testing.assert_allclose(read_bvh_motion(tmp_path / "x.bvh").positions()[0, 1], [1, 1, 0], atol=1e-12)


def test_line_ends_tabs_case_and_a_byte_order_mark(tmp_path):
    made = Generated("cmu")
    text = made.text().replace("End Site", "END SITE").replace("Xrotation", "XROTATION").replace("\n", "\r\n")
    (tmp_path / "x.bvh").write_bytes(b"\xef\xbb\xbf" + text.encode())
    made.assert_head(read_pose(tmp_path / "x.bvh"))


def test_one_frame_beyond_the_header_is_read(tmp_path):
    made = Generated("cmu")
    pose = read_pose(made.save(tmp_path / "x.bvh", ("Frames: 4", "Frames: 3")))
    made.assert_head(pose)
    assert "holds 4 frames, one more than its header says" in pose.warnings[0]


LAST = Generated("cmu", orders=False).text().split()[-1]
FAR = Generated("cmu", orders=False).text().splitlines()[-1].split()[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "hello", "no BVH file.*text"),
        ("ROOT ", "JOINT ", "line 2.*one ROOT"),
        ("CHANNELS 6", "CHANNELS 5", "line 5.*CHANNELS"),
        ("CHANNELS 6", "CHANNELS ²", "line 5.*CHANNELS"),
        ("Frames: 4", f"Frames: {'9' * 5000}", "Frames: and their number"),
        ("Xposition", "Wposition", "line 5.*Xposition or Zrotation"),
        ("OFFSET 0.0", "OFFSET nan", "OFFSET with three numbers"),
        ("OFFSET 0.0", "OFFSET 1e300", r"OFFSET with three numbers up to 1e\+09, found OFFSET 1e300"),
        ("Frames: 4", "Frames: 5", "truncated.*5 frames.*4 frames"),
        ("Frames: 4", "Frames: 2", "truncated.*2 frames.*4 frames"),
        ("Time: 0.0083333", "Time: 0,0083333", "seconds with a decimal point, found FRAME Time: 0,0083333"),
        ("\tJOINT LeftUpLeg", "\tROOT B:Hips", "one ROOT .* another one, B:Hips: several people"),
        ("Frames: 4", "Frames: 0", "Frames: and their number"),
        ("Frames: 4", "Frames 4", "Frames: and their number"),
        ("0.0083333", "0", "Frame Time"),
        ("0.0083333", "nan", "Frame Time"),
        ("MOTION", "", "line"),
        ("LeftUpLeg", "Tentacle", "left hip.*Mixamo.*Hips"),
        (LAST, "nan", "not finite.*frame 3"),
        (LAST, "oops", "other than numbers"),
        (LAST, "-1e30", r"channels holds .*found -1e\+30 in row 3"),
        (LAST, "", "truncated"),
        (FAR, "1e8", r"joints holds impossible values, expected -200000 to 200000 metres, found \S+ in row 3"),
    ],
)
def test_damage(tmp_path, old, new, message):
    path = Generated("cmu", orders=False).save(tmp_path / "x.bvh", (old, new))
    with pytest.raises(InputError, match=rf"^[^\n]*x\.bvh[^\n]*{message}[^\n]*$"):
        read_pose(path)


def test_bones_without_length(tmp_path):
    (tmp_path / "x.bvh").write_text(re.sub("OFFSET .*", "OFFSET 0 0 0", Generated("cmu").text()))
    with pytest.raises(InputError, match="no length"):
        read_pose(tmp_path / "x.bvh")
