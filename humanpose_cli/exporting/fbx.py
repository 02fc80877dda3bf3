"""People as one binary FBX 7.5 file: skinned meshes, skeletons, animation, embedded textures and the cameras.

Lengths are in centimetres, y is up, as Maya, Unreal and Unity expect. A person is a null `personN` with a skeleton of
limb nodes, named and oriented as in `exporting.gltf`, and meshes. A joint's pre-rotation is its orientation at rest, so
that all rotations are zero in the bind pose; a clip has a key for each frame. In frames without the person, the null's
scale is zero. A character's file keeps everything except its animation.

Source: no specification is published. The records follow the descriptions of Blender's and ufbx's authors; the tests
read the files by ufbx.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.exporting.fbx_files import MAGIC, FbxFile, Record
from humanpose_cli.exporting.motion import CameraPath, PersonMotion, euler_angles
from humanpose_cli.exporting.rigs import Rig
from humanpose_cli.exporting.skins import ROUGHNESS, AnimatedScene, SkinnedMesh
from humanpose_cli.rendering.overlay import person_colour
from humanpose_cli.version import __version__

Array = NDArray[Any]

_VERSION = 7500
_CENTIMETRES = 100.0  # of a metre
_TICKS = 46_186_158_000  # of a second
_LINEAR, _STEP = 4, 2  # interpolations
_RATES = {120: 1, 100: 2, 60: 3, 50: 4, 48: 5, 30: 6, 25: 10, 24: 11}  # codes of frame rates
_OTHER_RATE = 14  # the code of a rate that is stated
_FILM = 36.0  # millimetres, width of a camera's film
_NEAR, _FAR = 1.0, 100_000.0  # centimetres
_CAMERA_AXES = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # FBX's cameras look along x
# The identifier at the beginning and the one at the end belong to this date; readers of Autodesk compare them.
_DATE = "1970-01-01 10:00:00:000"
_FILE_ID = bytes.fromhex("28b32aebb624ccc2bfc8b02aa92bfcf1")
_END_ID = bytes.fromhex("fabcab09d0c8d466b176fb831cf7267e")
_END_MARK = bytes.fromhex("f85a8c6adef5d97eece90ce3758f290b")


class _Scene:
    """The objects of a file, their connections and their animation, in addition to the objects of a character."""

    def __init__(self, seconds: Array, taken: Mapping[int, Record] | None = None) -> None:
        self.objects, self.connections = Record("Objects"), Record("Connections")
        self.objects.records += (taken or {}).values()
        self._numbers = (number for number in count(1_000_000) if number not in (taken or ()))
        self._ticks = np.rint(seconds * _TICKS).astype(np.int64)
        self.start = np.int64(self._ticks[0])
        self.stop = np.int64(self._ticks[-1] or (_TICKS // 30 if taken else 0))
        self._is_complete = taken is not None  # also what does not move
        self.layer: np.int64 | None = None
        if len(seconds) > 1 or taken:
            stack, properties = self.new("AnimationStack", "AnimStack", "motion")
            for name in ("Local", "Reference"):
                properties.properties(**{f"{name}Start": ("KTime", self.start), f"{name}Stop": ("KTime", self.stop)})
            self.layer, _ = self.new("AnimationLayer", "AnimLayer", "motion", parent=stack)

    def new(
        self, record: str, kind: str, name: str, type_: str = "", *, parent: np.int64 | int = -1, link: str = ""
    ) -> tuple[np.int64, Record]:
        """Add an object, connected to a parent or a property of it; return its number and its record."""
        number = np.int64(next(self._numbers))
        result = self.objects.add(record, number, f"{name}\0\1{kind}", type_)
        if parent >= 0:
            self.connect(number, parent, link)
        return number, result

    def connect(self, child: np.int64, parent: np.int64 | int, link: str = "") -> None:
        """Connect an object to another one, or to a property of it."""
        self.connections.add("C", "OP" if link else "OO", child, np.int64(parent), *([link] if link else []))

    def node(self, name: str, type_: str, parent: np.int64 | int, **properties: Any) -> np.int64:
        """Add a node of the scene, which inherits its parent's rotation and scale."""
        number, record = self.new("Model", "Model", name, type_, parent=parent)
        record.add("Version", 232)
        record.properties(InheritType=("enum", 1), DefaultAttributeIndex=0, **properties)
        return number

    def animate(self, number: np.int64, name: str, frames: Array, values: Array, interpolation: int = _LINEAR) -> None:
        """Animate a property by values (R,) or (R, 3) at frames (R,); constant ones in files of characters only."""
        if self.layer is None or (not self._is_complete and (values == values[0]).all()):
            return
        columns = dict(zip("XYZ", values.T, strict=True)) if values.ndim == 2 else {name: values}
        node, record = self.new("AnimationCurveNode", "AnimCurveNode", name.removeprefix("Lcl ")[:1], parent=self.layer)
        record.properties(**{f"d|{axis}": float(column[0]) for axis, column in columns.items()})
        self.connect(node, number, name)
        for axis, column in columns.items():
            _, curve = self.new("AnimationCurve", "AnimCurve", "", parent=node, link=f"d|{axis}")
            curve.fill(Default=float(column[0]), KeyVer=4009, KeyTime=self._ticks[frames])
            curve.fill(KeyValueFloat=column.astype(np.float32), KeyAttrFlags=np.array([interpolation], np.int32))
            curve.fill(KeyAttrDataFloat=np.zeros(4, np.float32), KeyAttrRefCount=np.array([len(column)], np.int32))


