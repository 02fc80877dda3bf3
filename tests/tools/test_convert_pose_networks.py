"""The converter of pose networks, on a small TensorFlow.js model with random weights that has their operations."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import convert_pose_networks
from convert_pose_networks import Converter, Network
from graph_model import read_graph_model, run_graph_model, same_padding

from humanpose_cli.detect.runtime import network_model


class SmallModel:
    """Nodes and weights, written as TensorFlow.js writes them."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []
        self.content = b""

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        made = {}
        for key, value in attributes.items():
            if isinstance(value, str):
                made[key] = {"s": base64.b64encode(value.encode()).decode()}
            elif isinstance(value, list) and isinstance(value[0], str):
                made[key] = {"list": {"s": [base64.b64encode(text.encode()).decode() for text in value]}}
            else:
                made[key] = {"list": {"i": [str(n) for n in value]}} if isinstance(value, list) else {"i": str(value)}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": made})
        return name

    def weight(self, *shape: int) -> str:
        name = f"weight{len(self.entries)}"
        quantization = {"dtype": "float16", "original_dtype": "float32"}
        self.entries.append({"name": name, "shape": shape, "dtype": "float32", "quantization": quantization})
        self.content += (self.random.normal(size=shape) * 0.5).astype(np.float16).tobytes()
        return name

    def integers(self, value: Any) -> str:
        name, array = f"weight{len(self.entries)}", np.array(value, np.int32)
        self.entries.append({"name": name, "shape": array.shape, "dtype": "int32"})
        self.content += array.tobytes()
        return name

    def convolution(self, name: str, x: str, kernel: tuple[int, ...], stride: int, padding: str, *fused: str) -> str:
        depthwise = kernel[-1] == 1
        op = "FusedDepthwiseConv2dNative" if depthwise else "_FusedConv2D"
        bias = self.weight(kernel[2] if depthwise else kernel[3])
        strides, ops = [1, stride, stride, 1], ["BiasAdd", *fused]
        return self.node(name, op, x, self.weight(*kernel), bias, strides=strides, padding=padding, fused_ops=ops)

    def write(self, folder: Path, name: str) -> None:
        manifest = [{"paths": [f"{name}.bin"], "weights": self.entries}]
        document = {"generatedBy": "a source", "convertedBy": "somebody", "weightsManifest": manifest}
        document["modelTopology"] = {"node": self.nodes}
        (folder / f"{name}.json").write_text(json.dumps(document))
        (folder / f"{name}.bin").write_bytes(self.content)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of 32 x 32 images with two outputs: `map`, 16 x 16 x 5, and `rows`, 64 x 3."""
    model = SmallModel()
    x = model.node("input", "Placeholder")
    x = model.node("padded", "Pad", x, model.integers([[0, 0], [1, 1], [1, 1], [0, 0]]))
    x = model.convolution("first", x, (3, 3, 3, 8), 2, "VALID", "Relu6")
    x = model.convolution("same", x, (5, 5, 8, 1), 2, "SAME", "Relu")
    x = model.convolution("point", x, (1, 1, 8, 20), 1, "SAME")
    pooled = model.node("pooled", "MaxPool", x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    wide = model.node("wide", "ResizeBilinear", pooled, model.integers([8, 8]), half_pixel_centers=1, align_corners=0)
    x = model.node("sum", "AddV2", x, wide)
    deep = model.node("deep", "DepthToSpace", x, block_size=2)
    model.node("map", "Sigmoid", deep)
    lone = model.convolution("lone", x, (1, 1, 20, 3), 1, "SAME")
    model.node("rows", "Reshape", lone, model.integers([-1, 64, 3]))
    model.write(tmp_path, "small")
    return tmp_path


NETWORK = Network(32, (1 / 255, -0.5), {"map": "map", "rows": "rows"}, "a test")


def test_a_converted_network_computes_what_the_original_does(small: Path) -> None:
    model = read_graph_model(small / "small.json")
    content = Converter(model, NETWORK).model({"licence": "none"}).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    maps, rows = session.run(["map", "rows"], {"image": images})
    assert maps.shape == (3, 5, 16, 16)
    for index, image in enumerate(images):
        inputs = (image[None] / np.float32(255) - np.float32(0.5)).astype(np.float32)
        expected_map, expected_rows = run_graph_model(model, inputs, ["map", "rows"])
        np.testing.assert_allclose(maps[index], expected_map[0].transpose(2, 0, 1), atol=1e-5)
        np.testing.assert_allclose(rows[index], expected_rows[0], atol=1e-4)


def test_a_mask_is_computed_where_it_is_requested(small: Path) -> None:
    network = Network(32, (1 / 255, -0.5), {"rows": "rows", "mask": "map"}, "a test")
    content = Converter(read_graph_model(small / "small.json"), network).model({}).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    (expected,) = onnxruntime.InferenceSession(
        Converter(read_graph_model(small / "small.json"), NETWORK).model({}).SerializeToString()
    ).run(["map"], {"image": images})
    rows, mask = session.run(["rows", "mask"], convert_pose_networks.inputs_of(network, images))
    np.testing.assert_array_equal(mask, expected)
    same, none = session.run(["rows", "mask"], {"image": images, "masked": np.array(False)})
    np.testing.assert_array_equal(same, rows)
    assert len(none) == 0


def test_weights_stay_half_and_equal_inputs_give_equal_bytes(small: Path) -> None:
    made = [Converter(read_graph_model(small / "small.json"), NETWORK).model({"b": "2", "a": "1"}) for _ in range(2)]
    first, second = (model.SerializeToString(deterministic=True) for model in made)
    assert first == second
    kinds = {initializer.data_type for initializer in made[0].graph.initializer if len(initializer.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [(entry.key, entry.value) for entry in made[0].metadata_props] == [("a", "1"), ("b", "2")]


def test_an_operation_that_is_not_supported_is_named(small: Path) -> None:
    model = read_graph_model(small / "small.json")
    network = Network(32, None, {"angle": "angle"}, "a test")
    model.nodes["angle"] = type(model.nodes["map"])("angle", "Atan2", ("map",), {})
    with pytest.raises(SystemExit, match="angle: the operation Atan2"):
        Converter(model, network).model({})


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"), [(8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (7, 5, 2, (2, 2))]
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("name", convert_pose_networks.NETWORKS)
def test_shipped_networks_say_where_they_come_from(name: str) -> None:
    model = onnx.load_from_string(network_model(name))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["name"] == name
    assert facts["licence"] == "Apache-2.0"
    assert facts["source"].startswith("https://")
    assert len(facts["source_sha256"]) > 64
    assert [output.name for output in model.graph.output] == list(convert_pose_networks.NETWORKS[name].outputs)
    sizes = dict.fromkeys((onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16), 0)
    for initializer in model.graph.initializer:
        sizes[initializer.data_type] = sizes.get(initializer.data_type, 0) + len(initializer.raw_data)
    assert sizes[onnx.TensorProto.FLOAT] < 5000 < sizes[onnx.TensorProto.FLOAT16]
