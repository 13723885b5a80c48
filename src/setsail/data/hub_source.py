"""The source `hf:OWNER/NAME[/CONFIG][@REVISION][#SPLIT]`: a data set of a Hugging Face hub, or of a mirror of one.

Read as a stream by the library `datasets` (the extra `hub`), which runs no code of a data set. `HF_ENDPOINT`, `HF_HOME`
and the token keep their meaning: that library and huggingface_hub read them. What does not live here: what columns mean
(`formats.py`). The invariant: what is read is one commit, and the fingerprint is that commit's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from setsail.base.environment import read_environment
from setsail.base.errors import DataError, SetsailError, did_you_mean
from setsail.base.files import explained_os_errors
from setsail.data.folder import SourceFile
from setsail.data.given import given_parts
from setsail.data.unpack import kept_copy

PREFIX = "hf:"
_NAME = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?(?:#(?P<split>\w+))?"
)
_BATCH_ROWS = 1024
_GROUP_BYTES = 4 << 20  # of rows that are written, and later read, together
_CARD_BYTES = 1 << 20
_EXAMPLE = "hf:owner/name, or with a configuration, a revision and a split: hf:owner/name/config@v1#train"


@dataclass(frozen=True)
class HubDataSet:
    """A data set's name on the hub, and which of its configurations, revisions and splits are meant, or ""."""

    repository: str
    config: str
    revision: str
    split: str


