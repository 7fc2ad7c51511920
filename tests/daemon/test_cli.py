"""The `fastmlx` command where no daemon runs: help, usage, errors, check, list and status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastmlx.daemon.cli import VERBS, main

ROOT = Path(__file__).parents[2]
PROMISED = {
    *("serve", "check", "status", "list", "pull", "load", "unload", "run", "logs"),
    *("install", "uninstall", "restart"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FASTMLX_HOME and the user's own home are folders of this test."""
    monkeypatch.setenv("FASTMLX_HOME", str(tmp_path / "fastmlx"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path / "fastmlx"


def declare(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    file = home / "config.yaml"
    file.write_text(text)
    return file


def test_help_lists_every_verb_that_is_promised(capsys):
    assert set(VERBS) >= PROMISED
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert re.search(rf"^ +{name} +{re.escape(verb.summary)}$", shown, re.MULTILINE), name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_takes_a_home(verb, capsys):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--home FOLDER" in shown
    assert len(shown.split("\n\n")) >= 3, "usage, a description, options"


@pytest.mark.parametrize("verb", [*VERBS, ""])
def test_help_does_not_import_the_daemon(verb):
    """Nor anything else that takes long: help is there at once."""
    script = (
        "import sys; from fastmlx.daemon.cli import main; main([*sys.argv[1].split(), '--help']);"
        "heavy = {'sanic', 'sqlalchemy', 'mlx', 'pydantic', 'transformers', 'huggingface_hub'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", script, verb], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["sing"],
        ["load"],
        ["serve", "--port", "70000"],
        ["serve", "--log-level", "loud"],
        ["logs", "-n", "-3"],
        ["status", "--jso"],
    ],
)
def test_wrong_usage_ends_with_2_and_one_reason(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: fastmlx")
    assert said.splitlines()[-1].startswith("fastmlx")


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"fastmlx \d+\.\d+.*\n", capsys.readouterr().out)


def test_the_command_and_the_module_are_the_same_program():
    command = Path(sys.executable).with_name("fastmlx")
    shown = [
        subprocess.run([*words, "--help"], check=True, capture_output=True, text=True).stdout
        for words in ([str(command)], [sys.executable, "-m", "fastmlx.daemon"])
    ]
    assert shown[0] == shown[1]


def test_readme_and_default_config_name_only_verbs_that_exist():
    for file in (ROOT / "README.md", ROOT / "config" / "default.yaml"):
        for mention in re.findall(r"`fastmlx ([a-z]+)", file.read_text()):
            assert mention in VERBS, f"{file.name}: fastmlx {mention}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_lists_every_verb(verb):
    assert re.search(rf"^\| .*`(fastmlx )?{verb}\b", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "words", [["load", "demo"], ["unload", "demo"], ["run", "demo", "hello"], ["run", "demo"]]
)
def test_verbs_that_need_a_daemon_say_how_to_start_one(words, home, capsys):
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fastmlx: no daemon runs on {home}; ")
    assert "fastmlx serve" in said.err
    assert said.err.count("\n") == 1


def test_a_server_json_that_a_killed_daemon_left_is_no_daemon(home, capsys):
    (home / "run").mkdir(parents=True)
    (home / "run" / "server.json").write_text('{"pid": 1, "url": "http://127.0.0.1:1"}')
    assert main(["load", "demo"]) == 1
    assert "no daemon runs" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"url": 3}', '{"url": "", "pid": 1}'])
def test_a_broken_server_json_is_no_daemon(home, content, capsys):
    (home / "run").mkdir(parents=True)
    (home / "run" / "server.json").write_text(content)
    assert main(["status"]) == 1
    assert "does not run" in capsys.readouterr().out


def test_status_without_a_daemon_is_still_json(home, capsys):
    assert main(["status", "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["running"] is False
    assert status["pid"] is None
    assert status["url"] is None
    assert status["models"] == []
    assert status["config"] == {"path": f"{home}/config.yaml", "ok": True, "error": None}
    assert status["service"]["installed"] is False


def test_status_without_a_daemon_shows_what_is_wrong_in_the_config(home, capsys):
    declare(home, "server:\n  prot: 7000\n")
    assert main(["status"]) == 1
    assert "config.yaml:2:3: server.prot" in capsys.readouterr().out
    assert main(["status", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["config"]["error"]
    assert (error["line"], error["column"], error["key"]) == (2, 3, "server.prot")


def test_check_says_what_a_good_file_declares(home, capsys):
    file = declare(home, "models:\n  tiny: {path: 'builtin:demo', aliases: [small, mini]}\n")
    assert main(["check"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{file}: good\n")
    assert re.search(r"^tiny +builtin:demo +small, mini$", shown.out, re.MULTILINE)
    assert shown.err == ""


def test_check_takes_another_file_and_names_its_error(tmp_path, capsys):
    file = tmp_path / "other.yaml"
    file.write_text("models:\n  a:\n    path: builtin:demo\n    idle_timeot: 3m\n")
    assert main(["check", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"fastmlx: {file}:4:5: models.a.idle_timeot")
    assert "idle_timeout" in said
    assert said.count("\n") == 1


def test_check_of_a_file_that_is_not_there_or_is_a_folder_fails_plainly(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: does not exist" in capsys.readouterr().err
    assert main(["check", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_check_warns_of_model_files_that_are_not_there(home, tmp_path, capsys):
    missing = tmp_path / "no-model"
    declare(
        home,
        f"models:\n  a: {{path: {missing}, chat_template: ./none.jinja, adapters: [./none]}}\n"
        "  b: {path: some-organisation/some-model}\n",
    )
    assert main(["check"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert said[0].startswith("warning: models.a.path: ")
    assert str(missing) in said[0]
    assert said[1] == f"warning: models.a.chat_template: there is no file {home}/none.jinja"
    assert said[2] == f"warning: models.a.adapters[0]: there is no folder {home}/none"
    assert said[3].startswith("warning: models.b.path: ")
    assert "fastmlx pull some-organisation/some-model" in said[3]


def test_list_works_without_a_daemon(home, capsys):
    declare(home, "models:\n  tiny: {path: 'builtin:demo', aliases: [small]}\n")
    assert main(["list"]) == 0
    assert re.search(r"^tiny +- +builtin:demo +small$", capsys.readouterr().out, re.MULTILINE)
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "tiny", "aliases": ["small"], "state": None, "path": "builtin:demo"}
    ]


def test_list_of_a_broken_config_shows_its_error(home, capsys):
    declare(home, "models: [\n")
    assert main(["list"]) == 1
    assert "config.yaml:" in capsys.readouterr().err


def test_home_goes_before_the_environment(home, tmp_path, capsys):
    other = tmp_path / "other"
    declare(home, "models:\n  one: {path: 'builtin:demo'}\n")
    declare(other, "models:\n  two: {path: 'builtin:demo'}\n")
    assert main(["list", "--json", "--home", str(other)]) == 0
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == ["two"]


def test_pull_refuses_what_is_not_on_the_hub(capsys):
    assert main(["pull", "builtin:demo"]) == 1
    assert main(["pull", "~/models/mine"]) == 1
    assert "not on the Hub" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback(home):
    names = "\n".join(f"  m{number}: {{path: 'builtin:demo'}}" for number in range(5000))
    declare(home, f"models:\n{names}\n")
    command = f"{sys.executable} -m fastmlx.daemon list --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "[\n"
    assert done.stderr == ""
