"""``qompass doctor``: what it says of this machine does not depend on who asks."""

from __future__ import annotations

import pytest

from apps.cli.doctor import check_mpi


@pytest.mark.uses("MPI")
def test_mpi_is_found_where_runs_find_it_whatever_the_path_and_folder(monkeypatch, tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "mpirun").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = check_mpi()
    assert finding.found and str(tmp_path) not in finding.detail, finding
