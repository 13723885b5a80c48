"""The graphs of the bag of words and of the LSTM, written by hand: torch's exporter cannot follow packed sequences.

ONNX's LSTM takes the length of each row, and reads it from both its ends as torch's does. The invariant: the graph says
what the model's own forward says of a padded batch.

Source: the ONNX operator LSTM-14: gates in the order input, output, forget, cell, where torch has input, forget, cell,
output.
Legend: B rows, T tokens, E width of the embedding, H width of the states.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

OPSET = 18
_INT64, _FLOAT = 7, 1  # TensorProto's numbers of the types


def words_graph(model: Any, *, of_tokens: bool) -> Any:
    """The ONNX model of a `WordsForSequenceClassification`, or of tokens."""
    onnx: Any = import_module("onnx")
    drawn = _Drawn(onnx)
    body = model.model
    states_BTH = drawn.add("Gather", drawn.weight("words", body.word_embeddings.weight), "input_ids")
    if body.lstm is not None:
        states_BTH = _lstm(drawn, body.lstm, states_BTH)
    read = states_BTH if of_tokens else _means(drawn, states_BTH)
    hidden = drawn.add("Relu", _linear(drawn, "dense", model.head.dense, read))
    drawn.add("Identity", _linear(drawn, "classifier", model.classifier, hidden), out="logits")
    helper = onnx.helper
    ids, mask = (helper.make_tensor_value_info(name, _INT64, ["B", "T"]) for name in ("input_ids", "attention_mask"))
    shape = ["B", "T", model.config.num_labels] if of_tokens else ["B", model.config.num_labels]
    logits = helper.make_tensor_value_info("logits", _FLOAT, shape)
    graph = helper.make_graph(drawn.nodes, "words", [ids, mask], [logits], drawn.weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="setsail")
    made.ir_version = 10
    onnx.checker.check_model(made)
    return made


class _Drawn:
    """The nodes and weights of a graph, as they are added."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, values: Any) -> str:
        array = values.detach().float().numpy() if isinstance(values, Tensor) else np.asarray(values)
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name


def _linear(drawn: _Drawn, name: str, layer: Any, read: str) -> str:
    product = drawn.add("MatMul", read, drawn.weight(f"{name}.weight", layer.weight.T))
    return drawn.add("Add", product, drawn.weight(f"{name}.bias", layer.bias))


def _means(drawn: _Drawn, states_BTH: str) -> str:
    mask_BT = drawn.add("Cast", "attention_mask", to=_FLOAT)
    mask_BT1 = drawn.add("Unsqueeze", mask_BT, drawn.weight("last", np.array([-1])))
    length = drawn.weight("length", np.array([1]))
    sums = drawn.add("ReduceSum", drawn.add("Mul", states_BTH, mask_BT1), length, keepdims=0)
    return drawn.add("Div", sums, drawn.add("ReduceSum", mask_BT1, length, keepdims=0))


def _lstm(drawn: _Drawn, lstm: Any, states_BTE: str) -> str:
    """The states [B, T, H] of all layers; both directions stand side by side."""
    num_tokens = drawn.add("ReduceSum", "attention_mask", drawn.weight("axis_of_tokens", np.array([1])), keepdims=0)
    lengths = drawn.add("Cast", num_tokens, to=6)  # int32
    states = drawn.add("Transpose", states_BTE, perm=[1, 0, 2])
    for layer in range(lstm.num_layers):
        matrices = [
            drawn.weight(f"lstm.{name}_{layer}", np.stack([_gates(part) for part in parts]))
            for name, parts in _parts(lstm, layer).items()
        ]
        found = drawn.add(
            "LSTM", states, *matrices, lengths, hidden_size=lstm.hidden_size, direction="bidirectional"
        )  # [T, 2, B, H / 2]
        by_token = drawn.add("Transpose", found, perm=[0, 2, 1, 3])
        states = drawn.add("Reshape", by_token, drawn.weight(f"joined_{layer}", np.array([0, 0, -1])))
    return drawn.add("Transpose", states, perm=[1, 0, 2])


def _parts(lstm: Any, layer: int) -> dict[str, list[Any]]:
    """Of each direction what reads, what remembers, and both biases one behind the other."""
    found: dict[str, list[Any]] = {"W": [], "R": [], "B": []}
    for direction in ("", "_reverse"):
        read, remembered, bias, other = (
            getattr(lstm, f"{name}_l{layer}{direction}").detach().float().numpy()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        found["W"].append([read])
        found["R"].append([remembered])
        found["B"].append([bias, other])
    return found


def _gates(blocks: list[Any]) -> Any:
    """Blocks of torch's four gates in ONNX's order."""
    ordered = []
    for block in blocks:
        enter, forget, cell, leave = np.split(block, 4)
        ordered += [enter, leave, forget, cell]
    return np.concatenate(ordered)
