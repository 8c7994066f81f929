"""launch/check.py says what the tests covered: never a service that is not there."""

from __future__ import annotations

from pathlib import Path

from launch.check import covered

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_a[local_gpu]"/>
<testcase classname="tests.a" name="test_b"><properties><property name="uses" value="GPU"/></properties>
  <skipped message="no GPU"/></testcase>
<testcase classname="tests.a" name="test_c"><properties><property name="uses" value="MPI"/></properties></testcase>
<testcase classname="tests.a" name="test_d"><properties><property name="uses" value="MPI"/></properties>
  <failure/></testcase>
</testsuite></testsuites>"""


def test_only_tests_that_used_a_service_count_for_it(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    gpu, mpi = covered(tmp_path / "report.xml")
    assert gpu.split() == ["GPU", "0", "tests", "passed,", "1", "skipped:", "no", "GPU"]
    assert mpi.split() == ["MPI", "1", "tests", "passed,", "1", "failed"]
