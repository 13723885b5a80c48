"""llama.cpp's own server, as the xllamacpp package holds it: `serve_llamacpp.py MODEL PORT SLOTS CONTEXT`.

Says `ready` once it listens, and leaves when its input ends.
"""

import sys

from xllamacpp.xllamacpp import CommonParams, Server


def main() -> None:
    model, port, slots, context = sys.argv[1], *map(int, sys.argv[2:])
    parameters = CommonParams()
    parameters.model.path = model
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context
    parameters.verbosity = -1
    server = Server(parameters)
    print("ready", flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
