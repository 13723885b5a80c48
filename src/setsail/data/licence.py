"""Under which licence a source says it may be used: a folder's LICENSE or README, a data set's card, a
published package's own metadata.

Only what is written is told, by its name where the wording is a known one; a file or a pattern states nothing, because
a licence that lies beside it may be that of the project around it. What does not live here: what a licence allows.
"""

from __future__ import annotations

import email.parser
import importlib.metadata
import json
import re
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import PackageMetadata
from pathlib import Path

from setsail.base.files import explained_os_errors
from setsail.base.recipe_data import Data
from setsail.data import sources
from setsail.data.hub_source import read_card
from setsail.data.package_source import PREFIX
from setsail.data.page.figures import Licence
from setsail.data.page.shown import shown
from setsail.data.registry_source import is_registry, parse, read_metadata

_READ_BYTES = 1 << 16
_NAME_CHARACTERS = 120
_FILE = re.compile(r"(?i)(licen[cs]e|copying|readme)([-._].*)?")
_FRONT_MATTER = re.compile(r"\A---\n(?:(?!---).*\n)*?licen[cs]e: *['\"]?([^\n'\"]+)", re.IGNORECASE)
_HEADING = re.compile(r"^#+ *(?:licen[cs]e|licensing|许可证?|授权)\s*:?\s*\n+(.+)", re.IGNORECASE | re.MULTILINE)
# The first wording that is found counts, so that a longer name stands before the one that it begins with.
_WORDINGS = {
    "CC-BY-NC-SA-4.0": r"Attribution-NonCommercial-ShareAlike 4\.0",
    "CC-BY-NC-ND-4.0": r"Attribution-NonCommercial-NoDerivatives 4\.0",
    "CC-BY-NC-4.0": r"Attribution-NonCommercial 4\.0",
    "CC-BY-ND-4.0": r"Attribution-NoDerivatives 4\.0",
    "CC-BY-SA-4.0": r"Attribution-ShareAlike 4\.0",
    "CC-BY-SA-3.0": r"Attribution-ShareAlike 3\.0",
    "CC-BY-4.0": r"Attribution 4\.0",
    "CC0-1.0": r"CC0 1\.0 Universal",
    "ODbL-1.0": r"Open Database License",
    "Apache-2.0": r"Apache License\s+Version 2\.0",
    "AGPL-3.0": r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3",
    "LGPL-3.0": r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3",
    "GPL-3.0": r"GNU GENERAL PUBLIC LICENSE\s+Version 3",
    "GPL-2.0": r"GNU GENERAL PUBLIC LICENSE\s+Version 2",
    "MPL-2.0": r"Mozilla Public License Version 2\.0",
    "MulanPSL-2.0": r"(?:Mulan PSL v2|木兰宽松许可证[，,]? ?第2版)",
    "MIT": r"Permission is hereby granted, free of charge, to any person obtaining a copy of this software and",
    "ISC": r"Permission to use, copy, modify, and/or distribute this software for any purpose",
    "BSD-3-Clause": r"Redistribution and use in source and binary forms[\s\S]+Neither the name of",
    "BSD-2-Clause": r"Redistribution and use in source and binary forms",
}


def licence_of(data: Data, base_dir: Path) -> Licence:
    """The licence that the source itself states, and where; empty where it states none."""
    if sources.is_package(data):
        return _of_installed(data.source.removeprefix(PREFIX).partition("#")[0].strip().split(".", 1)[0])
    if is_registry(data.source):
        return _of_published(data.source)
    if sources.is_hub(data, base_dir):
        name = _stated_in_readme(read_card(data.source))
        return Licence(shown(name, _NAME_CHARACTERS), "README.md") if name else Licence()
    folder = base_dir / Path(data.source).expanduser()
    if folder.is_dir():
        with explained_os_errors(f'looking for a licence in "{data.source}"'):
            return next(_in_folder(folder), Licence())
    return Licence()


def _in_folder(folder: Path) -> Iterator[Licence]:
    """What its files state; those that are named after a licence come first."""
    names = [path for path in sorted(folder.iterdir()) if path.is_file() and _FILE.fullmatch(path.name)]
    for path in sorted(names, key=lambda path: path.name.lower().startswith("readme")):
        with path.open("rb") as file:
            text = file.read(_READ_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
        name = _stated_in_readme(text) if path.name.lower().startswith("readme") else _named(text)
        if name:
            yield Licence(shown(name, _NAME_CHARACTERS), shown(path.name, _NAME_CHARACTERS))


def _stated_in_readme(text: str) -> str:
    """What a data card's first lines or a heading say."""
    found = _FRONT_MATTER.search(text) or _HEADING.search(text)
    return _named(found[1]) if found else ""


def _named(text: str) -> str:
    """The licence's name if its wording is known, else the first line.

    >>> _named("                Apache License\\n         Version 2.0, January 2004"), _named("For my mother only.")
    ('Apache-2.0', 'For my mother only.')
    """
    known = (name for name, wording in _WORDINGS.items() if re.search(wording, text, re.IGNORECASE))
    return next(known, text.strip().partition("\n")[0].strip())


def _of_installed(package: str) -> Licence:
    try:
        about = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        named = importlib.metadata.packages_distributions().get(package, [])
        if not named:
            return Licence()
        about = importlib.metadata.metadata(named[0])
    return _of_metadata(about)


def _of_published(source: str) -> Licence:
    text = read_metadata(source)
    if parse(source).registry == "pypi":
        return _of_metadata(email.parser.HeaderParser().parsestr(text))
    try:
        stated = json.loads(text)["license"]
    except (ValueError, LookupError, TypeError):
        return Licence()
    name = stated.get("type") if isinstance(stated, dict) else stated
    return Licence(shown(name, _NAME_CHARACTERS), "package.json") if isinstance(name, str) and name else Licence()


def _of_metadata(about: PackageMetadata | Message) -> Licence:
    """What a Python package's metadata say: an expression, else a class, else the name or text of a licence."""
    expression, text, package, version = (
        (about.get_all(name) or [""])[0] for name in ("License-Expression", "License", "Name", "Version")
    )
    classes = [name for name in about.get_all("Classifier") or [] if name.startswith("License ::")]
    name = expression or "; ".join(each.rpartition(" :: ")[2] for each in classes) or _named(text)
    where = shown(f"{package} {version}".strip(), _NAME_CHARACTERS)
    return Licence(shown(name, _NAME_CHARACTERS), where) if name else Licence()
