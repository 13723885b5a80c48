"""What this folder's model writes: python run.py "a text", or a text on each line of stdin; JSON lines out.

A line may be {"text": …, "max_tokens": …}. No port is opened: the engine runs inside this process.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from xllamacpp.xllamacpp import CommonParams, Server

HERE = Path(__file__).parent
TOLD = json.loads((HERE / "text.json").read_text("utf-8"))


def loaded(folder):
    parameters = CommonParams()
    parameters.model.path = str(HERE / "model.gguf")
    parameters.n_ctx, parameters.n_parallel = TOLD["context"], 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = cores
    parameters.hostnames = [str(Path(folder, "llama.sock"))]
    parameters.warmup = parameters.ui = parameters.fit_params = parameters.ctx_shift = False
    parameters.cache_ram_mib, parameters.verbosity = 0, -1
    return Server(parameters)


def written(server, fields):
    """The answer, chosen greedily."""
    body, found = {"max_tokens": fields.get("max_tokens", TOLD["max_tokens"]), "temperature": 0}, []
    if TOLD["chats"]:
        system = [{"role": "system", "content": TOLD["system"]}] if TOLD["system"] else []
        body["messages"] = [*system, {"role": "user", "content": fields["text"]}]
        server.handle_chat_completions(json.dumps(body), found.append)
        return json.loads(found[-1])["choices"][0]["message"]["content"]
    server.handle_completions(json.dumps({**body, "prompt": fields["text"]}), found.append)
    return json.loads(found[-1])["choices"][0]["text"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = loaded(folder)
        for line in sys.argv[1:] or map(str.strip, sys.stdin):
            fields = json.loads(line) if line.startswith("{") else {"text": line}
            print(json.dumps({**fields, "output": written(server, fields)}, ensure_ascii=False), flush=True)
