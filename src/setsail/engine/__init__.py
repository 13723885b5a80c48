"""Generating tokens: one narrow contract, and the engines that keep it."""

import sys

from setsail.engine.batch import Completion, generate_all
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.process import EngineProcess, Watch

__all__ = ["Completion", "EngineProcess", "Finished", "GenerationRequest", "Token", "Watch", "generate_all"]

# Importing openvino forks a process that reports its use to Google Analytics, without asking; that process also keeps
# our pipes open after a crash. With its telemetry package out of reach openvino does without. This stands here since
# nothing of this room can be imported before it.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
