"""Converts the networks of poses, hands and faces to the ONNX files that the package ships.

    python tools/convert_pose_networks.py FOLDER --detector pose_detection.tflite          writes detect/data
    python tools/convert_pose_networks.py FOLDER --detector pose_detection.tflite --check  … and compares them with an
                                                                                           interpreter of the graphs

FOLDER holds the TensorFlow.js graph models NAME.json and NAME.bin of the pose networks, and the TensorFlow Lite files
of hands and faces of mediapipe 0.10.14, which `--check` compares with their TensorFlow.js models. The detector's
TensorFlow.js files are of another training than mediapipe 0.10.14, to which the search's thresholds were fitted; it
comes from modules/pose_detection of that wheel.
Every ONNX network takes `image`, uint8 RGB (N, H, W, 3), and scales it itself; spatial outputs are (N, C, H, W).
Weights stay float16 in the file and are cast to float32 in the graph. BlazePose's mask, which takes up to half of the
time, is computed where the input `masked` is true. The decoding at the end of the MoveNet graphs is left out: it works
on one image only, and `humanpose_cli/detect/movenet.py` does it for batches. Equal inputs give equal bytes; those of
the compressed files depend on the version of zlib. Needs the package `onnx` (extra `dev`); `--check` needs torch,
onnxruntime and scikit-image as well.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from graph_model import GraphModel, Node, read_graph_model, run_graph_model, same_padding
from onnx import TensorProto, helper, numpy_helper
from tflite_model import read_tflite_model

from humanpose_cli.detect.runtime import POSE_NETWORKS
from humanpose_cli.files.planes import pack_planes

FOLDER = Path(__file__).resolve().parent.parent / "humanpose_cli" / "detect" / "data"
_OPSET, _IR_VERSION = 17, 8
_RESHAPED = {"Unpack", "ExpandDims", "Squeeze"}  # on an image they only take the batch axis off and put it on again


@dataclass(frozen=True)
class Network:
    """What to convert.

    size     side of the square input in pixels; None where any multiple of 32 will do
    scaling  factor and offset that take 0…255 to the graph's input; None where the graph does it itself
    outputs  node of the graph by name of the output
    about    one line for the file's metadata
    checked  the same for the TensorFlow.js graph that a TensorFlow Lite file is compared with
    """

    size: int | None
    scaling: tuple[float, float] | None
    outputs: Mapping[str, str]
    about: str
    checked: Mapping[str, str] = field(default_factory=dict)


_LANDMARK_OUTPUTS = {
    "landmarks": "Identity_2",
    "presence": "Identity_3",
    "heatmap": "Identity",
    "world": "Identity_4",
    "mask": "Identity_1",
}
_WHERE_MASKED = "mask"  # the last of these outputs
_DECODER = "StatefulPartitionedCall/"
NETWORKS = {
    "blazepose-detector": Network(
        224,
        (2 / 255, -1.0),
        {"logits": "t429", "values": "t441"},
        "BlazePose: people in a square image, as boxes and alignment points at 2,254 anchors",
    ),
    "blazepose-full": Network(
        256, (1 / 255, 0.0), _LANDMARK_OUTPUTS, "BlazePose full: 39 landmarks, mask and presence of one person"
    ),
    "blazepose-heavy": Network(
        256, (1 / 255, 0.0), _LANDMARK_OUTPUTS, "BlazePose heavy: 39 landmarks, mask and presence of one person"
    ),
    "movenet-thunder": Network(
        256,
        None,
        {
            "centre": f"{_DECODER}truediv_2",
            "regression": f"{_DECODER}kpt_regress_0/conv2d_6/BiasAdd",
            "heatmap": f"{_DECODER}Sigmoid",
            "offset": f"{_DECODER}kpt_offset_0/conv2d_7/BiasAdd",
        },
        "MoveNet Thunder: 17 joints of one person",
    ),
    "movenet-multipose": Network(
        None,
        None,
        {
            "centre": f"{_DECODER}Sigmoid",
            "regression": f"{_DECODER}kpt_regress_0/conv2d_8/BiasAdd",
            "heatmap": f"{_DECODER}Sigmoid_1",
            "offset": f"{_DECODER}kpt_offset_0/conv2d_9/BiasAdd",
            "box_offset": f"{_DECODER}box_offset_0/conv2d_6/BiasAdd",
            "box_size": f"{_DECODER}box_scale_0/conv2d_5/BiasAdd",
        },
        "MoveNet MultiPose: 17 joints and boxes of several people",
    ),
    "hand-landmark": Network(
        224,
        (1 / 255, 0.0),
        {"landmarks": "t165", "presence": "t164", "world": "t166"},
        "MediaPipe hands: 21 landmarks and presence of one hand",
        {"landmarks": "Identity", "presence": "Identity_1", "world": "Identity_3"},
    ),
    "face-landmark": Network(
        192,
        (1 / 255, 0.0),
        {"landmarks": "t213", "score": "t210"},
        "MediaPipe faces: 468 landmarks of one face",
        {"landmarks": "Identity_2", "score": "StatefulPartitionedCall/model_1/conv2d_31/BiasAdd"},
    ),
}


class Converter:
    """Writes the nodes that the outputs need, in the order in which they are needed; activations are NCHW."""

    def __init__(self, model: GraphModel, network: Network) -> None:
        self._model, self._network = model, network
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []
        self._values: dict[str, str] = {}  # name in ONNX by node of the graph
        convolutions = ("_FusedConv2D", "Conv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative")
        self._emitters = {
            **dict.fromkeys(convolutions, self._convolution),
            **dict.fromkeys(("Reshape", "ConcatV2"), self._joined),
            **dict.fromkeys(("_FusedMatMul", "Mean"), self._of_all_pixels),
        }

    def model(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the ONNX model."""
        outputs, side = [], self._network.size
        shape = ["n", side or "height", side or "width", 3]
        inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)]
        for name, node in self._network.outputs.items():
            shape = ["n", *[None] * (self._rank(self._model.nodes[node]) - 1)]
            output = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            if name == _WHERE_MASKED:
                self._emit_where_masked(node, output)
                inputs.append(helper.make_tensor_value_info("masked", TensorProto.BOOL, []))
            else:
                self._emit("Identity", self._value(node), name=name)
            outputs.append(output)
        graph = helper.make_graph(self._nodes, "pose", inputs, outputs, self._initialisers)
        opset = helper.make_opsetid("", _OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="humanpose-cli")
        helper.set_model_props(made, dict(sorted(metadata.items())))
        onnx.checker.check_model(made)
        return made

    def _emit_where_masked(self, node: str, output: onnx.ValueInfoProto) -> None:
        """Emit the nodes that only the last output needs as a branch; the other branch returns no images."""
        nodes, initialisers = len(self._nodes), len(self._initialisers)
        name = self._value(node)
        masked_part = self._nodes[nodes:], self._initialisers[initialisers:]
        del self._nodes[nodes:], self._initialisers[initialisers:]
        branch = helper.make_graph(masked_part[0], "masked", [], [_renamed(output, name)], masked_part[1])
        nothing = numpy_helper.from_array(np.zeros((0, 1, 1, 1), np.float32), "nothing")
        constant = helper.make_node("Constant", [], ["nothing"], value=nothing)
        other = helper.make_graph([constant], "unmasked", [], [_renamed(output, "nothing")])
        self._emit("If", "masked", name=output.name, then_branch=branch, else_branch=other)

    def _rank(self, node: Node) -> int:
        while node.op in ("Identity", "ConcatV2", "Sigmoid"):
            node = self._model.nodes[node.inputs[0]]
        if node.op == "_FusedMatMul":
            return 2
        return len(self._row_shape(node)) if node.op == "Reshape" else 4

    def _emit(self, op: str, *inputs: str, name: str = "", **attributes: object) -> str:
        name = name or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def _constant(self, array: np.ndarray) -> str:
        """Add an initialiser; float16 is cast to float32."""
        name = f"w{len(self._initialisers)}"
        self._initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return self._emit("Cast", name, to=TensorProto.FLOAT) if array.dtype == np.float16 else name

    def _value(self, name: str) -> str:
        if name not in self._values:
            if name in self._model.weights:
                self._values[name] = self._constant(_channels_first(self._model.weights[name]))
            else:
                self._values[name] = self._node(self._model.nodes[name])
        return self._values[name]

    def _node(self, node: Node) -> str:
        if node.op == "Placeholder":
            return self._image()
        if node.op in _RESHAPED or (node.op == "Cast" and node.inputs[0] == self._model.placeholder):
            return self._value(node.inputs[0])
        if node.op in self._emitters:
            return self._emitters[node.op](node)
        inputs = [self._value(name) for name in node.inputs[: 2 if node.op in _ELEMENTWISE else 1]]
        if node.op in _ELEMENTWISE:
            return self._emit(_ELEMENTWISE[node.op], *inputs)
        if node.op == "Relu6":
            return self._emit("Clip", *inputs, self._constant(np.float32(0)), self._constant(np.float32(6)))
        if node.op == "Pad":
            pads = self._model.weights[node.inputs[1]][[0, 3, 1, 2]].T.reshape(-1)
            return self._emit("Pad", *inputs, self._constant(pads.astype(np.int64)))
        if node.op == "ResizeBilinear":  # all of them double the size, which the additions behind them hold to
            scales = self._constant(np.array([1, 1, 2, 2], np.float32))
            mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            return self._emit("Resize", *inputs, "", scales, **mode)
        if node.op == "MaxPool":  # the sizes are even: neither kind of padding adds anything
            kernel, strides = node.attributes["ksize"][1:3], node.attributes["strides"][1:3]
            return self._emit("MaxPool", *inputs, kernel_shape=kernel, strides=strides)
        if node.op == "DepthToSpace":
            return self._emit("DepthToSpace", *inputs, blocksize=node.attributes["block_size"])
        raise SystemExit(f"{node.name}: the operation {node.op} is not supported")

    def _image(self) -> str:
        """Emit the input as float32, scaled, NCHW."""
        image = self._emit("Cast", "image", to=TensorProto.FLOAT)
        if self._network.scaling is not None:
            factor, offset = self._network.scaling
            image = self._emit("Mul", image, self._constant(np.float32(factor)))
            image = self._emit("Add", image, self._constant(np.float32(offset))) if offset else image
        return self._emit("Transpose", image, perm=[0, 3, 1, 2])

    def _convolution(self, node: Node) -> str:
        """Also with bias and activation; "SAME" padding for sizes that the stride divides, which all sizes here are."""
        weight = self._model.weights[node.inputs[1]]
        kernel, strides = weight.shape[:2], node.attributes["strides"][1:3]
        depthwise = "Depthwise" in node.op
        kernels = weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(3, 2, 0, 1)
        inputs = [
            self._value(node.inputs[0]),
            self._constant(kernels.reshape(-1, 1, *kernel) if depthwise else kernels),
        ]
        inputs += [self._value(name) for name in node.inputs[2:]]
        pads = [(0, 0), (0, 0)]
        if node.attributes["padding"] == "SAME":
            pads = [same_padding(1024, kernel[i], strides[i]) for i in (0, 1)]
        result = self._emit(
            "Conv",
            *inputs,
            kernel_shape=list(kernel),
            strides=strides,
            pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
            group=weight.shape[2] if depthwise else 1,
        )
        activation = [name for name in node.attributes.get("fused_ops", []) if name != "BiasAdd"]
        if activation == ["Relu6"]:
            return self._emit("Clip", result, self._constant(np.float32(0)), self._constant(np.float32(6)))
        return self._emit("Relu", result) if activation == ["Relu"] else result

    def _of_all_pixels(self, node: Node) -> str:
        """Emit the mean of feature maps over their pixels, or a product of such means."""
        if node.op == "Mean":
            return self._emit("ReduceMean", self._value(node.inputs[0]), axes=[2, 3], keepdims=0)
        means, kernel, bias = (self._value(name) for name in node.inputs)
        return self._emit("Add", self._emit("MatMul", means, kernel), bias)

    def _joined(self, node: Node) -> str:
        """Reshape of a feature map to rows, and concatenation of such rows: NHWC, as in the original."""
        if node.op == "ConcatV2":
            axis = int(self._model.weights[node.inputs[-1]])
            return self._emit("Concat", *(self._value(name) for name in node.inputs[:-1]), axis=axis)
        rows = self._emit("Transpose", self._value(node.inputs[0]), perm=[0, 2, 3, 1])
        return self._emit("Reshape", rows, self._constant(np.array(self._row_shape(node), np.int64)))

    def _row_shape(self, node: Node) -> list[int]:
        """Of a Reshape; 0 stands for as many images as came in."""
        if node.inputs[1] in self._model.weights:
            return [0, *self._model.weights[node.inputs[1]][1:].tolist()]
        return [int(self._model.weights.get(name, 0)) for name in self._model.nodes[node.inputs[1]].inputs]


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed


