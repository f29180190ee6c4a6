"""A small network with YuNet's inputs and outputs that detects white squares filling a cell of its grids."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def write_yunet(path: Path, outputs: tuple[str, ...] = tuple(CHANNELS)) -> str:
    """Write the network: a cell's score is its brightness, its box the cell itself, in each of the three grids."""
    nodes, weights, results = [], [], []
    for stride in STRIDES:
        sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", ["input"], [f"cells_{stride}"], **sides))
        for name in outputs:
            channels, it = CHANNELS[name], f"{name}_{stride}"
            brightness = np.full((channels, 3, 1, 1), 1 / (3 * 255) if channels == 1 else 0, np.float32)
            middle = np.array([0.5, 0.5] + [0] * (channels - 2) if name == "bbox" else [0] * channels, np.float32)
            shape = np.array([1, -1, channels], np.int64)
            for array, what in ((brightness, "weight"), (middle, "bias"), (shape, "shape")):
                weights.append(numpy_helper.from_array(array, f"{what}_{it}"))
            nodes += [
                helper.make_node("Conv", [f"cells_{stride}", f"weight_{it}", f"bias_{it}"], [f"map_{it}"]),
                helper.make_node("Transpose", [f"map_{it}"], [f"last_{it}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{it}", f"shape_{it}"], [it]),
            ]
            size = [1, (640 // stride) ** 2, channels]
            results.append(helper.make_tensor_value_info(it, TensorProto.FLOAT, size))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "yunet", [image], results, weights)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8).SerializeToString()
    )
    onnx.checker.check_model(str(path))
    return str(path)
