"""access.json: what is kept of keys, by whom it is changed, and what becomes of a damaged one."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from fastmlx.config.errors import ConfigError
from fastmlx.config.paths import Home
from fastmlx.daemon.access import edits
from fastmlx.daemon.access.access import Access
from fastmlx.daemon.access.expiry import expiry_ms
from fastmlx.daemon.access.file import read
from fastmlx.daemon.access.keys import PREFIX, Limits, digest_of
from fastmlx.daemon.protocol.caller import Scope
from fastmlx.daemon.protocol.errors import BadRequest, KeyNotFound, Unauthorized


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def ask(access: Access, secret: str) -> str | None:
    headers = {"authorization": f"Bearer {secret}"}
    return access.caller("GET", "/v1/models", headers, peer="127.0.0.1", session=None).key


def test_a_key_is_kept_as_a_digest_that_only_its_user_reads(home: Home) -> None:
    secret, key = edits.create(home, " Anna's laptop ".replace("'", ""), Limits())
    assert secret.startswith(PREFIX)
    assert len(secret) > 50
    assert (key.name, key.digest) == ("Annas laptop", digest_of(secret))
    assert secret.startswith(key.prefix)
    content = home.access.read_text()
    assert secret not in content
    assert secret[len(key.prefix) :] not in content
    assert stat.S_IMODE(home.access.stat().st_mode) == 0o600
    assert "digest" not in key.public(0)


def test_every_edit_is_in_force_in_a_daemon_that_runs(home: Home) -> None:
    access = Access(home)
    first, _ = edits.create(home, "one", Limits(models=("a*",)))
    assert ask(access, first) == "one"
    second, _ = edits.rotate(home, "ONE")
    with pytest.raises(Unauthorized, match="not known"):
        ask(access, first)
    assert ask(access, second) == "one"
    edits.limit(home, "one", Limits(scopes=(Scope.ADMIN,), tokens_per_day=5))
    (key,) = read(home).keys
    assert (key.scopes, key.models, key.tokens_per_day) == ((Scope.ADMIN,), None, 5)
    edits.revoke(home, "one")
    with pytest.raises(Unauthorized, match="revoked"):
        ask(access, second)
    edits.delete(home, "one")
    assert read(home).keys == ()
    for edit in (edits.delete, edits.revoke, edits.rotate):
        with pytest.raises(KeyNotFound):
            edit(home, "one")


def test_an_expired_key_lets_nobody_in(home: Home) -> None:
    now = [1_000_000.0]
    secret, _ = edits.create(home, "guest", Limits(expires_ms=1_000_060_000))
    access = Access(home, clock=lambda: now[0])
    assert ask(access, secret) == "guest"
    now[0] += 61
    with pytest.raises(Unauthorized, match="expired"):
        ask(access, secret)


def test_when_a_key_was_used_is_known_at_once_and_kept_later(home: Home) -> None:
    secret, _ = edits.create(home, "k", Limits())
    access = Access(home, clock=lambda: 77.0)
    before = home.access.stat().st_mtime_ns
    ask(access, secret)
    assert access.listed()[0].last_used_ms == 77_000
    assert home.access.stat().st_mtime_ns == before  # no request writes
    edits.note_use(home, {digest_of(secret): 77_000})
    assert read(home).keys[0].last_used_ms == 77_000


@pytest.mark.parametrize("name", ["", "  ", "-x", "x" * 61, "a\nb", "a\x1b[31m", "<b>", "a/b"])
def test_names_that_could_do_harm_are_refused(home: Home, name: str) -> None:
    with pytest.raises(BadRequest):
        edits.create(home, name, Limits())
    assert not home.access.exists()


def test_names_are_taken_once(home: Home) -> None:
    edits.create(home, "Phone", Limits())
    with pytest.raises(BadRequest, match="already"):
        edits.create(home, "phone", Limits())


@pytest.mark.parametrize(
    "limits", [Limits(scopes=()), Limits(tokens_per_day=0), Limits(requests_per_day=-1)]
)
def test_limits_without_sense_are_refused(home: Home, limits: Limits) -> None:
    with pytest.raises(BadRequest):
        edits.create(home, "k", limits)


def test_two_processes_lose_no_edit_of_each_other(home: Home) -> None:
    threads = [
        threading.Thread(target=edits.create, args=(home, f"key {number}", Limits()))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(home).keys) == 16


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"keys": 1}', b'{"version": 9}'])
def test_a_damaged_file_neither_opens_the_door_nor_is_overwritten(
    home: Home, content: bytes
) -> None:
    secret, _ = edits.create(home, "k", Limits())
    access = Access(home)
    home.access.write_bytes(content)
    assert ask(access, secret) == "k"  # what was known stays
    with pytest.raises(Unauthorized):
        access.caller("GET", "/v1/models", {}, peer="127.0.0.1", session=None)
    for attempt in (lambda: Access(home), lambda: edits.create(home, "x", Limits())):
        with pytest.raises(ConfigError, match=r"access\.json"):
            attempt()
    assert home.access.read_bytes() == content


def test_the_commands_token_lasts_and_is_replaced_when_others_could_read_it(home: Home) -> None:
    access = Access(home)
    access.open_to_commands()
    token = home.local_token.read_text().strip()
    assert stat.S_IMODE(home.local_token.stat().st_mode) == 0o600
    edits.create(home, "k", Limits())
    assert ask(access, token) is None
    access.open_to_commands()
    assert home.local_token.read_text().strip() == token
    home.local_token.chmod(0o644)
    access.open_to_commands()
    assert home.local_token.read_text().strip() != token
    assert not home.local_token.stat().st_mode & 0o077


def test_expiry_is_a_span_or_a_day() -> None:
    now = 1_700_000_000_000
    assert expiry_ms("30d", now) == now + 30 * 86_400_000
    assert expiry_ms("never", now) is None
    assert expiry_ms("", now) is None
    assert expiry_ms("2100-01-01", now) is not None
    for wrong in ("2001-01-01", "soon", "0s", "30"):
        with pytest.raises(BadRequest):
            expiry_ms(wrong, now)