def fbx_bytes(content: AnimatedScene) -> bytes:
    """Encode the people and the cameras as one file.

    Skinning is linear with all bones of each vertex, without SMPL's pose blend shapes.
    """
    scene = _Scene(content.first / content.frame_rate + content.seconds)
    for person in content.people:
        _add_person(scene, person, content.meshes.get(person.track, ()), len(content.seconds))
    for name, camera in content.cameras.items():
        _add_camera(scene, name, camera)
    return file_bytes([*_head(scene, content.frame_rate), scene.objects, scene.connections])


def animated_fbx(person: PersonMotion, rig: Rig, file: FbxFile, *, seconds: Array, rate: float) -> bytes:
    """Return the bytes of a character's file with the motion of its rig in place of its animation."""
    top = {record.name: record for record in file.records if record.name != "Takes"}
    objects = {record.values[0]: record for record in top["Objects"].records}
    gone = {number for number, record in objects.items() if record.name.startswith("Animation")}
    scene = _Scene(seconds, {number: record for number, record in objects.items() if number not in gone})
    scene.connections.records[:0] = [link for link in top["Connections"].records if not gone & {*link.values[1:3]}]
    above = file.matrices[rig.parents[person.hips]] if rig.parents[person.hips] >= 0 else np.eye(4)
    path = (person.pelvis / rig.unit - above[:3, 3]) @ np.linalg.inv(above[:3, :3]).T
    for row in rig.sources:
        parent, number = rig.parents[row], file.nodes[row].values[0]
        local = np.linalg.solve(file.matrices[parent], file.matrices[row]) if parent >= 0 else file.matrices[row]
        positions = path if row == person.hips else np.tile(local[:3, 3], (len(path), 1))
        angles, shifts = file.motions[row](person.rotations[:, row], positions)
        scene.animate(number, "Lcl Rotation", person.frames, angles)
        if row == person.hips or np.ptp(shifts, axis=0).any():
            scene.animate(number, "Lcl Translation", person.frames, shifts)
    head = {record.name: record for record in _head(scene, rate)}
    for name in {"GlobalSettings", "Documents", "Definitions"} & top.keys():
        head[name] = top[name]
    head["GlobalSettings"].properties(**_timing(scene, rate))
    head["Documents"].get("Document").properties(ActiveAnimStackName=("KString", "motion"))
    return file_bytes([*({**top, **head, "Objects": scene.objects, "Connections": scene.connections}).values()])


def file_bytes(records: Sequence[Record]) -> bytes:
    """Assemble a file of its records."""
    data = bytearray(MAGIC + struct.pack("<I", _VERSION))
    for record in records:
        data += record.encoded(len(data))
    data += bytes(25) + _END_ID + bytes(4)
    data += bytes(16 - len(data) % 16) + struct.pack("<I", _VERSION) + bytes(120) + _END_MARK
    return bytes(data)


def _head(scene: _Scene, frame_rate: float) -> list[Record]:
    """Make the records before the objects."""
    creator = f"humanpose-cli {__version__}"
    extension = Record("FBXHeaderExtension")
    extension.fill(FBXHeaderVersion=1003, FBXVersion=_VERSION, Creator=creator)
    settings = Record("GlobalSettings")
    settings.add("Version", 1000)
    axes = {"UpAxis": 1, "FrontAxis": 2, "CoordAxis": 0, "OriginalUpAxis": -1}
    signs = {f"{name}Sign": 1 for name in axes}
    settings.properties(**axes, **signs, UnitScaleFactor=1.0, OriginalUnitScaleFactor=1.0, **_timing(scene, frame_rate))
    documents = Record("Documents")
    documents.add("Count", 1)
    document = documents.add("Document", np.int64(999_999), "", "Scene")
    document.add("RootNode", np.int64(0))
    kinds = Counter(record.name for record in scene.objects.records)
    definitions = Record("Definitions")
    definitions.add("Version", 100)
    definitions.add("Count", kinds.total() + 1)
    for kind, number in {"GlobalSettings": 1, **kinds}.items():
        definitions.add("ObjectType", kind).add("Count", number)
    identity = [Record("FileId", _FILE_ID), Record("CreationTime", _DATE), Record("Creator", creator)]
    return [extension, *identity, settings, documents, Record("References"), definitions]


