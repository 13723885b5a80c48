"""The verbs of the key file: make a key, show them, turn one out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from setsail.base.log import Log
from setsail.serve.keys import Key, add_key, read_expiry, read_keys, revoke_key
from setsail.serve.limits import Limits, usage_file


def add(
    file: Path,
    name: str,
    *,
    requests_per_minute: int | None,
    tokens_per_day: int | None,
    scopes: str,
    expires: str | None,
) -> None:
    """Prints a new key, once."""
    secret = add_key(
        file,
        name,
        scopes=[scope.strip() for scope in scopes.split(",")],
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
        expires=read_expiry(expires) if expires else None,
    )
    log = Log()
    log.say(f"a key for {name}; it is shown this once, and {file} keeps its hash:")
    print(secret)
    log.say(f"next   setsail serve RUN --keys {file}")


def show(file: Path, *, as_json: bool) -> None:
    """Prints a line for each key, or all of them as JSON; never a hash."""
    now = datetime.now(UTC)
    keys, limits = read_keys(file), Limits(usage_file(file))
    if as_json:
        told = [
            {
                **key.model_dump(mode="json", exclude={"sha256"}),
                "state": key.state(now),
                "tokens_today": limits.tokens_today(key.name),
            }
            for key in keys
        ]
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    for key in keys:
        print(_line(key, now, limits.tokens_today(key.name)))


def revoke(file: Path, name: str) -> None:
    """Turns a key out, and says so."""
    revoke_key(file, name)
    Log().say(f"the key {name} opens nothing any more; a server that uses {file} knows with its next request")


def _line(key: Key, now: datetime, tokens_today: int) -> str:
    state = key.state(now)
    when = key.revoked if state == "revoked" else key.expires
    until = {"active": "until", "expired": "since", "revoked": "since"}[state]
    life = f"{state} {until} {when:%Y-%m-%d %H:%M}Z" if when is not None else state
    used = f"{tokens_today:,} of {key.tokens_per_day:,} tokens today" if key.tokens_per_day else "tokens without limit"
    rate = f"{key.requests_per_minute:,} a minute" if key.requests_per_minute else "requests without limit"
    return f"{key.name:<20} {life:<32} {','.join(key.scopes):<24} {rate}, {used}"