def could_be(source: str) -> bool:
    """Whether a source without the prefix has the shape of a data set's name: owner/name."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) is not None


def parse(source: str) -> HubDataSet:
    """The parts of such a source. Raises: DataError for one that is not of that form."""
    found = _NAME.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        raise DataError(f'data.source "{source}" is not the name of a data set of the hub', hint=f"like {_EXAMPLE}")
    return HubDataSet(**{name: value or "" for name, value in found.groupdict().items()})


def fingerprint(source: str) -> str:
    """64 hex digits of the commit, configuration and split that the source means now.

    Raises:
        DataError: the hub has no such data set or revision, or cannot be reached.
    """
    wanted = parse(source)
    facts = (wanted.repository, wanted.config, wanted.split, _commit(wanted))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def fetch(source: str, folder: Path) -> tuple[SourceFile, ...]:
    """A copy of each split in `folder`, a Parquet file; its place is "hf:owner/name#train". What is there is whole.

    The rows stream through: memory holds a part of them. Numbers of classes become the names that they stand for.

    Raises:
        DataError: as `fingerprint`; no such configuration or split; the extra is not installed.
        SystemRefusal: disk full, no permission.
    """
    wanted = parse(source)
    if importlib.util.find_spec("datasets") is None:
        raise DataError(
            "reading data sets of the hub needs the library datasets", place=source, hint="pip install 'setsail[hub]'"
        )
    commit = _commit(wanted)
    config, splits = _choice(wanted, commit)
    name = f"{PREFIX}{wanted.repository}" + (f"/{wanted.config}" if wanted.config else "")
    parts = given_parts(splits)
    files = []
    for split in splits:
        place = f"{name}#{split}"
        copy = kept_copy(folder, f"{place} {commit}").with_suffix(".parquet")
        if not copy.exists():
            with _explained(wanted), explained_os_errors(f"keeping a copy of {place}"):
                _copy(_tables(wanted.repository, config, split, commit), copy)
        files.append(SourceFile(copy, place, parts[split]))
    return tuple(files)


def _copy(tables: Iterator[pa.Table], copy: Path) -> None:
    """Writes the tables as one file, beside its place and then renamed."""
    draft = copy.with_suffix(".partial")
    copy.parent.mkdir(parents=True, exist_ok=True)
    first = next(tables, None)
    with pq.ParquetWriter(draft, first.schema if first is not None else pa.schema([]), compression="zstd") as file:
        waiting: list[pa.Table] = []
        for table in chain([first] if first is not None else [], tables):
            waiting.append(table)
            if sum(each.nbytes for each in waiting) >= _GROUP_BYTES:
                file.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            file.write_table(pa.concat_tables(waiting))
    draft.rename(copy)


def read_card(source: str) -> str:
    """What a data set's README says of it; "" where it has none.

    Raises:
        DataError: as `fingerprint`.
    """
    from huggingface_hub import errors, hf_hub_download  # as for the commit

    wanted = parse(source)
    commit = _commit(wanted)
    with _explained(wanted):
        try:
            card = hf_hub_download(wanted.repository, "README.md", repo_type="dataset", revision=commit)
        except errors.EntryNotFoundError:
            return ""
        with open(card, "rb") as file:
            return file.read(_CARD_BYTES).decode("utf-8", "replace")


def _choice(wanted: HubDataSet, commit: str) -> tuple[str, Sequence[str]]:
    """The configuration that is meant and its splits, or the one split that is named."""
    import datasets  # an extra, slow to import

    name = wanted.repository
    with _explained(wanted):
        configs = datasets.get_dataset_config_names(name, revision=commit)
        default = datasets.get_dataset_default_config_name(name, revision=commit)
    config = wanted.config or default or ""
    if config not in configs:
        words = f"has no configuration {config!r}" if config else f"has {len(configs)} configurations"
        hint = did_you_mean(config, configs) if config else f"name one: {PREFIX}{name}/{configs[0]}; all: {configs[:9]}"
        raise DataError(f'"{name}" {words}', place=f"{PREFIX}{name}", hint=hint)
    with _explained(wanted):
        splits = datasets.get_dataset_split_names(name, config, revision=commit)
    if wanted.split and wanted.split not in splits:
        hint = did_you_mean(wanted.split, splits)
        raise DataError(f'"{name}" has no split "{wanted.split}"', place=f"{PREFIX}{name}", hint=hint)
    return config, [wanted.split] if wanted.split else splits


def _tables(repository: str, config: str, split: str, commit: str) -> Iterator[pa.Table]:
    """The rows of a split, in order; numbers of classes as the names that they stand for."""
    import datasets  # an extra, slow to import

    stream: Any = datasets.load_dataset(repository, config, split=split, streaming=True, revision=commit)
    features = stream.features or {}
    names = {c: f.names for c, f in features.items() if isinstance(f, datasets.ClassLabel) and f.names}
    for table in stream.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        for column in names.keys() & set(table.column_names):
            named = pa.array([_named(value, names[column]) for value in table[column].to_pylist()], pa.string())
            table = table.set_column(table.column_names.index(column), column, named)
        yield table.replace_schema_metadata(None)


def _named(value: object, names: Sequence[str]) -> str | None:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _commit(wanted: HubDataSet) -> str:
    from huggingface_hub import HfApi  # it takes a third of a second, and most sources are files

    if read_environment().hf_offline:
        words = f'"{wanted.repository}" is read from the hub, and HF_HUB_OFFLINE is set'
        raise DataError(words, hint="unset it, or download the files and name their folder")
    with _explained(wanted):
        found = HfApi().dataset_info(wanted.repository, revision=wanted.revision or None)
    if not found.sha:
        raise DataError(f'the hub states no commit of "{wanted.repository}"', hint="write hf:owner/name@commit")
    return found.sha


@contextmanager
def _explained(wanted: HubDataSet) -> Iterator[None]:
    """The exceptions of two libraries as ours; what a stranger's files may raise in them has no bounds."""
    from huggingface_hub import constants, errors

    name = wanted.repository
    try:
        yield
    except (SetsailError, MemoryError):
        raise
    except errors.GatedRepoError as error:
        hint = "accept its terms on its page, then log in: hf auth login"
        raise DataError(f'the data set "{name}" is gated', place=constants.ENDPOINT, hint=hint) from error
    except errors.RevisionNotFoundError as error:
        hint = "leave @revision away for the newest, or check the branch, tag or commit"
        raise DataError(f'"{name}" has no revision "{wanted.revision}"', place=constants.ENDPOINT, hint=hint) from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the spelling owner/name; a file or folder of that name is not here either"
        raise DataError(f'the hub has no data set "{name}"', place=constants.ENDPOINT, hint=hint) from error
    except Exception as error:  # two libraries over a network and a stranger's files: told with their words, as input
        words = str(error).split("\n", 1)[0][:300] or type(error).__name__
        hint = "check the connection, or set HF_ENDPOINT to a mirror that you can reach"
        if "scripts are no longer supported" in words:
            hint = "only data sets of plain files are read, never their code: look for a copy in parquet"
        raise DataError(
            f'the data set "{name}" cannot be read: {words}', place=constants.ENDPOINT, hint=hint
        ) from error