def _timing(scene: _Scene, frame_rate: float) -> dict[str, Any]:
    """Make the properties of a file's frames."""
    code = next((code for rate, code in _RATES.items() if abs(rate - frame_rate) < 1e-6), _OTHER_RATE)
    span = {"TimeSpanStart": ("KTime", scene.start), "TimeSpanStop": ("KTime", scene.stop)}
    return {"TimeMode": ("enum", code), **span, "CustomFrameRate": float(frame_rate)}


def _add_person(scene: _Scene, person: PersonMotion, meshes: Sequence[SkinnedMesh], frame_count: int) -> None:
    """Add a person with skeleton, meshes, skin and animation."""
    root = scene.node(person.name, "Null", 0)
    frames, scales = person.visibility(frame_count)
    if frames:
        scene.animate(root, "Lcl Scaling", np.array(frames), scales, _STEP)
    at_rest, offsets = person.rest_axes, person.rest_offsets * _CENTIMETRES
    turns = euler_angles(at_rest.transpose(0, 2, 1) @ person.rotations)
    before = euler_angles(at_rest[None])[0]
    limbs: list[np.int64] = []
    for joint, name in enumerate(person.skeleton.joint_names):
        resting = np.broadcast_to(offsets[joint], (len(person.frames), 3))
        positions = person.pelvis * _CENTIMETRES if joint == person.hips else resting
        sizes = np.repeat(person.local_scales[:, joint, None], 3, 1)
        tracks = {"Lcl Translation": positions, "Lcl Rotation": turns[:, joint], "Lcl Scaling": sizes}
        first = {path.replace(" ", "_"): values[0] for path, values in tracks.items()}
        if frame_count > 1:  # the animation moves the resting joints
            first |= {"Lcl_Translation": offsets[joint], "Lcl_Rotation": np.zeros(3)}
        parent = limbs[person.parents[joint]] if person.parents[joint] >= 0 else root
        turn = ("Vector3D", before[joint])
        limb = scene.node(name, "LimbNode", parent, RotationActive=True, PreRotation=turn, **first)
        limbs.append(limb)
        _, attribute = scene.new("NodeAttribute", "NodeAttribute", name, "LimbNode", parent=limb)
        attribute.add("TypeFlags", "Skeleton")
        for path, values in tracks.items():
            scene.animate(limb, path, person.frames, values)
    if meshes:
        matrices = person.bind_matrices
        matrices[:, :3, 3] *= _CENTIMETRES
        bind = dict(zip(limbs, matrices, strict=True))
        nodes = [_add_mesh(scene, person, mesh, bind) for mesh in meshes]
        _, pose = scene.new("Pose", "Pose", person.name, "BindPose")
        pose.fill(Type="BindPose", Version=100, NbPoseNodes=len(nodes) + len(limbs))
        for number, matrix in (dict.fromkeys(nodes, np.eye(4)) | bind).items():
            pose.add("PoseNode").fill(Node=number, Matrix=matrix.T.reshape(-1))