_ELEMENTWISE = {
    "AddV2": "Add",
    "Sub": "Sub",
    "Mul": "Mul",
    "Sigmoid": "Sigmoid",
    "Relu": "Relu",
    "Prelu": "PRelu",
    "Identity": "Identity",
}


def _channels_first(weight: np.ndarray) -> np.ndarray:
    """Transpose a constant (…, H, W, C), which is added to or multiplied with feature maps, to (…, C, H, W)."""
    return np.moveaxis(weight, -1, -3) if weight.ndim > 2 else weight


@dataclass(frozen=True)
class Sources:
    """Where the originals lie: a folder of models, and the detector's TensorFlow Lite file."""

    folder: Path
    detector: Path

    def read(self, name: str) -> GraphModel:
        """One network's graph and weights."""
        path = self._files(name)[0]
        if name in _WHEELS:
            module = _WHEELS[name].rpartition("/")[0]
            return read_tflite_model(path, f"https://github.com/google/mediapipe, {module} of the wheel 0.10.14", "")
        model = read_graph_model(path)
        return replace(model, converted_by=f"{model.converted_by} to TensorFlow.js with float16 weights; ")

    def digests(self, name: str) -> str:
        """SHA-256 of the network's files."""
        files = self._files(name)
        return ", ".join(f"{path.suffix[1:]} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)

    def _files(self, name: str) -> list[Path]:
        if name == "blazepose-detector":
            return [self.detector]
        if name in _WHEELS:
            return [self.folder / f"{_WHEELS[name].rpartition('/')[2]}.tflite"]
        return [self.folder / f"{name}.json", self.folder / f"{name}.bin"]


_WHEELS = {
    "blazepose-detector": "modules/pose_detection/pose_detection",
    "hand-landmark": "modules/hand_landmark/hand_landmark_full",
    "face-landmark": "modules/face_landmark/face_landmark",
}


def convert(sources: Sources, name: str) -> bytes:
    """Convert one network to an ONNX file."""
    model = sources.read(name)
    metadata = {
        "name": name,
        "about": NETWORKS[name].about,
        "licence": "Apache-2.0",
        "source": model.source,
        "converted_by": f"{model.converted_by}tools/convert_pose_networks.py of humanpose-cli",
        "source_sha256": sources.digests(name),
    }
    made = Converter(model, NETWORKS[name]).model(metadata)
    if made.ByteSize() % 2:
        made.doc_string = "."  # a field of three bytes: `.planes.gz` needs an even size
    return made.SerializeToString(deterministic=True)


def inputs_of(network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs for all outputs of an ONNX network."""
    return {"image": images, **({"masked": np.array(True)} if _WHERE_MASKED in network.outputs else {})}


def largest_differences(sources: Sources, name: str, content: bytes, images: np.ndarray) -> dict[str, float]:
    """Return the max difference of each output from the interpreter's, in per cent for values above 100.

    images (N, H, W, 3) uint8: one batch for ONNX Runtime, one by one for the interpreter.
    """
    import onnxruntime

    network = NETWORKS[name]
    nodes = network.checked or network.outputs
    model = read_graph_model(sources.folder / f"{name}.json") if network.checked else sources.read(name)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    batch = session.run(list(network.outputs), inputs_of(network, images))
    worst = dict.fromkeys(network.outputs, 0.0)
    for row, image in enumerate(images[:, None]):
        inputs = image.astype(np.int64)
        if network.scaling is not None:
            inputs = image.astype(np.float32) * np.float32(network.scaling[0]) + np.float32(network.scaling[1])
        expected = run_graph_model(model, inputs, list(nodes.values()))
        for output, theirs, mine in zip(worst, expected, batch, strict=True):
            theirs = (np.moveaxis(theirs, -1, -3) if theirs.ndim == 4 else theirs).reshape(mine[row].shape)
            differences = np.abs(theirs - mine[row]) / np.maximum(np.abs(theirs) / 100, 1)
            worst[output] = max(worst[output], float(differences.max()))
    return worst


def _check_images(size: int) -> np.ndarray:
    """(6, size, size, 3) uint8: noise, and a photograph of a person in several crops."""
    import cv2
    import skimage.data

    photo = skimage.data.astronaut()
    crops = [photo, photo[:, ::-1], photo[:300, 80:380], photo[100:500, 0:400], photo.transpose(1, 0, 2)]
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return np.stack([noise, *(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in crops)])


def main() -> None:
    """Convert, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", type=Path, required=True, help="pose_detection.tflite of mediapipe 0.10.14")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(options.folder, options.detector)
    for name, network in NETWORKS.items():
        content = convert(sources, name)
        path = options.out / POSE_NETWORKS[name].name
        stored = pack_planes(content)
        path.write_bytes(stored)
        print(f"{path.name}: {len(stored):,} bytes, SHA-256 {hashlib.sha256(stored).hexdigest()}")
        if options.check:
            for size in (network.size,) if network.size else (256, 512):
                found = largest_differences(sources, name, content, _check_images(size))
                differences = ", ".join(f"{output} {value:.1e}" for output, value in found.items())
                print(f"  {size} pixels, largest differences: {differences}")


if __name__ == "__main__":
    main()
