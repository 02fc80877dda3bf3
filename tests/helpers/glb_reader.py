"""Binary glTF files, by the rules of the specification and without our code, and Khronos' validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report)));
"""


def validator_issues(path: Path) -> list[dict[str, Any]]:
    """Return the validator's errors and warnings; skips the test without the validator."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    root = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
    if not (Path(root) / "gltf-validator").exists():
        pytest.skip("gltf-validator is not installed: npm install -g gltf-validator")
    environment = {**os.environ, "NODE_PATH": root}
    line = ["node", "-e", VALIDATE, str(path)]
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return [message for message in json.loads(ran.stdout)["issues"]["messages"] if message["severity"] < 2]


class Glb:
    """A file's nodes at a time, by the rules of the specification and without our code."""

    def __init__(self, path: Path) -> None:
        pygltflib = pytest.importorskip("pygltflib")
        self.gltf = pygltflib.GLTF2().load_binary(str(path))
        self.names = {node.name: number for number, node in enumerate(self.gltf.nodes)}
        self.parents = {child: number for number, node in enumerate(self.gltf.nodes) for child in node.children or ()}

    def values(self, accessor: int) -> np.ndarray:
        entry = self.gltf.accessors[accessor]
        view = self.gltf.bufferViews[entry.bufferView]
        dtype = {5126: "<f4", 5125: "<u4", 5121: "u1"}[entry.componentType]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry.type]
        data = self.gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
        return np.frombuffer(data, dtype).reshape(entry.count, width).astype(float)

    def world(self, number: int, seconds: float) -> np.ndarray:
        """(4, 4) of a node."""
        node = self.gltf.nodes[number]
        now = {"translation": node.translation, "rotation": node.rotation, "scale": node.scale}
        for animation, channel in ((each, channel) for each in self.gltf.animations for channel in each.channels):
            if channel.target.node == number:
                sampler = animation.samplers[channel.sampler]
                times, values = self.values(sampler.input)[:, 0], self.values(sampler.output)
                now[channel.target.path] = sampled(times, values, seconds, channel.target.path, sampler.interpolation)
        matrix = np.array(node.matrix or np.eye(4), float).reshape(4, 4).T
        if now["rotation"] is not None:
            matrix[:3, :3] = Rotation.from_quat(now["rotation"]).as_matrix()
        matrix[:3, :3] *= 1 if now["scale"] is None else np.asarray(now["scale"])
        if now["translation"] is not None:
            matrix[:3, 3] = now["translation"]
        return self.world(self.parents[number], seconds) @ matrix if number in self.parents else matrix

    def skinned(self, track: int, seconds: float, part: str = "body") -> np.ndarray:
        node = self.gltf.nodes[self.names[f"person{track}.{part}"]]
        attributes = self.gltf.meshes[node.mesh].primitives[0].attributes
        at = np.c_[self.values(attributes.POSITION), np.ones(self.gltf.accessors[attributes.POSITION].count)]
        skin = self.gltf.skins[node.skin]
        bind = self.values(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        bones = np.stack([self.world(joint, seconds) for joint in skin.joints]) @ bind
        moved = np.einsum("bij,vj->bvi", bones, at)
        chosen = moved[self.values(attributes.JOINTS_0).astype(int), np.arange(len(at))[:, None]]
        return (self.values(attributes.WEIGHTS_0)[..., None] * chosen).sum(1)[:, :3]


def sampled(times: np.ndarray, values: np.ndarray, seconds: float, path: str, interpolation: str) -> np.ndarray:
    seconds = float(np.clip(seconds, times[0], times[-1]))
    if interpolation == "STEP":
        return values[np.searchsorted(times, seconds + 1e-9) - 1]
    if path == "rotation":
        return Slerp(times, Rotation.from_quat(values))(seconds).as_quat()
    return np.array([np.interp(seconds, times, column) for column in values.T])
