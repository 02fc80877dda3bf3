"""Small pose networks (ONNX) whose joints are known, and changes of their structure."""

from __future__ import annotations

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


def known_network(path: Path, joints: int = 17, ratio: int = 2, **options: Any) -> tuple[Path, np.ndarray, np.ndarray]:
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
    model = onnx.load_from_string(data)
    for _ in range(generator.integers(1, 4)):
        _change(model, generator)
    return model.SerializeToString()


def _change(model: Any, generator: np.random.Generator) -> None:
    def any_of(items: Any) -> Any:
        return items[int(generator.integers(len(items)))]

    graph = model.graph
    tensor, node, place = any_of(graph.initializer), any_of(graph.node), any_of([*graph.input, *graph.output])
    number, name, kind = any_of(_NUMBERS), any_of(_NAMES), int(generator.integers(0, 30))
    match int(generator.integers(10)):
        case 0:
            tensor.dims[:] = [any_of(_NUMBERS) for _ in range(int(generator.integers(0, 5)))]
        case 1:
            tensor.data_type = kind
        case 2:
            tensor.name = name
        case 3:
            names = node.input if generator.integers(2) else node.output
            names[0] = name
        case 4:
            node.op_type = any_of(_OPERATORS)
        case 5:
            key = any_of(("axis", "axes", "to", "perm", "group", "pads", "strides", "blocksize", "keepdims"))
            node.attribute.append(helper.make_attribute(key, any_of((number, [number], [number] * 3))))
        case 6:
            place.type.tensor_type.shape.dim.add().dim_value = number
        case 7:
            for size in place.type.tensor_type.shape.dim:
                size.dim_value = number if generator.integers(2) else size.dim_value
        case 8:
            place.type.tensor_type.elem_type = kind
        case _:
            tensor.raw_data = tensor.raw_data[: int(generator.integers(len(tensor.raw_data) + 1))]
