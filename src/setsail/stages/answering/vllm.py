"""The command that serves a run by vLLM, for whoever starts it elsewhere: a container, another machine, a service."""

from __future__ import annotations

import shlex
from pathlib import Path

from setsail.base.errors import UserError
from setsail.base.log import Log
from setsail.engine.vllm import HOST, KEY_VARIABLE, vllm_command
from setsail.stages.answering.engines import context_of, file_to_serve
from setsail.stages.answering.serving import read_run

PORT = 8001


def command_of_runs(*paths: Path) -> str:
    """vLLM's command for one run, whose key is read from its environment; how to put our face before it goes to stderr.

    Raises: UserError for several runs.
    """
    if len(paths) != 1:
        raise UserError("one vLLM serves one run", place="--engine", hint="print the command of each run by itself")
    run, recipe = read_run(paths[0])
    folder = file_to_serve(run.artifact("gguf"), recipe, "vllm").path
    log = Log()
    log.say(f"  first   export {KEY_VARIABLE}=…   a key of your own, where vLLM and where setsail is started")
    log.say(f"  then    setsail serve {paths[0]} --engine http://{HOST}:{PORT} --key-env {KEY_VARIABLE}")
    return shlex.join(vllm_command(folder, recipe.name, context=context_of(recipe), port=PORT))
