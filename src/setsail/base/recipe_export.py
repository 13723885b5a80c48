"""What a recipe says of the files that leave: their format and their precisions.

The invariant: a precision belongs to a format, and a format to kinds of tasks; a recipe that mixes them is refused.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from setsail.base.recipe_part import Part

GGUF_WEIGHTS = ("q8_0", "q4_k", "q4_0", "bf16", "f16", "mixed")
ONNX_WEIGHTS = ("f32", "int8")


class Export(Part):
    """The files that leave: `format: gguf` writes one GGUF for each entry of `weights`; the first is served.

    `q4_k` is for matrices whose rows are multiples of 256; others become q5_0, and llama.cpp serves it.
    `mixed` has some layers at four bits and the others at eight, as far as `compress.max_loss` allows.
    `format: onnx` is for the tasks of an encoder; its weights are f32 and int8. With `adapter` what was trained by LoRA
    leaves as a small file beside the base's, and runs of one base are served by one engine.
    """

    format: Literal["gguf", "safetensors", "onnx"] = "gguf"
    weights: tuple[Literal["q8_0", "q4_k", "q4_0", "bf16", "f16", "mixed", "f32", "int8"], ...] = ("q8_0",)
    adapter: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("weights"), str):
            value = {**value, "weights": [value["weights"]]}
        return {"weights": list(ONNX_WEIGHTS), **value} if value.get("format") == "onnx" else value

    @model_validator(mode="after")
    def _weights_of_the_format(self) -> Export:
        known = ONNX_WEIGHTS if self.format == "onnx" else GGUF_WEIGHTS
        wrong = [name for name in self.weights if name not in known]
        if wrong or not self.weights or len(set(self.weights)) < len(self.weights):
            what = f"{wrong[0]} is no precision of format {self.format}" if wrong else "say each precision once"
            raise ValueError(f"{what}: weights are of {', '.join(known)}")
        if self.adapter and (self.format != "gguf" or len(self.weights) > 1 or "mixed" in self.weights):
            raise ValueError("adapter: true leaves one base of format gguf as it is: name one precision, and not mixed")
        return self


def refuse_unfit_export(export: Export, engine: str, *, task: str, is_encoder: bool, method: str) -> None:
    """Raises: ValueError for ONNX files of a model that writes, an adapter that is none, and an engine without them."""
    if export.adapter and (is_encoder or method != "lora"):
        raise ValueError("export.adapter is for finetune: {method: lora} of a model that writes: leave it out")
    if export.adapter and engine not in ("auto", "llamacpp"):
        raise ValueError(f"the engine {engine} takes no adapter file: leave serve.engine out, or say llamacpp")
    if export.format == "onnx" and not is_encoder:
        raise ValueError(f"task {task} leaves as gguf or safetensors: ONNX is for the tasks of an encoder")
    if engine == "openvino" and export.format == "gguf" and export.weights[0] == "q4_k":
        raise ValueError("OpenVINO computes q4_k inexactly: leave serve.engine out, or say llamacpp")
    if engine in ("remote", "vllm") and is_encoder:
        raise ValueError(f"the engine {engine} runs models that write, and task {task} trains an encoder")
    if engine == "onnx" and export.format != "onnx":
        raise ValueError("the engine onnx runs what format: onnx exports: write export: {format: onnx}")
