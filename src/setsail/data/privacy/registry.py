"""The kinds by name: where the detectors of each stand, and which are looked for when a recipe does not say.

The order of the modules is the order of precedence: where two values overlap, that of the earlier module stands, so
that a key is not taken for a telephone. Names are not in the standard set: they are found by evidence, not by proof,
and a corpus of prose is full of names that everybody may know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from setsail.base.errors import RecipeError, did_you_mean
from setsail.data.privacy.detector import Detector

MODULES = ("network", "numbers", "contacts", "addresses", "chinese_names", "english_names")
KINDS = {
    "EMAIL": "mail addresses",
    "PHONE": "telephone numbers",
    "WECHAT": "WeChat ids",
    "QQ": "QQ numbers",
    "ADDRESS": "postal addresses",
    "ID_CARD": "Chinese identity numbers",
    "SSN": "American social security numbers",
    "PASSPORT": "passport numbers",
    "BIRTH_DATE": "dates of birth",
    "PLATE": "Chinese number plates",
    "CREDIT_CODE": "unified social credit codes",
    "BANK_CARD": "bank cards",
    "IBAN": "bank accounts",
    "WALLET": "wallets of crypto currencies",
    "IP": "public IP addresses",
    "MAC": "hardware addresses",
    "LOGIN": "user and password inside an address",
    "KEY": "keys, tokens and passwords",
    "NAME": "names of persons",
}
STANDARD = tuple(kind for kind in KINDS if kind != "NAME")


def kinds_of(entities: str | Sequence[str]) -> tuple[str, ...]:
    """The kinds that `data.redact.entities` names: `standard`, `all`, or a list of either with single kinds.

    Raises:
        RecipeError: an unknown kind, with the nearest name.
    """
    chosen: dict[str, None] = {}
    for word in (entities,) if isinstance(entities, str) else entities:
        kind = word.upper()
        if kind in ("STANDARD", "ALL"):
            chosen.update(dict.fromkeys(STANDARD if kind == "STANDARD" else KINDS))
        elif kind in KINDS:
            chosen[kind] = None
        else:
            known = ["standard", "all", *(kind.lower() for kind in KINDS)]
            raise RecipeError(
                f'data.redact.entities names "{word}"',
                place="data.redact.entities",
                hint=did_you_mean(word.lower(), known),
            )
    return tuple(kind for kind in KINDS if kind in chosen)


@cache
def detectors_of(kinds: tuple[str, ...]) -> tuple[Detector, ...]:
    """The detectors of these kinds, in the order of precedence."""
    found = [d for name in MODULES for d in import_module(f"setsail.data.privacy.{name}").DETECTORS]
    return tuple(detector for detector in found if detector.kind in kinds)
