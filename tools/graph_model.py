"""Reads TensorFlow.js graph models, and runs them op by op with torch: the oracle of `convert_pose_networks.py`.

A graph model is a JSON file (nodes, and where each weight lies) beside one binary file. Tensors are NHWC as in
TensorFlow; float16 weights are kept as they are stored and computed with in float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["GraphModel", "Node", "read_graph_model", "run_graph_model", "same_padding"]

_TYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}
_TORCH_TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int64}  # indices of torch are int64


@dataclass(frozen=True)
class Node:
    """One operation; inputs are names of nodes, `name:k` for output k of a node with several."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class GraphModel:
    """A graph with its weights by name (float16 or int32), and its source."""

    nodes: dict[str, Node]
    weights: dict[str, np.ndarray]
    source: str
    converted_by: str

    @property
    def placeholder(self) -> str:
        """Name of the one input."""
        (found,) = (node.name for node in self.nodes.values() if node.op == "Placeholder")
        return found


def read_graph_model(path: Path) -> GraphModel:
    """Read the model of a JSON file with the weights of the files that it names."""
    document = json.loads(path.read_text(encoding="utf-8"))
    nodes = {}
    for entry in document["modelTopology"]["node"]:
        attributes = {name: _attribute(value) for name, value in entry.get("attr", {}).items()}
        inputs = tuple(name.removesuffix(":0") for name in entry.get("input", []) if not name.startswith("^"))
        nodes[entry["name"]] = Node(entry["name"], entry["op"], inputs, attributes)
    weights: dict[str, np.ndarray] = {}
    for group in document["weightsManifest"]:
        content, start = b"".join((path.parent / name).read_bytes() for name in group["paths"]), 0
        for entry in group["weights"]:
            stored = entry.get("quantization", {}).get("dtype")
            if stored not in (None, "float16"):
                raise SystemExit(f"{path}: {entry['name']} is stored as {stored}, expected float16")
            kind = np.float16 if stored else _TYPES[entry["dtype"]]
            count = int(np.prod(entry["shape"], dtype=int))
            weights[entry["name"]] = np.frombuffer(content, kind, count, start).reshape(entry["shape"])
            start += weights[entry["name"]].nbytes
        if start != len(content):
            raise SystemExit(f"{path}: its weights need {start} bytes, found {len(content)}")
    return GraphModel(nodes, weights, document.get("generatedBy", ""), document.get("convertedBy", ""))


