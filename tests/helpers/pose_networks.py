"""Small pose networks (ONNX) with known joints or InstantHMR's interface, and changes of their structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from humanpose_cli.core.conventions import BLAZEPOSE33, MHR70_ROWS
from humanpose_cli.detect.runtime import network_model

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
    """Write a network; return its file, bins (K, 2) and scores (K,)."""
    random = np.random.default_rng(joints)
    bins = np.stack([random.integers(0, WIDTH * ratio, joints), random.integers(0, HEIGHT * ratio, joints)], axis=1)
    across = np.linspace(0.5, 0.9, joints).astype(np.float32)
    down = across[::-1]
    rows = peaks(bins[:, 0], WIDTH * ratio, across), peaks(bins[:, 1], HEIGHT * ratio, down)
    return fixed_peaks(path, *rows, **options), bins, np.minimum(across, down)


BODY_SIDE = 224
_IMAGE, _CONDITION = ("batch", 3, BODY_SIDE, BODY_SIDE), ("batch", 3)


def body_network(
    path: Path,
    points: np.ndarray,
    space: np.ndarray | None = None,
    *,
    image: tuple[Any, ...] = _IMAGE,
    condition: tuple[Any, ...] = _CONDITION,
    metadata: dict[str, str] | None = None,
    names: tuple[str, ...] = ("joints_2d", "joints_3d"),
) -> Path:
    """A network with InstantHMR's interface that gives joints_2d (70, 2) and joints_3d (70, 3) for any image."""
    arrays = {"points": points} if space is None else {"points": points, "space": space}
    nodes = [
        helper.make_node("ReduceMean", ["cliff_cond"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "none"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "last"], ["zeros"]),  # (N, 1, 1)
        helper.make_node("Identity", ["scaled"], ["mhr_params"]),
        *(helper.make_node("Add", ["zeros", part], [name]) for part, name in zip(arrays, names, strict=False)),
    ]
    constants = {"none": np.zeros(1, np.float32), "last": np.array([2]), **arrays}
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)]
    inputs.append(helper.make_tensor_value_info("cliff_cond", TensorProto.FLOAT, condition))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("mhr_params", *names[: len(arrays)])]
    weights = [numpy_helper.from_array(np.asarray(v, v.dtype), name) for name, v in constants.items()]
    return _save_body(path, helper.make_graph(nodes, "body", inputs, outputs, weights), metadata)


def blazepose_body_network(path: Path) -> Path:
    """A network with InstantHMR's interface whose joints are those of the shipped BlazePose network in the crop."""
    shipped = compose.add_prefix(onnx.load_from_string(network_model("blazepose-full")), "pose_")
    body = shipped.graph
    rows = np.zeros(70, np.int64)
    for name, row in MHR70_ROWS.items():
        rows[row] = BLAZEPOSE33.index(name)
    constants = {
        "std": np.reshape([58.395, 57.12, 57.375], (3, 1, 1)).astype(np.float32),
        "mean": np.reshape([123.675, 116.28, 103.53], (3, 1, 1)).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "scales": np.array([1, 1, 256 / BODY_SIDE, 256 / BODY_SIDE], np.float32),
        "shape_2d": np.array([-1, 39, 5]),
        "shape_3d": np.array([-1, 39, 3]),
        "rows": rows,
        "starts": np.array([0]),
        "ends": np.array([2]),
        "last": np.array([2]),
        "half": np.array(128, np.float32),
        "one": np.array(1, np.float32),
        "pose_masked": np.array(False),
    }
    before = [
        helper.make_node("Mul", ["image", "std"], ["i0"]),
        helper.make_node("Add", ["i0", "mean"], ["i1"]),
        helper.make_node("Clip", ["i1", "low", "high"], ["i2"]),
        helper.make_node("Resize", ["i2", "", "scales"], ["i3"], mode="linear"),
        helper.make_node("Transpose", ["i3"], ["i4"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["i4"], ["pose_image"], to=TensorProto.UINT8),
    ]
    after = [
        helper.make_node("Reshape", ["pose_landmarks", "shape_2d"], ["l0"]),
        helper.make_node("Gather", ["l0", "rows"], ["l1"], axis=1),
        helper.make_node("Slice", ["l1", "starts", "ends", "last"], ["l2"]),
        helper.make_node("Div", ["l2", "half"], ["l3"]),
        helper.make_node("Sub", ["l3", "one"], ["joints_2d"]),
        helper.make_node("Reshape", ["pose_world", "shape_3d"], ["w0"]),
        helper.make_node("Gather", ["w0", "rows"], ["joints_3d"], axis=1),
        helper.make_node("Identity", ["cliff_cond"], ["cam_trans"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, _IMAGE)]
    inputs.append(helper.make_tensor_value_info("cliff_cond", TensorProto.FLOAT, _CONDITION))
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("cam_trans", "joints_2d", "joints_3d")
    ]
    weights = [*body.initializer, *(numpy_helper.from_array(value, name) for name, value in constants.items())]
    return _save_body(path, helper.make_graph([*before, *body.node, *after], "body", inputs, outputs, weights), None)


def _save_body(path: Path, graph: Any, metadata: dict[str, str] | None) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


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
