"""Qompass is used from its checkout: it can be installed as such, and nothing makes a wheel of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def backend():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    assert 'build-backend = "build"' in lines and any(line.startswith('backend-path = ["launch"]') for line in lines)
    spec = importlib.util.spec_from_file_location("backend_of_the_project", ROOT / "launch/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("what", ["build_wheel", "build_sdist"])
def test_no_wheel_is_made_and_one_line_says_what_to_do(tmp_path, what):
    with pytest.raises(SystemExit, match=r"Qompass is used from its checkout: \./launch/qompass"):
        getattr(backend(), what)(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_an_editable_install_can_be_made():
    assert callable(backend().build_editable) and not hasattr(backend(), "prepare_metadata_for_build_wheel")
