"""Base models from a Hugging Face hub, or from a mirror that speaks its file API.

`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE` and the token keep their meaning: huggingface_hub reads them, nothing here
does. Downloads resume, and what is already in the cache is not fetched again. The invariant: only weights without code
are ever asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, ResolvedRevision, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from setsail.base.errors import ModelError
from setsail.base.log import Log, size
from setsail.models.weights import PICKLE_SUFFIXES

HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
WANTED = ("*.json", "*.safetensors", "*.jinja", "README.md", "LICENSE*")
# Weights kept a second time for other programs, in folders of their own.
UNWANTED = ("*/*",)
CANNOT_REACH = (
    "check the connection, or set HF_ENDPOINT to a mirror that you can reach; a finished download needs no network"
)


def split_name(name: str) -> tuple[str, str | None] | None:
    """(repository, revision) of a hub name such as `org/name@v1`; None for anything else."""
    found = HUB_NAME.fullmatch(name)
    return (found["repo"], found["revision"]) if found else None


def resolve_commit(name: str) -> ResolvedRevision:
    """The commit that a hub name means now, or meant when it was last seen if the hub cannot be reached.

    Raises: ModelError for what does not exist, is gated, or cannot be reached.
    """
    repo, revision = _split(name)
    with _explained(name):
        return HfApi().resolve_revision(repo, revision=revision)


def fetch(name: str, commit: ResolvedRevision, log: Log) -> Path:
    """The folder of a repository at that commit, downloaded as far as it is not in the cache yet.

    Raises: ModelError, also when the repository has no safetensors weights.
    """
    repo, _ = _split(name)
    log.say(f"fetching {name} at {commit.resolved[:12]} from {constants.ENDPOINT}")
    with _explained(name):
        folder = Path(
            snapshot_download(repo, revision=commit, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED))
        )
    weights = list(folder.glob("*.safetensors"))
    if not weights:
        _refuse_without_weights(name, repo, commit)
    log.say(f"  {len(weights)} weight files, {size(sum(file.stat().st_size for file in weights))}")
    return folder


def _split(name: str) -> tuple[str, str | None]:
    parts = split_name(name)
    assert parts is not None, name
    return parts


def _refuse_without_weights(name: str, repo: str, commit: ResolvedRevision) -> None:
    with _explained(name):
        names = HfApi().list_repo_files(repo, revision=commit)
    pickles = [file for file in names if file.endswith(PICKLE_SUFFIXES)]
    ggufs = [file for file in names if file.endswith(".gguf")]
    if pickles:
        message, hint = (
            f'has only pickle weights ("{pickles[0]}"), which can run any program',
            "look for a safetensors copy",
        )
    elif ggufs:
        message, hint = "has only GGUF files", f'download one ("{ggufs[0]}") and give its path as the base'
    else:
        message, hint = (
            "has no weights (*.safetensors)",
            "check the name: a base is a whole model, not a dataset or an adapter",
        )
    raise ModelError(f'"{name}" {message}', hint=hint)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """huggingface_hub's exceptions as ours."""
    repo, revision = _split(name)
    try:
        yield
    except GatedRepoError as error:
        hint = "accept its licence on its page, then log in: hf auth login"
        raise ModelError(f'"{repo}" is gated', place=constants.ENDPOINT, hint=hint) from error
    except RevisionNotFoundError as error:
        hint = "leave @revision away for the newest, or check the branch, tag or commit"
        raise ModelError(f'"{repo}" has no revision "{revision}"', place=constants.ENDPOINT, hint=hint) from error
    except RepositoryNotFoundError as error:
        hint = "check the spelling org/name; if it is private, log in: hf auth login"
        raise ModelError(f'the hub has no model "{repo}"', place=constants.ENDPOINT, hint=hint) from error
    except HFValidationError as error:
        raise ModelError(f'"{repo}" cannot be the name of a model on a hub', hint="a hub name is org/name") from error
    except (LocalEntryNotFoundError, RevisionResolutionError) as error:
        why = (
            "HF_HUB_OFFLINE is set and it is not in the cache"
            if constants.HF_HUB_OFFLINE
            else "the hub cannot be reached"
        )
        hint = "unset HF_HUB_OFFLINE once to download it" if constants.HF_HUB_OFFLINE else CANNOT_REACH
        raise ModelError(f'cannot get "{name}": {why}', place=constants.ENDPOINT, hint=hint) from error
    except HfHubHTTPError as error:
        raise ModelError(f'cannot get "{name}": {error}', place=constants.ENDPOINT, hint=CANNOT_REACH) from error
