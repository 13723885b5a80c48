"""The house: who may import whom, how long things may be, and what is never written."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "setsail"
MODULES = sorted(SOURCE.rglob("*.py"))

MAY_IMPORT = {
    "base": set(),
    "data": {"base"},
    "tokens": {"base"},
    "models": {"base"},
    "tasks": {"base", "tokens", "models"},
    "train": {"base", "models"},
    "evaluate": {"base", "data", "tokens", "models", "tasks"},
    "compress": {"base", "tokens", "models", "tasks", "train"},
    "tune": {"base"},
    "engine": {"base", "tokens", "models"},
    "serve": {"base", "tokens", "tasks", "engine"},
    "stages": {"base", "data", "tokens", "models", "tasks", "train", "evaluate", "compress", "tune", "engine", "serve"},
    "cli": {"base", "data", "serve", "stages"},
    "__main__": {"cli"},
    "__init__": set(),
}
# The rooms within `stages`, each of which imports from those before it; the spine are the files beside them.
STAGES = ("rows", "lessons", "feedback", "answering", "checks", "scores", "learn", "export", "search")
NO_TORCH = {"data", "tokens", "serve", "evaluate", "tune"}
TORCH = {"torch", "transformers", "peft", "accelerate"}
LONGEST_FUNCTION = 70
LONGEST_MODULE = 500
MOST_PARAMETERS = 10
DEEPEST_NESTING = 4
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "util", "helper"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names = [f"setsail.{alias.name}" for alias in node.names] if node.module == "setsail" else [node.module]
            found += [(name, node.lineno) for name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    room = room_of(path)
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[0] == "setsail" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] == room or parts[1] in MAY_IMPORT[room], f"{path}:{line}: {room} may not import {parts[1]}"
        if room in NO_TORCH or (room == "base" and path.name != "device.py"):
            assert parts[0] not in TORCH, f"{path}:{line}: {room} does without {parts[0]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_rooms_of_the_stages_are_in_order(path: Path) -> None:
    inside = path.relative_to(SOURCE).parts
    if inside[0] != "stages" or inside[1] not in STAGES:
        return
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[:2] == ["setsail", "stages"] and parts[2] in STAGES:
            later = STAGES.index(parts[2]) > STAGES.index(inside[1])
            assert not later, f"{path}:{line}: {inside[1]} may not import {parts[2]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_walls(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE, f"{path}: cut along a noun"
    assert not FORBIDDEN_NAMES & {path.stem, *path.relative_to(SOURCE).parts[:-1]}
    tree = ast.parse(text)
    assert text.strip() == "" or ast.get_docstring(tree), f"{path}: say what lives here"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{path}:{node.lineno}: {node.name} has {length} lines"
            count = len(node.args.args) + len(node.args.kwonlyargs)
            assert count <= MOST_PARAMETERS, f"{path}:{node.lineno}: {node.name} has {count} parameters"
            depth = nesting(node)
            assert depth <= DEEPEST_NESTING, f"{path}:{node.lineno}: {node.name} nests {depth} deep"


def nesting(node: ast.AST, depth: int = 0) -> int:
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(child, ast.If) and isinstance(node, ast.If) and child in node.orelse
        deeper = depth + (isinstance(child, blocks) and not is_elif)
        deepest = max(deepest, nesting(child, deeper))
    return deepest


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"{path}:{node.lineno}"
    for name, line in imports_of(path):
        assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle", "marshal", "shelve"}, (
            f"{path}:{line}: {name}"
        )
        if name.split(".")[0] == "jinja2":
            assert path.relative_to(SOURCE).as_posix() == "tokens/template.py", f"{path}:{line}: one place renders"


def test_the_command_answers_without_torch() -> None:
    code = "import sys, setsail.cli; print(*sorted({'torch', 'transformers', 'openvino_genai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
