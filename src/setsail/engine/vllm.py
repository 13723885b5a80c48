"""vLLM as an engine: its own server, started from its own environment, asked as any remote server is.

vLLM wants other versions of half our packages, so it is never imported: the command `vllm` is looked for on PATH. The
server listens on this machine only, behind a key that nobody else learns: it travels in the environment, never on a
command line. The invariant: vLLM ends with this process, and this process with vLLM.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from setsail.base.environment import without_key
from setsail.base.errors import ModelError, SystemRefusal, UserError
from setsail.base.recipe_data import Server
from setsail.engine import remote
from setsail.engine.remote import RemoteEngine

LOAD_SECONDS = 1800.0
KEY_VARIABLE = "VLLM_API_KEY"
HOST = "127.0.0.1"
_LAST_WORDS = 12
_LOOK_SECONDS = 0.25
_END_SECONDS = 5.0
_INSTALL = (
    "install it in an environment of its own: python3 -m venv ~/vllm && ~/vllm/bin/pip install vllm, "
    "and put it on PATH: ln -s ~/vllm/bin/vllm ~/.local/bin/; or use another --engine"
)


def vllm_command(model: Path, name: str, *, context: int, port: int, program: str = "vllm") -> list[str]:
    """The exact command that serves the Hugging Face folder `model` under `name`.

    The folder's own defaults for sampling are left out: each request says all.
    """
    command = [program, "serve", str(model.resolve()), "--served-model-name", name, "--host", HOST, "--port", str(port)]
    return [*command, "--max-model-len", str(_longest(model, context)), "--generation-config", "vllm"]


def find_program() -> str:
    """Where vLLM's command is. Raises: UserError when it is not on PATH."""
    found = shutil.which("vllm")
    if found is None:
        raise UserError("vLLM is not installed here: there is no command vllm on PATH", place="engine", hint=_INSTALL)
    return found


def open_engine(model: Path, *, server: Server, context: int, slots: int, grammars: bool = False) -> RemoteEngine:
    """vLLM with the folder `model`, loaded; of `server` the name of the model is used.

    Raises: UserError when vLLM is not installed; ModelError when it ends before it is ready.
    """
    port, key = _free_port(), secrets.token_urlsafe(32)
    command = vllm_command(model, server.model, context=context, port=port, program=find_program())
    running = _Running(command, {**without_key(), KEY_VARIABLE: key, "VLLM_NO_USAGE_STATS": "1"})
    running.wait_until_it_listens(port, place=str(model))
    here = Server(url=f"http://{HOST}:{port}", model=server.model)
    opened = remote.open_engine(
        model, server=here, context=context, slots=slots, grammars=grammars, key=key, name="vllm"
    )
    running.end_us_with_it()
    return opened


class _Running:
    """vLLM's process, by its keeper, and what it said last."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        keeper = [sys.executable, "-P", "-m", "setsail.engine.keeper", *command]
        # Our end of its input is held open for as long as this process lives.
        self._keeper = subprocess.Popen(
            keeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listener = threading.Thread(target=self._listen, name="vllm-words", daemon=True)
        self._listener.start()

    def wait_until_it_listens(self, port: int, *, place: str) -> None:
        """Returns when somebody answers at the port. Raises: ModelError, SystemRefusal."""
        deadline = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < deadline:
            if self._keeper.poll() is not None:
                raise ModelError(f"{self._end()} before it was ready", place=place, hint=self._told())
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(_LOOK_SECONDS)
        raise SystemRefusal(f"vLLM did not listen within {LOAD_SECONDS:g} s", place=place, hint=self._told())

    def end_us_with_it(self) -> None:
        """From now on its end is the end of this process, which is then started again by its parent."""
        threading.Thread(target=self._end_us, name="vllm-watch", daemon=True).start()

    def _end_us(self) -> None:
        self._keeper.wait()
        print(self._end(), file=sys.stderr, flush=True)
        os._exit(1)

    def _end(self) -> str:
        status = self._keeper.wait()
        self._listener.join(_END_SECONDS)
        return f"vLLM ended with status {status}"

    def _told(self) -> str | None:
        return "it said last:\n" + "\n".join(f"    {line}" for line in self._words) if self._words else None

    def _listen(self) -> None:
        assert self._keeper.stdout is not None
        for line in self._keeper.stdout:
            text = line.decode("utf-8", "replace").rstrip()
            self._words.append(text)
            print(text, file=sys.stderr, flush=True)


def _longest(model: Path, context: int) -> int:
    """The context, or what the model was made for where that is less: vLLM refuses more."""
    try:
        made_for = json.loads((model / "config.json").read_text("utf-8")).get("max_position_embeddings")
    except (OSError, ValueError) as error:
        raise ModelError(f"config.json cannot be read: {error}", place=str(model)) from None
    return min(context, made_for) if isinstance(made_for, int) else context


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
