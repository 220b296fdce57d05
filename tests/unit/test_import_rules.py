"""The import rules hold, and would be noticed if they did not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their rules in a directory where a rule may be broken."""
    packages = [init.parent for init in PROJECT.glob("*/__init__.py") if init.parent.name != "tests"]
    for package in packages:
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rules_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        ("churn/features.py", "import redis", "The fold is pure"),
        ("churn/events.py", "import pandas", "The fold is pure"),
        ("churn/model.py", "import scorer", "The domain imports no part"),
        ("scorer/__init__.py", "import training", "No part imports another part"),
    ],
)
def test_a_planted_import_breaks_its_rule(copy: Path, file: str, planted: str, broken: str) -> None:
    with (copy / file).open("a") as source:
        source.write(f"\n{planted}\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert re.search(rf"{broken}.* BROKEN", result.stdout), result.stdout
