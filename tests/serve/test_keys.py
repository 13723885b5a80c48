"""The key file: what is written, who may read it, what is refused, and that two writers lose no key."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from setsail.base.errors import SetsailError, SystemRefusal, UserError
from setsail.serve.keys import add_key, hash_of, read_expiry, read_keys, revoke_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_written_as_a_hash_for_its_owner_alone(file: Path) -> None:
    secret = add_key(file, "shop", requests_per_minute=3, tokens_per_day=10)
    assert secret not in file.read_text() and len(secret) >= 40
    [key] = read_keys(file)
    assert (key.name, key.sha256, key.scopes) == ("shop", hash_of(secret.encode()), ("generate", "predict", "embed"))
    assert (key.requests_per_minute, key.tokens_per_day, key.state(datetime.now(UTC))) == (3, 10, "active")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and list(file.parent.iterdir()) == [file]
    assert add_key(file, "other") != secret


def test_a_service_that_may_read_the_file_may_still_do_so_after_a_change(file: Path) -> None:
    add_key(file, "shop")
    file.chmod(0o640)
    revoke_key(file, "shop")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_revoked_name_may_be_used_again_and_an_active_one_not(file: Path) -> None:
    first = add_key(file, "shop")
    with pytest.raises(UserError, match="there is a key called shop"):
        add_key(file, "shop")
    revoke_key(file, "shop")
    assert read_keys(file)[0].state(datetime.now(UTC)) == "revoked"
    add_key(file, "shop")
    assert [key.sha256 != hash_of(first.encode()) for key in read_keys(file)] == [True]
    with pytest.raises(UserError, match="did you mean"):
        revoke_key(file, "shpo")


@pytest.mark.parametrize("mode", [0o604, 0o606, 0o644, 0o660, 0o601])
def test_a_file_that_is_open_to_others_is_refused(file: Path, mode: int) -> None:
    add_key(file, "shop")
    file.chmod(mode)
    with pytest.raises(SystemRefusal, match="chmod 600"):
        read_keys(file)


GOOD: dict[str, Any] = {"name": "a", "sha256": "0" * 64, "scopes": ["generate"], "created": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "damaged"),
        ('{"version": 1, "keys": [', "damaged"),
        ("[]", "damaged"),
        ('{"version": 2, "keys": []}', "damaged: version"),
        ([GOOD | {"sha256": "0"}], "keys.0.sha256"),
        ([GOOD | {"scopes": []}], "keys.0.scopes"),
        ([GOOD | {"scopes": ["all"]}], "keys.0.scopes.0"),
        ([GOOD | {"requests_per_minute": 0}], "keys.0.requests_per_minute"),
        ([GOOD | {"tokens_per_day": -1}], "keys.0.tokens_per_day"),
        ([GOOD | {"expires": "2026-01-01T00:00:00"}], "keys.0.expires"),
        ([GOOD | {"expirse": "2026-01-01T00:00:00Z"}], "keys.0.expirse"),
        ([GOOD, GOOD | {"sha256": "1" * 64}], "two keys have the name a"),
        ([GOOD, GOOD | {"name": "b"}], "two keys have the sha256"),
        ([GOOD | {"name": "environment"}], "keys.0.name"),
    ],
)
def test_a_damaged_file_says_where(file: Path, content: Any, told: str) -> None:
    file.write_text(content if isinstance(content, str) else json.dumps({"version": 1, "keys": content}))
    file.chmod(0o600)
    with pytest.raises(UserError, match=told):
        read_keys(file)


def test_a_file_that_is_missing_says_how_to_make_one(file: Path) -> None:
    with pytest.raises(UserError, match="setsail keys add NAME --file"):
        read_keys(file)
    with pytest.raises(UserError, match="folder"):
        add_key(file.parent / "no" / "keys.json", "shop")


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"name": "a b"}, "NAME"),
        ({"name": ""}, "NAME"),
        ({"name": "environment"}, "NAME"),
        ({"name": "x" * 65}, "NAME"),
        ({"scopes": ["genrate"]}, 'did you mean "generate"'),
        ({"scopes": []}, "--scopes"),
        ({"requests_per_minute": 0}, "--requests-per-minute"),
        ({"tokens_per_day": 0}, "--tokens-per-day"),
        ({"tokens_per_day": 10**13}, "--tokens-per-day"),
        ({"expires": datetime(2020, 1, 1, tzinfo=UTC)}, "--expires"),
    ],
)
def test_a_key_that_cannot_be_is_not_written(file: Path, asked: dict[str, Any], place: str) -> None:
    with pytest.raises(SetsailError, match=place):
        add_key(file, **({"name": "shop"} | asked))
    assert not file.exists()


def test_a_key_lasts_to_the_end_of_its_last_day(file: Path) -> None:
    assert read_expiry("2030-12-31") == datetime(2031, 1, 1, tzinfo=UTC)
    assert read_expiry("2030-12-31T18:00+08:00") == datetime(2030, 12, 31, 10, tzinfo=UTC)
    for wrong in ("tomorrow", "2030-13-01", "2030-12-31T18:00", "", "9999-12-31"):
        with pytest.raises(UserError, match="--expires"):
            read_expiry(wrong)
    moment = datetime.now(UTC) + timedelta(hours=1)
    add_key(file, "shop", expires=moment)
    assert read_keys(file)[0].state(moment - timedelta(seconds=1)) == "active"
    assert read_keys(file)[0].state(moment) == "expired"


def test_two_commands_at_once_lose_no_key(file: Path) -> None:
    code = "import sys; from pathlib import Path; from setsail.serve.keys import add_key\n"
    code += "for n in range(10): add_key(Path(sys.argv[1]), f'{sys.argv[2]}{n}')"
    running = [subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in "ab"]
    assert [each.wait() for each in running] == [0, 0]
    assert {key.name for key in read_keys(file)} == {f"{name}{n}" for name in "ab" for n in range(10)}
