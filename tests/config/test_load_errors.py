"""Whatever is wrong with config.yaml is said with its place and what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.config.load import ConfigError, check, load

FILE = Path("/somewhere/config.yaml")


def error_of(text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(text, FILE, environ)
    return caught.value


# (what is written, line, column, key, part of the message, part of the hint)
MISTAKES = {
    "a key of a model": (
        "models:\n  a:\n    path: x\n    idle-timeout: 3m\n",
        (4, 5, "models.a.idle-timeout", "unknown key", "did you mean 'idle_timeout'?"),
    ),
    "a misspelt key that is also required": (
        "models:\n  a:\n    pth: x\n",
        (3, 5, "models.a.pth", "unknown key", "did you mean 'path'?"),
    ),
    "a key that is required": (
        "models:\n  a:\n    preload: true\n",
        (2, 3, "models.a.path", "is missing", None),
    ),
    "a section": ("sever: {}\n", (1, 1, "sever", "unknown key", "did you mean 'server'?")),
    "a key in the wrong section": (
        "port: 1\n",
        (1, 1, "port", "unknown key", "did you mean 'server.port'?"),
    ),
    "a key like no other": (
        "memory: {zzz: 1}\n",
        (1, 10, "memory.zzz", "unknown key", "known keys: limit"),
    ),
    "an unknown key with nothing behind it": (
        "server:\n  prot:\n",
        (2, 3, "server.prot", "unknown key", "did you mean 'port'?"),
    ),
    "a number": (
        "server:\n  port: many\n",
        (2, 9, "server.port", "must be a whole number, not 'many'", None),
    ),
    "a boolean for a number": ("server: {port: yes}\n", (1, 16, "server.port", "not true", None)),
    "a number out of range": (
        "server: {port: 65536}\n",
        (1, 16, "server.port", "must be at most 65535", None),
    ),
    "a word": (
        "server:\n  log_level: inof",
        (2, 14, "server.log_level", "not 'inof'", "did you mean 'info'?"),
    ),
    "a duration without a unit": (
        "defaults: {idle_timeout: 15}",
        (1, 26, "defaults.idle_timeout", "needs a unit", None),
    ),
    "a size without a unit": ("cache: {cold: 20}", (1, 15, "cache.cold", "needs a unit", None)),
    "a share for a body": (
        "server: {max_request_size: 5%}",
        (1, 28, "server.max_request_size", "cannot be a percentage", None),
    ),
    "an endless drain": (
        "server: {drain_timeout: never}",
        (1, 25, "server.drain_timeout", "must be at most 1h", None),
    ),
    "an origin without a scheme": (
        "server: {cors_origins: chat.example.com}",
        (1, 24, "server.cors_origins[0]", "https://chat.example.com", None),
    ),
    "an origin with a path": (
        "server: {cors_origins: ['*', 'https://a.example/chat']}",
        (1, 30, "server.cors_origins[1]", "https://chat.example.com", None),
    ),
    "an origin that is no address": (
        "server: {cors_origins: ['http://[']}",
        (1, 25, "server.cors_origins[0]", "https://chat.example.com", None),
    ),
    "no memory": ("memory: {limit: 0}", (1, 17, "memory.limit", "more than 0", None)),
    "not a number": (
        "models: {a: {path: x, sampling: {temperature: .nan}}}",
        (1, 47, "models.a.sampling.temperature", "must be a number", None),
    ),
    "a text that is a number": (
        "models:\n  a: {path: x, revision: 1234567}",
        (2, 26, "models.a.revision", "must be a text", "put it in quotes: '1234567'"),
    ),
    "a codec of later": (
        "models: {a: {path: x, kv_cache: {codec: q8}}}",
        (1, 41, "models.a.kv_cache.codec", "'q8' is not available in this version", None),
    ),
    "a drafter of later": (
        "models: {a: {path: x, draft: {kind: ngram}}}",
        (1, 37, "models.a.draft.kind", "'ngram' is not available in this version", None),
    ),
    "a kind of later": (
        "models: {a: {path: x, kind: vision}}",
        (1, 29, "models.a.kind", "'vision' is not available in this version", None),
    ),
    "a kind of never": (
        "models: {a: {path: x, kind: poetry}}",
        (1, 29, "models.a.kind", "must be auto or text", None),
    ),
    "a name": ("models:\n  a/b: {path: x}", (2, 3, "models.a/b", "can be aliases", None)),
    "a name that climbs": ("models:\n  ..: {path: x}", (2, 3, "models...", "cannot be", None)),
    "an empty path": ("models: {a: {path: ''}}", (1, 20, "models.a.path", "not be empty", None)),
    "no user's home": (
        "models: {a: {path: ~nobody-here/x}}",
        (1, 20, "models.a.path", "no user", None),
    ),
    "no context": ("models: {a: {path: x, context: 0}}", (1, 32, "models.a.context", "auto", None)),
    "a list for a section": ("server: [1]\n", (1, 9, "server", "not a list", None)),
    "nothing for a model": ("models:\n  a:\n", (2, 5, "models.a", "not nothing", None)),
    "an alias that is a name": (
        "models:\n  a: {path: x}\n  b:\n    path: y\n    aliases:\n      - c\n      - a\n",
        (7, 9, "models.b.aliases[1]", "'a' is already the name of a", None),
    ),
    "an alias that another has": (
        "models:\n  a: {path: x, aliases: [c]}\n  b: {path: y, aliases: c}\n",
        (3, 25, "models.b.aliases[0]", "'c' is already another alias of a", None),
    ),
    "an alias twice": (
        "models: {a: {path: x, aliases: [c, c]}}",
        (1, 36, "models.a.aliases[1]", "already", None),
    ),
    "a key twice": (
        "models:\n  a: {path: x}\n  a: {path: y}\n",
        (3, 3, "models.a", "written twice; the first is on line 2", None),
    ),
    "an undefined variable": (
        "server:\n  host: is ${NOWHERE}\n",
        (2, 12, "server.host", "the environment variable NOWHERE is not set", None),
    ),
    "half a variable": ("server:\n  host: ${", (2, 9, "server.host", "needs a name", None)),
    "a bare variable in braces": (
        "server: {host: ${HOST}}",
        (1, 17, "", "expected", "in quotes"),
    ),
    "a list for a file": ("- a\n", (1, 1, "", "must be a mapping", None)),
    "a text for a file": ("hello\n", (1, 1, "", "must be a mapping", None)),
    "an open bracket": ("server:\n  cors_origins: [a\n", (3, 1, "", "begins on line 2", None)),
    "a tab": ("server:\n\tport: 1\n", (2, 1, "", "cannot start", "not tabs")),
    "a NUL": ("server:\n  host: a\0b\n", (2, 10, "", "U+0000 is not allowed", None)),
    "an escaped NUL": ('server:\n  host: "a\\0b"\n', (2, 9, "", "U+0000 is not allowed", None)),
    "half a surrogate pair": ("a: \ud800\n", (1, 4, "", "U+D800", None)),
    "a tag": ("server: !!python/name:os.system x", (1, 9, "server", "tags", None)),
    "an unknown anchor": ("server: *nothing", (1, 9, "server", "no anchor &nothing", None)),
    "an anchor in itself": ("server: &a {host: *a}", (1, 19, "server.host", "inside &a", None)),
    "two documents": ("server: {}\n---\nserver: {}\n", (2, 1, "", "one YAML document", None)),
    "a key that is a list": ("[1]: 2\n", (1, 1, "", "key", None)),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_the_place_and_the_meaning_of_a_mistake_are_said(what: str) -> None:
    text, (line, column, key, message, hint) = MISTAKES[what]
    error = error_of(text)
    assert (error.line, error.column, error.key) == (line, column, key), str(error)
    assert message in error.message
    if hint is None:
        assert error.hint is None, error.hint
    else:
        assert hint in (error.hint or "")


def test_the_error_is_one_line_and_json() -> None:
    error = error_of("models:\n  a:\n    path: x\n    idle_timeot: 3m\n")
    line = "config.yaml:4:5: models.a.idle_timeot: unknown key (did you mean 'idle_timeout'?)"
    assert str(error) == line
    assert error.as_dict() == {
        "path": "/somewhere/config.yaml",
        "line": 4,
        "column": 5,
        "key": "models.a.idle_timeot",
        "message": "unknown key",
        "hint": "did you mean 'idle_timeout'?",
        "text": line,
    }


def test_the_first_mistake_of_several_is_said() -> None:
    assert error_of("cache: {hot: 3}\nserver: {port: x}\nbad: 1\n").key == "cache.hot"


def test_a_column_counts_characters_not_bytes_and_not_the_byte_order_mark() -> None:
    error = error_of("\ufeff# héllo 🎉\nserver: {host: é🎉, prot: 1}\n")
    assert (error.line, error.column) == (2, 20)


def test_windows_line_ends_count_once() -> None:
    error = error_of("server:\r\n  host: h\r\n  prot: 1\r\n")
    assert (error.line, error.column) == (3, 3)


def test_a_long_wrong_value_is_cut_and_kept_on_one_line() -> None:
    error = error_of(f'server: {{log_level: "{"x" * 5000}\\n\\ny"}}')
    assert len(str(error)) < 400
    assert "\n" not in str(error)


def test_a_billion_laughs_are_refused() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than 100,000 values" in error_of(text).message


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 5000, "- " * 20_000, "? " * 20_000])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "levels deep" in error_of(f"server:\n {text}").message


def test_deep_nesting_by_aliases_is_refused() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
    assert "levels deep" in error_of(text).message


def test_a_huge_text_is_refused() -> None:
    error = error_of("# " + "x" * (1 << 21))
    assert "longer than" in error.message


def test_all_that_is_wrong_is_told_in_the_order_of_the_text() -> None:
    text = "server:\n  port: x\n  prot: 1\nmodels:\n  a.b:\n    path: ''\n    pinned: maybe\n"
    found = check(text, FILE, {})
    assert isinstance(found, list)
    assert [(e.line, e.loc) for e in found] == [
        (2, ("server", "port")),
        (3, ("server", "prot")),
        (6, ("models", "a.b", "path")),
        (7, ("models", "a.b", "pinned")),
    ]
