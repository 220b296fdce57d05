"""What `make check-deps` makes of the answers of its tools."""

import json
import runpy
from pathlib import Path

CHECKS = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "check_deps.py"))


def test_advisories_that_could_not_be_asked_are_a_fault_and_not_a_clean_bill() -> None:
    (said,) = CHECKS["read_audit"]("", "Traceback\nConnectionError: name or service not known")
    assert "NOT CHECKED" in said
    assert "ConnectionError" in said


def test_a_vulnerable_package_is_named_with_the_version_that_mends_it() -> None:
    answer = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]},
            {"name": "odd", "skip_reason": "not found"},
        ]
    }
    assert CHECKS["read_audit"](json.dumps(answer), "") == ["odd: not checked, not found", "bad 2: X-1, mended in 3"]


def test_a_licence_is_allowed_when_all_its_parts_are_or_one_of_its_choices() -> None:
    licensed = [
        ("a", "MIT"),
        ("b", "BSD-3-Clause AND Zlib"),
        ("c", "GPL-3.0 OR Apache-2.0"),
        ("d", "GPL-3.0"),
        ("e", "MIT AND GPL-3.0"),
        ("f", "UNKNOWN"),
        ("skops", "UNKNOWN"),
        ("g", "Mozilla Public License 2.0 (MPL 2.0)"),
        ("h", "(MIT OR GPL-3.0)"),
    ]
    assert CHECKS["refused"](licensed) == ["d: GPL-3.0", "e: MIT AND GPL-3.0", "f: UNKNOWN"]


def test_the_lock_file_names_what_is_installed() -> None:
    assert {"kafka-python", "redis", "scikit-learn"} <= CHECKS["locked"]()
