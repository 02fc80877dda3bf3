"""People as one binary glTF 2.0 file (`.glb`): skinned meshes, skeletons, animation, textures and the cameras.

Units are metres and seconds; y is up. A person is a node `personN` with a skin over 24 joints with smpl24's names, and
the finger joints of a fit with hands. Body and garments are meshes with this skin. The joints' y axes point along the
bones. Their transforms are the first frame's pose; an animation `motion` moves them if there are several frames. In
frames without the person, the node's scale is zero.

Source: glTF 2.0 specification, Khronos Group, ISO/IEC 12113:2022.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.exporting.glb_files import GlbFile
from humanpose_cli.exporting.motion import CameraPath, PersonMotion
from humanpose_cli.exporting.rigs import Rig
from humanpose_cli.exporting.skins import ROUGHNESS, AnimatedScene, SkinnedMesh
from humanpose_cli.geometry.rotations import matrix_to_quaternion
from humanpose_cli.io.exr import linear_light
from humanpose_cli.rendering.overlay import person_colour
from humanpose_cli.version import __version__

Array = NDArray[Any]

_ELEMENTS, _VERTICES = 34963, 34962  # ELEMENT_ARRAY_BUFFER, ARRAY_BUFFER
_COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "|u1": 5121}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_JSON, _BIN = 0x4E4F534A, 0x004E4942
_NEAR = 0.01  # metres, a camera's near plane; the far plane is infinite


def linear_colour(track: int) -> list[float]:
    """Convert a track's colour to linear RGB for glTF and USD."""
    return [round(float(value), 6) for value in linear_light(person_colour(track))]