def _attribute(value: dict[str, Any]) -> Any:
    """Convert a protobuf attribute to text, a number, a list of either, or JSON."""
    kind, content = next(iter(value.items()))
    if kind == "s":
        return base64.b64decode(content).decode("latin-1")
    if kind == "i":
        return int(content)
    if kind == "list":
        texts = [base64.b64decode(text).decode() for text in content.get("s", [])]
        return texts or [int(number) for number in content.get("i", [])]
    return content


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis before and after: the odd one more is at the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def run_graph_model(model: GraphModel, image: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
    """Compute the values of the named nodes for an input (1, H, W, 3)."""
    values: dict[str, Any] = {model.placeholder: torch.from_numpy(np.ascontiguousarray(image))}
    for name, weight in model.weights.items():
        wide = weight.astype(np.float32) if weight.dtype == np.float16 else weight.astype(np.int64)
        values[name] = torch.from_numpy(wide)

    def value(name: str) -> Any:
        base, _, part = name.partition(":")
        if base not in values:
            node = model.nodes[base]
            with torch.inference_mode():
                values[base] = _OPERATIONS[node.op](node.attributes, *map(value, node.inputs))
        return values[base][int(part or 0)] if isinstance(values[base], list) else values[base]

    return [value(name).numpy() for name in outputs]


def _activated(x: Tensor, attributes: dict[str, Any], slopes: Tensor | None = None) -> Tensor:
    for name in attributes.get("fused_ops", []):
        if name == "Prelu":
            assert slopes is not None
            x = _prelu(attributes, x, slopes)
        else:
            x = {"BiasAdd": lambda y: y, "Relu": torch.relu, "Relu6": functional.relu6}[name](x)
    return x


def _prelu(attributes: dict[str, Any], x: Tensor, slopes: Tensor) -> Tensor:
    return torch.where(x < 0, x * slopes, x)


def _padded(x: Tensor, attributes: dict[str, Any], kernel: Sequence[int], fill: float) -> Tensor:
    """`x` (N, C, H, W) padded as the attribute `padding` says."""
    if attributes["padding"] == "VALID":
        return x
    rows, columns = (same_padding(x.shape[2 + i], kernel[i], attributes["strides"][1 + i]) for i in (0, 1))
    return functional.pad(x, (*columns, *rows), value=fill)


def _convolution(
    attributes: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None, slopes: Tensor | None = None
) -> Tensor:
    x = _padded(x.permute(0, 3, 1, 2), attributes, weight.shape[:2], 0.0)
    y = functional.conv2d(x, weight.permute(3, 2, 0, 1), bias, attributes["strides"][1:3])
    return _activated(y.permute(0, 2, 3, 1), attributes, slopes)


def _depthwise(attributes: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = _padded(x.permute(0, 3, 1, 2), attributes, weight.shape[:2], 0.0)
    kernels = weight.permute(2, 3, 0, 1).flatten(0, 1)[:, None]
    y = functional.conv2d(x, kernels, bias, attributes["strides"][1:3], groups=x.shape[1])
    return _activated(y.permute(0, 2, 3, 1), attributes)


def _dense(attributes: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _activated(x @ weight + bias, attributes)


def _max_pool(attributes: dict[str, Any], x: Tensor) -> Tensor:
    kernel = attributes["ksize"][1:3]
    x = _padded(x.permute(0, 3, 1, 2), attributes, kernel, -float("inf"))
    return functional.max_pool2d(x, kernel, attributes["strides"][1:3]).permute(0, 2, 3, 1)


def _pad(attributes: dict[str, Any], x: Tensor, paddings: Tensor) -> Tensor:
    return functional.pad(x, [int(n) for pair in paddings.tolist()[::-1] for n in pair])


def _resize(attributes: dict[str, Any], x: Tensor, size: Tensor) -> Tensor:
    assert attributes["half_pixel_centers"]
    assert not attributes["align_corners"]
    y = functional.interpolate(x.permute(0, 3, 1, 2), tuple(size.tolist()), mode="bilinear", align_corners=False)
    return y.permute(0, 2, 3, 1)


def _depth_to_space(attributes: dict[str, Any], x: Tensor) -> Tensor:
    (n, h, w, c), b = x.shape, attributes["block_size"]
    return x.reshape(n, h, w, b, b, c // b**2).permute(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // b**2)


def _strided_slice(attributes: dict[str, Any], x: Tensor, begin: Tensor, end: Tensor, step: Tensor) -> Tensor:
    index: list[Any] = []
    for axis, (first, last, stride) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist(), strict=True)):
        bits = {name: attributes[f"{name}_mask"] >> axis & 1 for name in ("begin", "end", "new_axis", "shrink_axis")}
        if bits["new_axis"]:
            index.append(None)
        elif bits["shrink_axis"]:
            index.append(first)
        else:
            index.append(slice(None if bits["begin"] else first, None if bits["end"] else last, stride))
    return x[tuple(index)]


def _gather(attributes: dict[str, Any], x: Tensor, indices: Tensor) -> Tensor:
    return x[tuple(indices.unbind(-1))]


def _squeeze(attributes: dict[str, Any], x: Tensor) -> Tensor:
    return x.squeeze(tuple(attributes["squeeze_dims"]))


def _top(attributes: dict[str, Any], x: Tensor, count: Tensor) -> list[Tensor]:
    order = torch.argsort(x, dim=-1, descending=True, stable=True)[..., : int(count)]
    return [x.gather(-1, order), order]


def _integers(x: Tensor) -> list[int]:
    return [int(n) for n in x.reshape(-1).tolist()]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "_FusedConv2D": _convolution,
    "Conv2D": _convolution,
    "FusedDepthwiseConv2dNative": _depthwise,
    "DepthwiseConv2dNative": _depthwise,
    "_FusedMatMul": _dense,
    "Prelu": _prelu,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ResizeBilinear": _resize,
    "DepthToSpace": _depth_to_space,
    "StridedSlice": _strided_slice,
    "GatherNd": _gather,
    "Squeeze": _squeeze,
    "TopKV2": _top,
    "Identity": lambda a, x: x,
    "Relu": lambda a, x: torch.relu(x),
    "Relu6": lambda a, x: functional.relu6(x),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Abs": lambda a, x: x.abs(),
    "Exp": lambda a, x: x.exp(),
    "Sqrt": lambda a, x: x.sqrt(),
    "Reciprocal": lambda a, x: 1 / x,
    "AddV2": lambda a, x, y: x + y,
    "AddN": lambda a, *xs: sum(xs[1:], xs[0]),
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "RealDiv": lambda a, x, y: x / y,
    "FloorDiv": lambda a, x, y: torch.div(x, y, rounding_mode="floor"),
    "SquaredDifference": lambda a, x, y: (x - y) ** 2,
    "Maximum": lambda a, x, y: torch.maximum(x, y),
    "Minimum": lambda a, x, y: torch.minimum(x, y),
    "Less": lambda a, x, y: x < y,
    "Greater": lambda a, x, y: x > y,
    "GreaterEqual": lambda a, x, y: x >= y,
    "Equal": lambda a, x, y: x == y,
    "LogicalAnd": lambda a, x, y: x & y,
    "Select": lambda a, condition, x, y: torch.where(condition, x, y),
    "Cast": lambda a, x: x.to(_TORCH_TYPES[a["DstT"]]),
    "ArgMax": lambda a, x, axis: x.argmax(int(axis)),
    "Max": lambda a, x, axis: x.amax(_integers(axis), keepdim=bool(a["keep_dims"])),
    "Mean": lambda a, x, axis: x.mean(_integers(axis), keepdim=bool(a.get("keep_dims"))),
    "Sum": lambda a, x, axis: x.sum(_integers(axis), keepdim=bool(a["keep_dims"])),
    "Reshape": lambda a, x, shape: x.reshape(_integers(shape)),
    "ExpandDims": lambda a, x, axis: x.unsqueeze(int(axis)),
    "Unpack": lambda a, x: list(x.unbind(a.get("axis", 0))),
    "Pack": lambda a, *xs: torch.stack([torch.as_tensor(x) for x in xs], a.get("axis", 0)),
    "ConcatV2": lambda a, *xs: torch.cat(xs[:-1], int(xs[-1])),
    "Split": lambda a, axis, x: list(x.chunk(a["num_split"], int(axis))),
    "Tile": lambda a, x, counts: x.repeat(_integers(counts)),
    "Fill": lambda a, shape, x: x.expand(_integers(shape)),
    "Range": lambda a, first, last, step: torch.arange(first, last, step),
    "Shape": lambda a, x: torch.tensor(x.shape),
    "Size": lambda a, x: torch.tensor(x.numel()),
}
