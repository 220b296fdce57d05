"""`make check-deps`: is any package known to be vulnerable, not declared, not used, or under a licence we do not take?

Each question is asked, also when an earlier one was answered badly. A question that could not be asked counts as bad.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"

# Where the licences that may be used stand together as words of SPDX or of the classifiers.
ALLOWED = {
    *("MIT", "MIT License", "MIT-CMU", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Zlib", "CC0-1.0"),
    *("Apache-2.0", "Apache Software License", "Python Software Foundation License", "PSF-2.0", "ISC"),
    *("Mozilla Public License 2.0 (MPL 2.0)", "Repoze Public License"),
}
# One by one, with the reason.
EXCEPTIONS = {
    "skops": "MIT by the licence file in its package; its metadata says nothing",
    "crc32c": "LGPL 2 or later: a library of its own that is neither changed nor built into ours",
}
# What is needed without being imported.
USED_UNSEEN = ("crc32c",)  # kafka-python uses it where it is there
# The peers of the benchmark have packages of their own.
NOT_OURS = (r"\.venv.*", "benchmarks/stream/.*_sink.py", "benchmarks/stream/faust_take.py", "tests", r"\.ci")


def main() -> int:
    """0: nothing is wrong; 1: something is, or could not be asked."""
    questions: dict[str, Callable[[], list[str]]] = {
        "known vulnerabilities": vulnerabilities,
        "undeclared or unused": undeclared,
        "licences": licences,
    }
    found = {name: ask() for name, ask in questions.items()}
    for name, faults in found.items():
        print(f"{name}: {'ok' if not faults else ''}")
        for fault in faults:
            print(f"  {fault}")
    return int(any(found.values()))


def locked() -> set[str]:
    """The names of all packages that an installation brings."""
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", LOCK.read_text(), re.MULTILINE)}


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def vulnerabilities() -> list[str]:
    """Advisories about locked packages."""
    answer = run("pip_audit", "-r", str(LOCK), "--disable-pip", "--require-hashes", "-s", "osv", "-f", "json")
    return read_audit(answer.stdout, answer.stderr)


def read_audit(answer: str, errors: str) -> list[str]:
    """What the audit says. Without an answer nothing is known, which is not the same as nothing being wrong."""
    try:
        packages = json.loads(answer)["dependencies"]
    except ValueError:
        why = (errors.strip().splitlines() or ["no answer"])[-1]
        return [f"NOT CHECKED, the advisories (osv.dev) could not be asked: {why[:300]}"]
    skipped = [f"{each['name']}: not checked, {each['skip_reason']}" for each in packages if "skip_reason" in each]
    return skipped + [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in packages
        for fault in each.get("vulns", ())
    ]


def undeclared() -> list[str]:
    """Packages that are imported and not declared in pyproject.toml, or declared and not imported."""
    excluded = [word for each in NOT_OURS for word in ("--exclude", each)]
    answer = run("deptry", ".", "--no-ansi", *excluded, "--per-rule-ignores", f"DEP002={'|'.join(USED_UNSEEN)}")
    if answer.returncode == 0:
        return []
    lines = (answer.stdout + answer.stderr).splitlines()
    return [line for line in lines if re.search(r"DEP\d{3}", line)] or lines[-3:]


def licences() -> list[str]:
    """Locked packages under a licence that is not allowed, as far as they are installed here."""
    answer = run("piplicenses", "--from=mixed", "--format=json", "--with-system")
    if answer.returncode != 0:
        return [f"NOT CHECKED: {answer.stderr.strip()[-300:]}"]
    installed = {normal(each["Name"]): each["License"] for each in json.loads(answer.stdout)}
    return refused({name: installed[name] for name in sorted(locked() & installed.keys())}.items())


def refused(licensed: Iterable[tuple[str, str]]) -> list[str]:
    """Packages of which not all licences are allowed; of those joined by OR one is enough."""
    return [
        f"{name}: {licence}"
        for name, licence in licensed
        if name not in EXCEPTIONS
        and not any(
            set(re.split(r" AND |; ", choice)) <= ALLOWED
            for choice in re.sub(r"^[(](.*)[)]$", r"\1", licence).split(" OR ")
        )
    ]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the tools, on this project."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
