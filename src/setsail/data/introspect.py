"""Run as a child process: imports a package and prints the docstrings of its public names as JSON.

The package's own code runs here and nowhere else, so that a crash, a print or a hang of it cannot reach the product.
What does not live here: any reading of the docstrings (`docstrings.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TypedDict

_NOT_PUBLIC = {"test", "tests", "conftest", "setup", "__main__"}


class Documented(TypedDict):
    """One public name: where it lives, what calls it, and its docstring as written."""

    name: str
    kind: str
    signature: str
    doc: str


def public_modules(package: ModuleType) -> dict[str, ModuleType]:
    """The package and the modules that it shows: no underscore, no tests, named by `__all__` where there is one."""
    found = {package.__name__: package}
    waiting = [package]
    while waiting:
        module = waiting.pop()
        for name in sorted(_submodule_names(module)):
            full = f"{module.__name__}.{name}"
            child = getattr(module, name, None) or _imported(full)
            if isinstance(child, ModuleType) and child.__name__ == full and full not in found:
                found[full] = child
                waiting.append(child)
    return found


def _submodule_names(module: ModuleType) -> Iterator[str]:
    listed = getattr(module, "__all__", None)
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        name = info.name
        if name.startswith("_") or name in _NOT_PUBLIC:
            continue
        if listed is None or name in listed:
            yield name


def _imported(name: str) -> ModuleType | None:
    # A submodule may need what is not installed, or refuse in a way of its own; it is then not part of what is shown.
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):
        return None


def documented(package_name: str) -> list[Documented]:
    """Every public function, class and method of a package that has a docstring of its own."""
    top = package_name.split(".", 1)[0]
    best: dict[int, tuple[tuple[int, bool, str], object]] = {}
    for module_name, module in public_modules(importlib.import_module(package_name)).items():
        for name, value in _public_values(module):
            if not _belongs(value, top):
                continue
            full = f"{module_name}.{name}"
            # Of several names the shortest, and of those the one that the thing calls itself: an alias is not listed.
            rank = (full.count("."), name != getattr(value, "__name__", name), full)
            if id(value) not in best or rank < best[id(value)][0]:
                best[id(value)] = (rank, value)
    entries: list[Documented] = []
    for (_, _, full), value in sorted(best.values(), key=lambda item: item[0][2]):
        entries.extend(_entries(full, value))
    return entries


def _public_values(module: ModuleType) -> Iterator[tuple[str, object]]:
    listed = getattr(module, "__all__", None)
    names = listed if listed is not None else [name for name in vars(module) if not name.startswith("_")]
    for name in sorted(set(names)):
        value = getattr(module, name, None)
        if callable(value) and not name.startswith("_"):
            yield name, value


def _belongs(value: object, top: str) -> bool:
    module = getattr(value, "__module__", None)
    return not isinstance(module, str) or module.split(".", 1)[0] == top


def _entries(full: str, value: object) -> Iterator[Documented]:
    if not isinstance(value, type):
        if _own_doc(value):
            yield Documented(name=full, kind="function", signature=_signature(value), doc=_own_doc(value))
        return
    if _own_doc(value):
        yield Documented(name=full, kind="class", signature=_signature(value), doc=_own_doc(value))
    for name in sorted(vars(value)):
        member = getattr(value, name, None)
        if name.startswith("_") or isinstance(member, type) or not _own_doc(member):
            continue
        kind = "method" if callable(member) else "attribute"
        signature = _signature(member) if callable(member) else ""
        yield Documented(name=f"{full}.{name}", kind=kind, signature=signature, doc=_own_doc(member))


def _own_doc(value: object) -> str:
    """A docstring that was written for the value, not for its type."""
    doc = getattr(value, "__doc__", None)
    if not isinstance(doc, str) or (not isinstance(value, type) and doc == type(value).__doc__):
        return ""
    return doc if doc.strip() else ""


def _signature(value: object) -> str:
    try:
        parameters = inspect.signature(value).parameters.values()  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return ""
    kept = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name not in ("self", "cls")]
    with contextlib.suppress(ValueError):
        text = str(inspect.Signature(kept))
        return "" if " at 0x" in text or "<" in text else text
    return ""


def main() -> None:
    """Prints the JSON on the real stdout; whatever the package prints goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answer:
        json.dump(documented(sys.argv[1]), answer)


if __name__ == "__main__":
    main()
