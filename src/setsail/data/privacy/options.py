"""What a recipe says of personal data, made into what does it: a redactor, a vault.

The invariant: a key that a recipe names is read here and handed on, and stands in no artefact.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from setsail.base import recipe_data
from setsail.base.recipe_data import Redact
from setsail.data.privacy.keys import Key, key_from
from setsail.data.privacy.redactor import Redactor
from setsail.data.privacy.registry import kinds_of


def redactor_of(redact: Redact, base_dir: Path) -> Redactor | None:
    """The redactor that `data.redact` describes, which can be sent to other processes; None where nothing is done.

    Raises:
        RecipeError: an unknown kind, or a key that is missing or too short.
    """
    if redact.mode == "none":
        return None
    kinds = kinds_of(redact.entities)
    if redact.mode != "pseudonymise":
        return Redactor(redact.mode, kinds, redact.keep)
    key = key_from(redact.key_file, redact.key_env, base_dir=base_dir, place="data.redact")
    return Redactor(redact.mode, kinds, redact.keep, _stretched(key))


def _stretched(key: Key) -> bytes:
    """A passphrase made slow to guess; the salt is fixed, for pseudonyms must agree between preparations."""
    if not key.is_passphrase:
        return key.secret
    return hashlib.scrypt(key.secret, salt=b"setsail pseudonyms", n=1 << 15, r=8, p=1, maxmem=64 << 20, dklen=32)


def vault_key(vault: recipe_data.Vault, base_dir: Path) -> Key:
    """The key that `data.vault` names, to make or to open a vault with.

    Raises:
        RecipeError: the key is missing or too short.
    """
    return key_from(vault.key_file, vault.key_env, base_dir=base_dir, place="data.vault")


def key_mark(data: recipe_data.Data, base_dir: Path) -> str:
    """What changes when the key of pseudonyms or of a vault does, and tells nothing of it; "" where there is none."""
    secrets = []
    if data.redact.mode == "pseudonymise":
        redactor = redactor_of(data.redact, base_dir)
        secrets = [redactor.key] if redactor else []
    if data.vault is not None:
        secrets.append(_stretched(vault_key(data.vault, base_dir)))
    return hashlib.sha256(b"setsail mark of keys\0" + b"\0".join(secrets)).hexdigest() if secrets else ""
