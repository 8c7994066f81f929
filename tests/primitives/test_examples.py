"""The examples in the docstrings of the importable face do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import qompass

MODULES = ["qompass", *(module.name for module in pkgutil.walk_packages(qompass.__path__, "qompass."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [t for name in MODULES for t in doctest.DocTestFinder().find(importlib.import_module(name)) if t.examples]
    assert len(found) >= 4