def quaternions(rotations: Array) -> Array:
    """Convert rotations (R, …, 3, 3) to quaternions (R, …, 4) x y z w with signs for the shorter interpolation."""
    wxyz = matrix_to_quaternion(torch.from_numpy(np.ascontiguousarray(rotations))).numpy()
    signs = np.cumprod(np.where((wxyz[1:] * wxyz[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0), axis=0)
    wxyz[1:] *= signs
    return np.roll(wxyz, -1, axis=-1)


class _Document:
    """The objects of a file, its animation and the bytes that they refer to, of a new file or in addition to one's."""

    def __init__(self, document: Mapping[str, Any] | None = None, data: bytes = b"") -> None:
        lists = (document or {}).items()
        self.lists: dict[str, Any] = {name: [*values] if isinstance(values, list) else values for name, values in lists}
        self.data = bytearray(data)
        self._motion: dict[str, list[dict[str, Any]]] = {"samplers": [], "channels": []}

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Add an object and return its index in the list of its kind."""
        entries = self.lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, data: bytes, **more: Any) -> int:
        self.data += bytes(-len(self.data) % 4)
        start = len(self.data)
        self.data += data
        return self.add("bufferViews", {"buffer": 0, "byteOffset": start, "byteLength": len(data), **more})

    def accessor(self, values: Array, dtype: str, *, target: int | None = None, bounds: bool = False) -> int:
        """Add numbers (N,) or (N, C), with bounds for positions and times."""
        array = np.ascontiguousarray(values, dtype)
        width = array[0].size
        entry = {
            "bufferView": self.view(array.tobytes(), **({"target": target} if target else {})),
            "componentType": _COMPONENTS[dtype],
            "count": len(array),
            "type": _TYPES[width],
        }
        if bounds:
            flat = array.reshape(len(array), width)
            entry |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        return self.add("accessors", entry)

    def move(self, node: int, path: str, times: int, values: Array, interpolation: str = "LINEAR") -> None:
        """Animate a property of a node by values at the times of an accessor."""
        samplers, channels = self._motion.values()
        samplers.append({"input": times, "output": self.accessor(values, "<f4"), "interpolation": interpolation})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    def bytes(self, roots: Sequence[int], extras: Mapping[str, Any], motion: str = "motion") -> bytes:
        """Assemble the complete file; the motion is the first animation."""
        if self._motion["channels"]:
            self.lists["animations"] = [{"name": motion, **self._motion}, *self.lists.get("animations", ())]
        self.data += bytes(-len(self.data) % 4)
        document = {
            "asset": {"version": "2.0", "generator": f"humanpose-cli {__version__}", "extras": dict(extras)},
            "scene": 0,
            "scenes": [{"nodes": list(roots)}],
            **self.lists,
        }
        document["buffers"] = [{"byteLength": len(self.data)}, *document.get("buffers", ())[1:]]
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(self.data))
        chunks = [struct.pack("<II", len(data), kind) + data for data, kind in ((text, _JSON), (self.data, _BIN))]
        return b"".join((head, *chunks))


def glb_bytes(scene: AnimatedScene) -> bytes:
    """Encode the people, who have meshes, and the cameras as one file.

    Skinning is linear with four bones for each vertex, without SMPL's pose blend shapes.
    """
    document, seconds = _Document(), scene.seconds
    roots: list[int] = []
    for person in scene.people:
        roots += _add_person(document, person, scene.meshes[person.track], seconds)
    roots += [_add_camera(document, name, camera, seconds) for name, camera in scene.cameras.items()]
    rate = float((len(seconds) - 1) / seconds[-1]) if len(seconds) > 1 else 0.0
    return document.bytes(roots, {"frame_rate": rate, "frames": len(seconds)})


def _add_person(document: _Document, person: PersonMotion, meshes: Sequence[SkinnedMesh], seconds: Array) -> list[int]:
    """Add a person; return the indices of the person's and the meshes' nodes."""
    joints, root = _add_skeleton(document, person, seconds)
    inverse_bind = np.linalg.inv(person.bind_matrices).transpose(0, 2, 1)  # column by column, as glTF stores matrices
    inverse_bind[:, :3, 3], inverse_bind[:, 3, 3] = 0, 1  # exactly
    matrices = document.accessor(inverse_bind, "<f4")
    skin = document.add("skins", {"joints": joints, "skeleton": joints[0], "inverseBindMatrices": matrices})
    roots = [root]  # joints alone move a skinned mesh, so that it is at the root
    for mesh in meshes:
        surface = document.add("meshes", {"name": mesh.name, "primitives": [_primitive(document, mesh)]})
        roots.append(document.add("nodes", {"name": f"{person.name}.{mesh.part}", "mesh": surface, "skin": skin}))
    return roots


def _add_skeleton(
    document: _Document, person: PersonMotion, seconds: Array, *, is_resting: bool = False
) -> tuple[list[int], int]:
    """Add a skeleton in its first pose, or at rest; return the indices of the joints' and the person's nodes."""
    turns, scales, positions = quaternions(person.rotations), person.local_scales, person.rest_offsets
    first = quaternions(person.rest_axes[None])[0] if is_resting else turns[0]
    if not is_resting:
        positions[person.hips] = person.pelvis[0]
    joints = []
    for joint, name in enumerate(person.skeleton.joint_names):
        node = {"name": name, "translation": positions[joint].tolist(), "rotation": first[joint].tolist()}
        if person.is_scaled:
            node["scale"] = [float(scales[0, joint])] * 3
        joints.append(document.add("nodes", node))
    for parent, child in person.skeleton.bones:
        document.lists["nodes"][joints[parent]].setdefault("children", []).append(joints[child])
    root = document.add("nodes", {"name": person.name, "children": [joints[0]]})
    if len(seconds) > 1 or is_resting:
        times = document.accessor(seconds[person.frames], "<f4", bounds=True)
        document.move(joints[person.hips], "translation", times, person.pelvis)
        for joint, node_number in enumerate(joints):
            document.move(node_number, "rotation", times, turns[:, joint])
            if person.is_scaled:
                document.move(node_number, "scale", times, np.repeat(scales[:, joint, None], 3, 1))
        frames, sizes = person.visibility(len(seconds))
        if frames and not is_resting:
            document.move(root, "scale", document.accessor(seconds[frames], "<f4", bounds=True), sizes, "STEP")
    return joints, root


def vrma_bytes(person: PersonMotion, *, seconds: Array) -> bytes:
    """Encode a motion of the rig `vrm` as VRM Animation 1.0: a skeleton at rest, its animation and its humanoid bones.

    Source: VRMC_vrm_animation-1.0, vrm-c/vrm-specification.
    """
    document = _Document()
    joints, root = _add_skeleton(document, person, seconds, is_resting=True)
    bones = {name: {"node": node} for name, node in zip(person.skeleton.joint_names, joints, strict=True)}
    extension = {"specVersion": "1.0", "humanoid": {"humanBones": bones}}
    document.lists |= {"extensionsUsed": ["VRMC_vrm_animation"], "extensions": {"VRMC_vrm_animation": extension}}
    return document.bytes([root], {})


def animated_glb(person: PersonMotion, rig: Rig, glb: GlbFile, *, seconds: Array) -> bytes:
    """Return the bytes of a character's file with the motion of its rig as the first animation."""
    document = _Document(glb.document, glb.data)
    times, turns = document.accessor(seconds[person.frames], "<f4", bounds=True), quaternions(person.rotations)
    for row in rig.sources:
        document.move(glb.nodes[row], "rotation", times, turns[:, row])
    above = glb.matrices[rig.parents[person.hips]] if rig.parents[person.hips] >= 0 else np.eye(4)
    hips = (person.pelvis / rig.unit - above[:3, 3]) @ np.linalg.inv(above[:3, :3]).T
    document.move(glb.nodes[person.hips], "translation", times, hips)
    return document.bytes([], {}, person.name)


def _primitive(document: _Document, mesh: SkinnedMesh) -> dict[str, Any]:
    material: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    if mesh.image is None:
        material["baseColorFactor"] = [*linear_colour(mesh.track), 1.0]
    else:
        png = document.view(mesh.png)
        image = document.add("images", {"bufferView": png, "mimeType": "image/png", "name": mesh.name})
        material["baseColorTexture"] = {"index": document.add("textures", {"source": image})}
    # A vertex for each pair of vertex and texture coordinate.
    pairs, corners = np.unique(mesh.faces.astype(np.int64) * len(mesh.uv) + mesh.uv_faces, return_inverse=True)
    vertices, uv = np.divmod(pairs, len(mesh.uv))
    bones, weights = mesh.strongest_bones
    attributes = {
        "POSITION": document.accessor(mesh.vertices[vertices], "<f4", target=_VERTICES, bounds=True),
        "NORMAL": document.accessor(mesh.normals[vertices], "<f4", target=_VERTICES),
        "TEXCOORD_0": document.accessor(mesh.uv[uv], "<f4", target=_VERTICES),
        "JOINTS_0": document.accessor(bones[vertices], "|u1", target=_VERTICES),
        "WEIGHTS_0": document.accessor(weights[vertices], "<f4", target=_VERTICES),
    }
    sides = {} if mesh.part == "body" else {"doubleSided": True}
    return {
        "attributes": attributes,
        "indices": document.accessor(corners.reshape(-1), "<u4", target=_ELEMENTS),
        "material": document.add("materials", {"name": mesh.name, "pbrMetallicRoughness": material, **sides}),
    }


def _add_camera(document: _Document, name: str, camera: CameraPath, seconds: Array) -> int:
    """Add a camera with the first frame's lens; glTF has no zoom and no principal point, which are in `extras`."""
    width, height = camera.size[0].tolist()
    focal = float(camera.focal[0])
    lens = {"yfov": float(2 * np.arctan(height / (2 * focal))), "aspectRatio": width / height, "znear": _NEAR}
    extras = {"focal": focal, "principal_point": camera.centre[0].tolist(), "image_size": [width, height]}
    number = document.add("cameras", {"type": "perspective", "perspective": lens, "extras": extras})
    turns = quaternions(camera.rotations)
    place = {"translation": camera.positions[0].tolist(), "rotation": turns[0].tolist()}
    node = document.add("nodes", {"name": name, "camera": number, **place})
    if camera.is_moving:
        times = document.accessor(seconds, "<f4", bounds=True)
        document.move(node, "translation", times, camera.positions)
        document.move(node, "rotation", times, turns)
    return node
