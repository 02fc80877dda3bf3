"""Small pose networks (ONNX) whose joints are known, and changes of their structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 48, 64


def write_network(
    path: Path,
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    *,
    shape: tuple[Any, ...] = ("batch", 3, HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("simcc_x", "simcc_y"),
) -> Path:
    images = helper.make_tensor_value_info("input", dtype, shape)
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", [images], results, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def fixed_peaks(path: Path, x: np.ndarray, y: np.ndarray, **options: Any) -> Path:
    """A network that answers SimCC rows x (K, Wx) and y (K, Wy) to any image."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "none"], ["scaled"]),
        helper.make_node("Squeeze", ["scaled", "last"], ["zeros"]),  # (N, 1, 1)
        helper.make_node("Add", ["zeros", "x"], ["simcc_x"]),
        helper.make_node("Add", ["zeros", "y"], ["simcc_y"]),
    ]
    constants = {"none": np.zeros(1, np.float32), "last": np.array([3]), "x": x, "y": y}
    return write_network(path, nodes, constants, **options)


def peaks(bins: np.ndarray, length: int, heights: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(bins), length), np.float32)
    rows[np.arange(len(bins)), bins] = heights
    return rows


def peak_network(path: Path, joints: int = 17, ratio: int = 2, **options: Any) -> tuple[Path, np.ndarray, np.ndarray]:
    """(file, bins (K, 2), scores (K,))"""
    random = np.random.default_rng(joints)
    bins = np.stack([random.integers(0, WIDTH * ratio, joints), random.integers(0, HEIGHT * ratio, joints)], axis=1)
    across = np.linspace(0.5, 0.9, joints).astype(np.float32)
    down = across[::-1]
    rows = peaks(bins[:, 0], WIDTH * ratio, across), peaks(bins[:, 1], HEIGHT * ratio, down)
    return fixed_peaks(path, *rows, **options), bins, np.minimum(across, down)


_NUMBERS = (0, -1, 1, 2, 17, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
_NAMES = ("", "input", "simcc_x", "x", "zeros", "none", "q" * 5000)
_OPERATORS = (
    *("Conv", "Loop", "If", "Scan", "Gather", "ScatterND", "Reshape", "Expand", "Tile", "Pad", "Slice", "Resize"),
    *("TopK", "LSTM", "Einsum", "MaxUnpool", "RoiAlign", "Range", "ConstantOfShape", "NonMaxSuppression", "Cast"),
    *("Split", "Concat", "Transpose", "DepthToSpace", "OneHot", "Compress", "CumSum", "GridSample", "TfIdfVectorizer"),
)


def changed_network(data: bytes, generator: np.random.Generator) -> bytes:
    """An ONNX file with one to three changes of sizes, types, names, operators and attributes."""

    def any_of(items: Any) -> Any:
        return items[int(generator.integers(len(items)))]

    model = onnx.load_from_string(data)
    for _ in range(generator.integers(1, 4)):
        graph = model.graph
        change = any_of((_change_tensor, _change_node, _change_value))
        parts = {_change_tensor: graph.initializer, _change_node: graph.node}
        change(any_of(parts.get(change, [*graph.input, *graph.output])), any_of)
    return model.SerializeToString()


def _change_tensor(tensor: Any, any_of: Callable[[Any], Any]) -> None:
    match any_of(["dims", "type", "name", "data"]):
        case "dims":
            tensor.dims[:] = [any_of(_NUMBERS) for _ in range(any_of(range(5)))]
        case "type":
            tensor.data_type = any_of(range(30))
        case "name":
            tensor.name = any_of(_NAMES)
        case _:
            tensor.raw_data = tensor.raw_data[: any_of(range(len(tensor.raw_data) + 1))]


def _change_node(node: Any, any_of: Callable[[Any], Any]) -> None:
    match any_of(["input", "output", "operator", "attribute"]):
        case "input":
            node.input[0] = any_of(_NAMES)
        case "output":
            node.output[0] = any_of(_NAMES)
        case "operator":
            node.op_type = any_of(_OPERATORS)
        case _:
            key = any_of(("axis", "axes", "to", "perm", "group", "pads", "strides", "blocksize", "keepdims"))
            number = any_of(_NUMBERS)
            node.attribute.append(helper.make_attribute(key, any_of((number, [number], [number] * 3))))


def _change_value(value: Any, any_of: Callable[[Any], Any]) -> None:
    """An input or an output."""
    tensor = value.type.tensor_type
    match any_of(["longer", "size", "type", "name"]):
        case "longer":
            tensor.shape.dim.add().dim_value = any_of(_NUMBERS)
        case "size" if tensor.shape.dim:
            any_of(tensor.shape.dim).dim_value = any_of(_NUMBERS)
        case "type":
            tensor.elem_type = any_of(range(30))
        case _:
            value.name = any_of(_NAMES)
