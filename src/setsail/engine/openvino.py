"""OpenVINO GenAI reading a GGUF file itself: continuous batching on a CPU, no torch, no conversion.

Prompts go in as token ids and tokens come out as ids, so the library's own tokenizer is never used. Building one from
a vocabulary of 49,152 words takes half of the time to load, hence the four-word stand-in; grammars need the vocabulary,
and with them the stand-in holds it, but none of the merges. The library knows a limit
neither on requests nor on the length of a prompt: both are kept here. Log-probabilities are those of the chosen token
only.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import openvino
import openvino_genai as genai
from openvino_genai.py_openvino_genai import GenerationHandle

from setsail.base.errors import ModelError, UserError
from setsail.engine.contract import Event, GenerationRequest, Token, fit_to_context, refuse_grammar
from setsail.engine.gguf_limits import read_limits
from setsail.engine.registry import OPENVINO_ARCHITECTURES, OPENVINO_KINDS
from setsail.engine.slots import Slots
from setsail.models import gguf_file

# Faster than the library's defaults (bf16 and int8 in the cache) and closer to the weights in the file.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
CACHES = {"auto": "f32", "f32": "f32", "f16": "f16", "int8": "u8"}
BLOCK_TOKENS = 32
STEP_TOKENS = 512


@dataclass(frozen=True)
class Words:
    """A vocabulary as GGUF holds it, and the token that ends a text."""

    tokens: list[bytes]
    kinds: list[int]
    end: int


# The library fails on a vocabulary without a control token.
FEW_WORDS = Words([b"a", b"b", b"ab", b"end"], [*[int(gguf.TokenType.NORMAL)] * 3, int(gguf.TokenType.CONTROL)], end=3)


@dataclass(frozen=True)
class _Running:
    request: GenerationRequest
    handle: GenerationHandle


class OpenVinoEngine:
    """A pipeline that is stepped by `poll`, one token of every running request a step."""

    name = "openvino"

    def __init__(
        self,
        pipeline: genai.ContinuousBatchingPipeline,
        *,
        context: int,
        slots: int,
        num_tokens: int,
        takes_grammars: bool = False,
    ) -> None:
        self.context = context
        self.takes_grammars = takes_grammars
        self._pipeline = pipeline
        self._num_tokens = num_tokens
        self._slots = Slots(slots, self._start)

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        if not self.takes_grammars:
            refuse_grammar(self.name, request)
        self._slots.add(request_id, fit_to_context(request, self.context, self._num_tokens))

    def cancel(self, request_id: int) -> None:
        running = self._slots.drop(request_id)
        if running is not None:
            running.handle.cancel()

    def poll(self, timeout_seconds: float) -> list[Event]:
        events = self._slots.take_cancelled()
        self._slots.fill()
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        elif not events:
            time.sleep(timeout_seconds)
        for request_id, running in list(self._slots.running.items()):
            events += self._read(request_id, running)
        return events

    def close(self) -> None:
        """Stop what runs; the memory goes with the process."""
        for request_id in list(self._slots.running):
            self.cancel(request_id)

    def _start(self, request_id: int, request: GenerationRequest) -> _Running:
        prompt = openvino.Tensor(np.array([request.prompt_ids], dtype=np.int64))
        return _Running(request, self._pipeline.add_request(request_id, prompt, _config(request)))

    def _read(self, request_id: int, running: _Running) -> list[Event]:
        events: list[Event] = []
        handle, request = running.handle, running.request
        stopped = False
        while handle.can_read():
            for output in handle.read().values():
                logprobs = output.generated_log_probs if request.num_logprobs else [None] * len(output.generated_ids)
                stopped = stopped or output.finish_reason == genai.GenerationFinishReason.STOP
                events += [
                    (request_id, Token(token_id, logprob))
                    for token_id, logprob in zip(output.generated_ids, logprobs, strict=True)
                    if token_id not in request.stop_ids
                ]
        status = handle.get_status()
        if status == genai.GenerationStatus.IGNORED:
            events.append(self._slots.end(request_id, "error", "the engine has no memory left for this request"))
        elif status != genai.GenerationStatus.RUNNING:
            events.append(self._slots.end(request_id, "stop" if stopped else "length"))
        return events


def open_engine(
    model: Path, *, context: int, slots: int, threads: int | None, grammars: bool = False, cache: str = "auto"
) -> OpenVinoEngine:
    """An engine with a GGUF file.

    Raises: ModelError for a file that is damaged, or of an architecture or a kind of weights that the library does not
        read, or reads otherwise than the file says.
    """
    limits = read_limits(model)
    if limits.architecture not in OPENVINO_ARCHITECTURES:
        raise ModelError(
            f'OpenVINO does not read GGUF files of the architecture "{limits.architecture}"',
            place=str(model),
            hint="use the llamacpp engine",
        )
    if inexact := sorted(limits.kinds - OPENVINO_KINDS):
        raise ModelError(
            f"OpenVINO does not compute weights of {', '.join(inexact)} as the file says",
            place=str(model),
            hint="use the llamacpp engine",
        )
    context = min(context, limits.context or context)
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = STEP_TOKENS
    # One block more a slot than fits, since a request may begin a block that it does not fill.
    scheduler.num_kv_blocks = slots * (-(-context // BLOCK_TOKENS) + 1)
    scheduler.enable_prefix_caching = True
    words = _words(model) if grammars else FEW_WORDS
    properties = (
        PRECISION | {"KV_CACHE_PRECISION": CACHES[cache]} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    )
    try:
        pipeline = genai.ContinuousBatchingPipeline(str(model), _stand_in(words), scheduler, "CPU", **properties)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(f"OpenVINO cannot load it: {reason}", place=str(model), hint="use llamacpp") from error
    return OpenVinoEngine(
        pipeline,
        context=context,
        slots=slots,
        num_tokens=limits.num_tokens,
        takes_grammars=words is not FEW_WORDS,
    )


def _config(request: GenerationRequest) -> genai.GenerationConfig:
    config = genai.GenerationConfig()
    config.max_new_tokens = request.max_tokens
    config.do_sample = request.temperature > 0.0
    if config.do_sample:
        config.temperature = request.temperature
        config.top_p = request.top_p
        config.rng_seed = secrets.randbits(32) if request.seed is None else request.seed
    if request.stop_ids:
        config.stop_token_ids = set(request.stop_ids)
        # Left unset, the library takes the stand-in tokenizer's.
        config.eos_token_id = request.stop_ids[0]
    else:
        config.ignore_eos = True
    if request.grammar is not None:
        config.structured_output_config = genai.StructuredOutputConfig(grammar=request.grammar)
    config.logprobs = 1 if request.num_logprobs else 0
    try:
        config.validate()
    except RuntimeError as error:
        raise UserError(f"the engine refuses the request: {error}") from error
    return config


def _words(model: Path) -> Words:
    """A file's own vocabulary, where it is one whose tokens are bytes in GPT-2's alphabet; else the few words."""
    metadata = gguf_file.read(model).metadata
    kinds = metadata.get("tokenizer.ggml.token_type")
    if metadata.get("tokenizer.ggml.model") != "gpt2" or kinds is None:
        return FEW_WORDS
    words = [word.encode("utf-8", "surrogateescape") for word in metadata["tokenizer.ggml.tokens"]]
    return Words(words, list(kinds), int(metadata.get("tokenizer.ggml.eos_token_id", len(words) - 1)))


def _stand_in(words: Words) -> genai.Tokenizer:
    with tempfile.TemporaryDirectory(prefix="setsail-") as folder:
        path = Path(folder, "stand-in.gguf")
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(words.tokens)
        writer.add_token_types(words.kinds)
        writer.add_token_merges(["a b"])
        writer.add_bos_token_id(words.end)
        writer.add_eos_token_id(words.end)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return genai.Tokenizer(str(path))
