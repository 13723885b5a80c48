"""What stands on PATH as `vllm` in the tests: understands the words that we say, and serves as vLLM would.

`FAKE_VLLM` is a folder: what it was called with is written there, and the file `how` says how it behaves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from far_server import FarServer  # beside this file

from setsail.tokens.tokenizer import load


def main() -> None:
    parser = argparse.ArgumentParser(prog="vllm")
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model", type=Path)
    for name in ("--served-model-name", "--host", "--generation-config"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--max-model-len"):
        parser.add_argument(name, required=True, type=int)
    said = parser.parse_args()
    folder = Path(os.environ["FAKE_VLLM"])
    how = (folder / "how").read_text() if (folder / "how").exists() else ""
    print("INFO loading weights", flush=True)
    if how == "too little memory":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory")
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    key = os.environ["VLLM_API_KEY"]
    called = {"argv": sys.argv[1:], "pids": [os.getpid(), worker.pid], "key": key, "environment": sorted(os.environ)}
    server = FarServer(load(said.model), port=said.port, key=key)
    server.models = [{"id": said.served_model_name, "max_model_len": said.max_model_len}]
    (folder / "called.json").write_text(json.dumps(called))
    server.serve_forever()


if __name__ == "__main__":
    main()
