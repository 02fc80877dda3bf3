"""Reads a TensorFlow Lite file of a convolutional network as the same `GraphModel` that TensorFlow.js files give.

Only what MediaPipe's files of poses, hands and faces hold: float16 weights, dense or sparse along their last axis. The
numbers of operations, fields and enumerations are those of TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import encode, packer
from flatbuffers.number_types import Int8Flags, Int32Flags, Uint32Flags
from flatbuffers.table import Table
from graph_model import GraphModel, Node

__all__ = ["read_tflite_model"]

_ADD, _CONCATENATION, _CONV, _DEPTHWISE, _DEPTH_TO_SPACE, _DEQUANTIZE, _DENSE, _SIGMOID, _MAX_POOL = (
    0, 2, 3, 4, 5, 6, 9, 14, 17,
)  # fmt: skip
_RESHAPE, _RESIZE, _PAD, _MEAN, _PRELU, _DENSIFY = 22, 23, 34, 40, 54, 124
_WITHOUT_OPTIONS = {_SIGMOID: "Sigmoid", _PAD: "Pad", _RESHAPE: "Reshape", _MEAN: "Mean", _PRELU: "Prelu"}
_PADDING = ("SAME", "VALID")
_ACTIVATIONS = {0: [], 1: ["Relu"], 3: ["Relu6"]}
_FLOAT16, _TYPES = 1, {0: np.float32, 1: np.float16, 2: np.int32}
_INDEX_TYPES = {1: np.int32, 2: np.uint16, 3: np.uint8}


class _Table:
    """A FlatBuffers table whose fields are read by their number."""

    def __init__(self, content: bytearray, position: int) -> None:
        self._table = Table(content, position)

    def _offset(self, field: int) -> int:
        return self._table.Offset(4 + 2 * field)

    def number(self, field: int, flags: Any = Int32Flags) -> int:
        offset = self._offset(field)
        return self._table.Get(flags, offset + self._table.Pos) if offset else 0

    def table(self, field: int) -> _Table | None:
        offset = self._offset(field)
        return _Table(self._table.Bytes, self._table.Indirect(offset + self._table.Pos)) if offset else None

    def tables(self, field: int) -> list[_Table]:
        offset = self._offset(field)
        if not offset:
            return []
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        return [_Table(self._table.Bytes, self._table.Indirect(start + 4 * i)) for i in range(count)]

    def array(self, field: int, kind: Any) -> np.ndarray:
        offset = self._offset(field)
        if not offset:
            return np.zeros(0, kind)
        count = self._table.VectorLen(offset)
        return np.frombuffer(self._table.Bytes, kind, count, self._table.Vector(offset))


def read_tflite_model(path: Path, source: str, converted_by: str) -> GraphModel:
    """Read the model of a file; nodes and weights are called t0, t1 ... by the number of their tensor."""
    content = bytearray(path.read_bytes())
    root = _Table(content, encode.Get(packer.uoffset, content, 0))
    codes, buffers = [code.number(0, Int8Flags) for code in root.tables(1)], root.tables(4)
    (graph,) = root.tables(2)
    weights = {}
    for number, tensor in enumerate(graph.tables(0)):
        raw = buffers[tensor.number(2, Uint32Flags)].array(0, np.uint8)
        if len(raw):
            weights[f"t{number}"] = _weight(tensor, raw)
    nodes: dict[str, Node] = {}
    for number in graph.array(1, np.int32):
        nodes[f"t{number}"] = Node(f"t{number}", "Placeholder", (), {})
    for operator in graph.tables(3):
        inputs = [f"t{i}" for i in operator.array(1, np.int32)]
        name = f"t{operator.array(2, np.int32)[0]}"
        code, options = codes[operator.number(0, Uint32Flags)], operator.table(4)
        if code in (_DENSIFY, _DEQUANTIZE):
            weights[name] = weights[inputs[0]]
        else:
            _add(nodes, weights, name, code, options, inputs)
    return GraphModel(nodes, weights, source, converted_by)


def _weight(tensor: _Table, raw: np.ndarray) -> np.ndarray:
    shape, values = tensor.array(0, np.int32), raw.view(_TYPES[tensor.number(1, Int8Flags)])
    sparsity = tensor.table(6)
    if sparsity is None:
        return values.reshape(shape)
    *dense, sparse = sparsity.tables(2)
    formats = [axis.number(0, Int8Flags) for axis in (*dense, sparse)]
    if formats != [0] * len(dense) + [1] or sparsity.array(0, np.int32).tolist() != list(range(len(shape))):
        raise SystemExit("a weight is sparse along other axes than its last one")
    starts, columns = (
        sparse.table(field + 1).array(0, _INDEX_TYPES[sparse.number(field, Int8Flags)]).astype(int)  # type: ignore[union-attr]
        for field in (2, 4)
    )
    weight = np.zeros((len(starts) - 1, shape[-1]), values.dtype)
    weight[np.repeat(np.arange(len(starts) - 1), np.diff(starts)), columns] = values
    return weight.reshape(shape)


def _add(
    nodes: dict[str, Node], weights: dict[str, np.ndarray], name: str, code: int, options: Any, inputs: list[str]
) -> None:
    """Convert an operation to TensorFlow.js's names; weights get TensorFlow's order of axes."""
    if code in (_CONV, _DEPTHWISE):
        kernel = weights[inputs[1]]
        weights[f"{name}_kernel"] = kernel.transpose(1, 2, 3, 0)  # (H, W, in, out), or (H, W, channels, 1)
        attributes = {
            "padding": _PADDING[options.number(0, Int8Flags)],
            "strides": [1, options.number(2), options.number(1), 1],
            "fused_ops": ["BiasAdd", *_ACTIVATIONS[options.number(3 if code == _CONV else 4, Int8Flags)]],
        }
        op = "_FusedConv2D" if code == _CONV else "FusedDepthwiseConv2dNative"
        nodes[name] = Node(name, op, (inputs[0], f"{name}_kernel", inputs[2]), attributes)
    elif code == _ADD:
        activation = _ACTIVATIONS[options.number(0, Int8Flags)]
        summed = f"{name}_sum" if activation else name
        nodes[summed] = Node(summed, "AddV2", tuple(inputs), {})
        if activation:
            nodes[name] = Node(name, activation[0], (summed,), {})
    elif code == _CONCATENATION:
        weights[f"{name}_axis"] = np.array(options.number(0), np.int32)
        nodes[name] = Node(name, "ConcatV2", (*inputs, f"{name}_axis"), {})
    elif code == _RESIZE:
        attributes = {"align_corners": options.number(2, Int8Flags), "half_pixel_centers": options.number(3, Int8Flags)}
        nodes[name] = Node(name, "ResizeBilinear", tuple(inputs), attributes)
    elif code == _DEPTH_TO_SPACE:
        nodes[name] = Node(name, "DepthToSpace", tuple(inputs), {"block_size": options.number(0)})
    elif code == _DENSE:
        weights[f"{name}_kernel"] = weights[inputs[1]].T  # (in, out)
        attributes = {"fused_ops": ["BiasAdd", *_ACTIVATIONS[options.number(0, Int8Flags)]]}
        nodes[name] = Node(name, "_FusedMatMul", (inputs[0], f"{name}_kernel", inputs[2]), attributes)
    elif code == _MAX_POOL:
        attributes = {
            "padding": _PADDING[options.number(0, Int8Flags)],
            "strides": [1, options.number(2), options.number(1), 1],
            "ksize": [1, options.number(4), options.number(3), 1],
        }
        nodes[name] = Node(name, "MaxPool", tuple(inputs), attributes)
    elif code in _WITHOUT_OPTIONS:
        nodes[name] = Node(name, _WITHOUT_OPTIONS[code], tuple(inputs), {})
    else:
        raise SystemExit(f"{name}: TensorFlow Lite's operation {code} is not supported")
