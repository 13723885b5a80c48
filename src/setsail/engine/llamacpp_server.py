"""llama.cpp's server inside this process, reached by calls and by a Unix socket in a private folder.

No TCP port is opened. The socket answers what the in-process calls do not: tokenizing and the chat template.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xllamacpp.xllamacpp import CommonAdapterLoraInfo, CommonParams, Server, ggml_type, llama_flash_attn_type

from setsail.base.errors import ModelError, SetsailError
from setsail.base.machine import num_cores

ANSWER_SECONDS = 60.0
_SILENT = -1
_CACHES = {"f32": ggml_type.GGML_TYPE_F32, "f16": ggml_type.GGML_TYPE_F16, "int8": ggml_type.GGML_TYPE_Q8_0}


class LlamaServer:
    """A loaded model with its adapters. `complete` may be called from several threads at once."""

    def __init__(
        self,
        model: Path,
        *,
        context: int,
        slots: int,
        threads: int | None,
        cache: str = "auto",
        adapters: Sequence[Path] = (),
    ) -> None:
        # The folder is removed with the process's own temporary folder, see `child`.
        self._socket = Path(tempfile.mkdtemp(prefix="llamacpp-"), "llama.sock")
        self._key = secrets.token_hex(16)
        parameters = _parameters(model, context=context, slots=slots, threads=threads or num_cores())
        _keep_in(parameters, cache)
        parameters.lora_adapters = [_adapter(path) for path in adapters]
        self.num_adapters = len(adapters)
        parameters.hostnames = [str(self._socket)]
        parameters.api_keys = [self._key]
        try:
            self._server = Server(parameters)
        except RuntimeError as error:
            hint = "see whether this version of llama.cpp knows its architecture"
            raise ModelError(f"llama.cpp cannot load it: {error}", place=str(model), hint=hint) from error

    def complete(self, body: dict[str, Any], on_chunk: Callable[[dict[str, Any]], bool]) -> None:
        """Generate; `on_chunk` gets each chunk and ends the generation within one step by returning True."""
        self._server.handle_completions(json.dumps(body), lambda chunk: on_chunk(json.loads(chunk)))

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text as llama.cpp and what is built on it read a prompt: special tokens seen, bos added."""
        return self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def tokenize_plain(self, text: str) -> list[int]:
        """The ids of a piece of text within a longer one."""
        return self._post("/tokenize", {"content": text, "add_special": False, "parse_special": False})["tokens"]

    def apply_template(self, messages: list[dict[str, str]]) -> str:
        """The prompt that the template in the file makes of a conversation."""
        return self._post("/apply-template", {"messages": messages})["prompt"]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self._socket))
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise SetsailError(f"llama.cpp refused {path}: {answer['error']['message']}")
        return answer


def _keep_in(parameters: CommonParams, cache: str) -> None:
    """Sets how fine the cache is; left alone it is f16."""
    if cache == "auto":
        return
    parameters.cache_type_k = parameters.cache_type_v = _CACHES[cache]
    # The library refuses values that are not floats without it.
    parameters.flash_attn_type = llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED


def _adapter(path: Path) -> CommonAdapterLoraInfo:
    """An adapter that is not applied where a request does not ask for it."""
    adapter = CommonAdapterLoraInfo()
    adapter.path, adapter.scale = str(path), 0.0
    return adapter


def _parameters(model: Path, *, context: int, slots: int, threads: int) -> CommonParams:
    parameters = CommonParams()
    parameters.model.path = str(model)
    parameters.n_parallel = slots
    parameters.n_ctx = context * slots
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = 2
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = _SILENT
    # The default keeps up to 8 GB of other people's prompts in memory; the slots' own caches suffice.
    parameters.cache_ram_mib = 0
    # The sizes are ours to choose: the library must not shrink them in silence.
    parameters.fit_params = False
    parameters.ctx_shift = False
    return parameters
