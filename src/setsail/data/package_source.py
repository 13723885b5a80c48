"""The source `docstrings:PACKAGE`: any installed package's documentation as questions and answers.

`docstrings:PACKAGE#summaries` gives the longer descriptions with the sentence that sums each up instead. The package is
imported in a child process (`introspect.py`) with a time limit. What does not live here: the rules that make the pairs
(`docstring_pairs.py`, `docstring_summaries.py`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

from setsail.base.errors import DataError, did_you_mean
from setsail.data.containers import Contents
from setsail.data.docstring_pairs import pairs
from setsail.data.docstring_summaries import summaries

PREFIX = "docstrings:"
SUMMARIES = "#summaries"
IMPORT_SECONDS = 120.0
# Raised when the rules that make pairs change, since the rows then change with the same package.
RULES_VERSION = 1
_NAME = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")


def read_package(source: str, *, timeout_seconds: float = IMPORT_SECONDS) -> Contents:
    """The question–answer records of a package, by name "docstrings:numpy".

    Raises:
        DataError: no such package; importing it fails or takes too long; it documents nothing.
    """
    package = _package_name(source)
    command = [sys.executable, "-P", "-W", "ignore", "-m", "setsail.data.introspect", package]
    try:
        child = subprocess.run(
            command, capture_output=True, timeout=timeout_seconds, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f'importing "{package}" took longer than {timeout_seconds:g} seconds', place=f"data.source {source}"
        ) from error
    if child.returncode != 0:
        last = (child.stderr.decode("utf-8", "backslashreplace").strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f'importing "{package}" failed with exit code {child.returncode}: {last[:300]}',
            place=f"data.source {source}",
            hint=f'try: {Path(sys.executable).name} -c "import {package}"',
        )
    made_from = summaries if source.endswith(SUMMARIES) else pairs
    items = tuple(made_from(json.loads(child.stdout), package))
    if not items:
        raise DataError(f'"{package}" documents no public function', place=f"data.source {source}")
    return Contents("docstrings", "", items)


def package_fingerprint(source: str) -> str:
    """What the rows of the source depend on: the package's version or, for a package under work, its files."""
    package = _package_name(source)
    top = package.split(".", 1)[0]
    names = [d.name for d in importlib.metadata.distributions(name=top)]
    facts = [f"rules {RULES_VERSION}", f"python {platform.python_version()}", package]
    if source.endswith(SUMMARIES):
        facts.append(SUMMARIES)
    if names and not _is_editable(names[0]):
        facts.append(f"version {importlib.metadata.version(names[0])}")
    else:
        facts.extend(_file_hashes(top))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _package_name(source: str) -> str:
    package = source.removeprefix(PREFIX).removesuffix(SUMMARIES).strip()
    if not _NAME.match(package):
        raise DataError(
            f'"{package}" is not the name of a package', place=f"data.source {source}", hint="docstrings:numpy"
        )
    top = package.split(".", 1)[0]
    try:
        found = top in sys.builtin_module_names or importlib.util.find_spec(top) is not None
    except (ValueError, ImportError):
        found = False
    if not found:
        known = importlib.metadata.packages_distributions()
        near = did_you_mean(top, known)
        hint = near if near.startswith("did") else f"install it beside setsail: pip install {top}"
        raise DataError(f'package "{top}" is not installed', place=f"data.source {source}", hint=hint)
    return package


def _is_editable(name: str) -> bool:
    direct = importlib.metadata.distribution(name).read_text("direct_url.json")
    return bool(direct) and '"editable": true' in str(direct)


def _file_hashes(top: str) -> list[str]:
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or []) if spec else []
    single = [Path(spec.origin)] if spec and spec.origin and Path(spec.origin).is_file() and not places else []
    files = single or [path for place in places for path in Path(place).rglob("*.py")]
    return sorted(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)
