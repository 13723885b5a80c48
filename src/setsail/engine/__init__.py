"""Generating tokens: one narrow contract, and the engines that keep it."""

from setsail.engine.batch import Completion, generate_all
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.process import EngineProcess, Watch

__all__ = ["Completion", "EngineProcess", "Finished", "GenerationRequest", "Token", "Watch", "generate_all"]
