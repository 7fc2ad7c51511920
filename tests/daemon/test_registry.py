"""A plug-in is found by its file's name, imported when used, and missed with a helpful error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fastmlx.daemon.registry import Registry, UnknownName


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of plug-ins: alpha, beta (broken), _private; and one installed beside it."""
    folder = tmp_path / "plugins_under_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "alpha.py").write_text("VALUE = 1\n")
    (folder / "beta.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_private.py").touch()
    (tmp_path / "outside_under_test.py").write_text("VALUE = 2\n")
    metadata = tmp_path / "outside-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[things]\ngamma = outside_under_test\nalpha = outside_under_test\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in list(sys.modules):
        if name.startswith("plugins_under_test"):
            monkeypatch.delitem(sys.modules, name)
    return folder.name


def test_names_are_the_files_and_nothing_is_imported(package: str) -> None:
    assert Registry(package, "thing").names() == ("alpha", "beta")
    assert f"{package}.alpha" not in sys.modules


def test_a_module_is_imported_when_it_is_asked_for(package: str) -> None:
    assert Registry(package, "thing").get("alpha").VALUE == 1
    with pytest.raises(RuntimeError, match="imported"):
        Registry(package, "thing").get("beta")


def test_other_packages_add_names_but_do_not_replace_ours(package: str) -> None:
    registry = Registry(package, "thing", "things")
    assert registry.names() == ("alpha", "beta", "gamma")
    assert registry.get("gamma").VALUE == 2
    assert registry.get("alpha").VALUE == 1


def test_an_unknown_name_lists_the_choices_and_the_nearest(package: str) -> None:
    registry = Registry(package, "thing")
    with pytest.raises(UnknownName) as caught:
        registry.get("alpa")
    expected = "There is no thing 'alpa'; choices: alpha, beta. Did you mean alpha?"
    assert str(caught.value) == expected
    for name in ("_private", "os", "../alpha", ""):
        with pytest.raises(UnknownName):
            registry.get(name)
