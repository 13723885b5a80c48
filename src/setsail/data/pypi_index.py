"""Where the index that pip is set up to use keeps a package's source archive, and the checksum that it states for it.

pip itself would build a source archive, which is to run it; here it is a file to read. What does not live here:
fetching (`registry_source.py`). Source: PEP 503 and PEP 691, the simple repository API.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urldefrag, urljoin

import httpx

_INDEX = re.compile(r"^.*\b(?:extra-)?index-url='(?P<urls>[^']+)'$", re.MULTILINE)
_DEFAULT = re.compile(r"--index-url <url>.*?\(default\s+(?P<url>https?://\S+?)\)", re.DOTALL)
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_ANCHOR = re.compile(r"<a\s[^>]*href=\"(?P<url>[^\"]+)\"[^>]*>(?P<name>[^<]+)</a>", re.IGNORECASE)


@dataclass(frozen=True)
class SourceArchive:
    """An archive's address and the SHA-256 that the index states, as hex digits."""

    url: str
    sha256: str


def find_source_archive(name: str, version: str, web: httpx.Client) -> SourceArchive | None:
    """The source archive of one version of a package; None where no index has one with a checksum.

    Raises: httpx.HTTPError, ValueError where an index cannot be read.
    """
    for index in indexes():
        answer = web.get(f"{index}/{_normalised(name)}/", headers={"Accept": _ACCEPT}, timeout=60.0)
        if answer.status_code == 404:
            continue
        for filename, found in _listed(answer.raise_for_status()):
            if _is_of(filename, name, version) and found.sha256:
                return found
    return None


def indexes() -> list[str]:
    """The addresses of the indexes that pip would ask, those that are folders of this machine left out."""
    settings = _pip("config", "list")
    urls = [url for found in _INDEX.finditer(settings) for url in found["urls"].split()]
    if re.search(r"\.index-url='", settings) is None:
        urls = [*default_index(), *urls]
    return [url.rstrip("/") for url in urls if url.startswith(("https://", "http://"))]


def default_index() -> list[str]:
    """The index that pip asks when nothing is set up, as its own help names it; nothing where it names none."""
    return [found["url"] for found in _DEFAULT.finditer(_pip("download", "--help"))][:1]


def _pip(*arguments: str) -> str:
    """What a command of pip prints; on lines wide enough that none is broken."""
    command = [sys.executable, "-m", "pip", *arguments]
    wide = {**os.environ, "COLUMNS": "1000"}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env=wide)
    return done.stdout


def _listed(answer: httpx.Response) -> list[tuple[str, SourceArchive]]:
    base = str(answer.url)
    if "json" in answer.headers.get("content-type", ""):
        files = answer.json()["files"]
        return [
            (file["filename"], SourceArchive(urljoin(base, file["url"]), file.get("hashes", {}).get("sha256", "")))
            for file in files
        ]
    found = []
    for anchor in _ANCHOR.finditer(answer.text):
        url, fragment = urldefrag(urljoin(base, html.unescape(anchor["url"])))
        stated = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        found.append((anchor["name"].strip(), SourceArchive(url, stated)))
    return found


def _is_of(filename: str, name: str, version: str) -> bool:
    stem = filename.removesuffix(".tar.gz")
    own, _, number = stem.rpartition("-")
    return stem != filename and number == version and _normalised(own) == _normalised(name)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