def _add_mesh(scene: _Scene, person: PersonMotion, mesh: SkinnedMesh, bind: Mapping[np.int64, Array]) -> np.int64:
    """Add a mesh with its material and its skin by the limbs' resting matrices (4, 4); return its node."""
    node = scene.node(f"{person.name}.{mesh.part}", "Mesh", 0)
    surface, geometry = scene.new("Geometry", "Geometry", mesh.name, "Mesh", parent=node)
    corners = mesh.faces.astype(np.int32)
    corners[:, -1] = ~corners[:, -1]  # the end of a polygon
    points = (mesh.vertices * _CENTIMETRES).astype(np.float64).reshape(-1)
    geometry.fill(Vertices=points, PolygonVertexIndex=corners.reshape(-1), GeometryVersion=124)
    normals = _layer(geometry, "Normal", "ByVertice", "Direct")
    normals.add("Normals", mesh.normals.astype(np.float64).reshape(-1))
    uv = _layer(geometry, "UV", "ByPolygonVertex", "IndexToDirect")
    uv.add("UV", (mesh.uv * (1, -1) + (0, 1)).astype(np.float64).reshape(-1))  # v goes up
    uv.add("UVIndex", mesh.uv_faces.astype(np.int32).reshape(-1))
    _layer(geometry, "Material", "AllSame", "IndexToDirect").add("Materials", np.zeros(1, np.int32))
    layers = geometry.add("Layer", 0)
    layers.add("Version", 100)
    for name in ("Normal", "UV", "Material"):
        layers.add("LayerElement").fill(Type=f"LayerElement{name}", TypedIndex=0)
    _add_material(scene, mesh, node)
    skin, record = scene.new("Deformer", "Deformer", mesh.name, "Skin", parent=surface)
    record.add("Version", 101)
    for joint, (limb, matrix) in enumerate(bind.items()):
        vertices, slots = np.nonzero((mesh.bones == joint) & (mesh.weights > 0))
        name = person.skeleton.joint_names[joint]
        cluster, record = scene.new("Deformer", "SubDeformer", name, "Cluster", parent=skin)
        record.add("Version", 100)
        if len(vertices):
            weights = mesh.weights[vertices, slots].astype(np.float64)
            record.fill(Indexes=vertices.astype(np.int32), Weights=weights)
        inverse = np.linalg.inv(matrix).T.reshape(-1)  # column by column
        record.fill(Transform=inverse, TransformLink=matrix.T.reshape(-1))
        scene.connect(limb, cluster)
    return node


def _layer(geometry: Record, name: str, mapping: str, reference: str) -> Record:
    """Add a layer of values of a mesh without its values."""
    layer = geometry.add(f"LayerElement{name}", 0)
    layer.fill(Version=101, Name=name, MappingInformationType=mapping, ReferenceInformationType=reference)
    return layer


def _add_material(scene: _Scene, mesh: SkinnedMesh, node: np.int64) -> None:
    """Add a material with the person's colour or an embedded texture."""
    material, record = scene.new("Material", "Material", mesh.name, parent=node)
    record.fill(Version=102, ShadingModel="lambert")
    colour = np.ones(3) if mesh.image is not None else person_colour(mesh.track).astype(np.float64)
    # Importers take (1 − roughness)² · 100 for the shininess of what has none: as rough as in glTF.
    record.properties(DiffuseColor=("ColorRGB", colour), DiffuseFactor=1.0, Shininess=100 * (1 - ROUGHNESS) ** 2)
    if mesh.image is None:
        return
    name = f"{mesh.name}.png"
    texture, record = scene.new("Texture", "Texture", mesh.name, parent=material, link="DiffuseColor")
    _, content = scene.new("Video", "Video", mesh.name, "Clip", parent=texture)
    content.add("Type", "Clip")
    for entry in (record, content):
        entry.fill(FileName=name, RelativeFilename=name)
    content.add("Content", mesh.png)


def _add_camera(scene: _Scene, name: str, camera: CameraPath) -> None:
    """Add a camera with its path and zoom; the offset of the film is the first frame's principal point."""
    width, height = map(float, camera.size[0])
    unit = _FILM / width  # millimetres a pixel
    right, down = map(float, (camera.centre[0] - camera.size[0] / 2) * unit / 25.4)
    angles = euler_angles((camera.rotations @ _CAMERA_AXES)[:, None])[:, 0]
    positions, focal = camera.positions * _CENTIMETRES, camera.focal * unit
    node = scene.node(name, "Camera", 0, Lcl_Translation=positions[0], Lcl_Rotation=angles[0])
    attribute, record = scene.new("NodeAttribute", "NodeAttribute", name, "Camera", parent=node)
    record.add("TypeFlags", "Camera")
    record.properties(
        AspectWidth=width,
        AspectHeight=height,
        FilmWidth=_FILM / 25.4,
        FilmHeight=height * unit / 25.4,
        FilmAspectRatio=width / height,
        FilmOffsetX=-right,
        FilmOffsetY=down,
        ApertureMode=("enum", 3),
        GateFit=("enum", 2),  # the width, also of upright images
        FocalLength=float(focal[0]),
        NearPlane=_NEAR,
        FarPlane=_FAR,
    )
    frames = np.arange(len(positions))
    scene.animate(node, "Lcl Translation", frames, positions)
    scene.animate(node, "Lcl Rotation", frames, angles)
    scene.animate(attribute, "FocalLength", frames, focal)
