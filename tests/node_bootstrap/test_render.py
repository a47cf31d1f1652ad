"""Stage 0 as rendered: reviewed text, valid for its shell, small, and without a value that is not quoted."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from jinja2 import Environment, StrictUndefined, UndefinedError

from node_bootstrap.quoting import only_quoted
from node_bootstrap.render import MAX_STAGE_0_BYTES, TEMPLATES, OperatingSystem, render_stage_0, template_digest
from tests.node_bootstrap.profiles import SAMPLE

GOLDEN = Path(__file__).parent / "golden"
NAMES = {OperatingSystem.LINUX: "stage0.sh", OperatingSystem.WINDOWS: "stage0.ps1"}
POWERSHELL = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
HOSTILE = 'it\'s $(touch owned) `id` "x" \u2019; rm -rf / \\ %PATH%'


def shellcheck() -> str:
    """Where shellcheck is: it comes with the development packages."""
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "shellcheck is missing: make setup installs it"
    return found


@pytest.mark.parametrize("system", OperatingSystem)
def test_stage_0_is_as_reviewed(system: OperatingSystem) -> None:
    """The rendered script is the golden file; MILLPOND_WRITE_GOLDEN=1 writes it anew for review."""
    golden = GOLDEN / NAMES[system]
    text = render_stage_0(system, SAMPLE)
    if os.environ.get("MILLPOND_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("system", OperatingSystem)
def test_stage_0_is_small_enough_to_be_delivered(system: OperatingSystem) -> None:
    """With names as long as Azure allows it is still below the limit."""
    longest = replace(
        SAMPLE,
        pool="p" * 20,
        group="g" * 20,
        work_queue="q" * 50,
        blob_endpoint=f"https://{'a' * 24}.blob.core.windows.net/",
        queue_endpoint=f"https://{'a' * 24}.queue.core.windows.net/",
    )
    assert len(render_stage_0(system, longest).encode()) <= MAX_STAGE_0_BYTES


def test_a_stage_0_that_does_not_fit_is_refused() -> None:
    """A script over the limit is an error that says so, not a boot that fails."""
    with pytest.raises(ValueError, match="4096 fit"):
        render_stage_0(OperatingSystem.LINUX, replace(SAMPLE, pool="p" * 4000))


def test_windows_needs_an_interpreter() -> None:
    """A Windows profile without the interpreter's hash is refused."""
    with pytest.raises(ValueError, match="python_sha256"):
        render_stage_0(OperatingSystem.WINDOWS, replace(SAMPLE, python_sha256=None))


def test_an_unquoted_value_or_an_unknown_name_is_refused() -> None:
    """A template cannot write a value as it is, nor one that is not there."""
    environment = Environment(finalize=only_quoted, autoescape=False)
    with pytest.raises(TypeError, match="quote"):
        environment.from_string("x={{ value }}").render(value="a b")
    strict = Environment(undefined=StrictUndefined, autoescape=False)
    with pytest.raises(UndefinedError):
        strict.from_string("{{ missing }}").render()


def test_hostile_values_stay_values_in_bash(tmp_path: Path) -> None:
    """Whatever a profile says, bash reads it as the same text and runs none of it."""
    script = render_stage_0(OperatingSystem.LINUX, replace(SAMPLE, pool=HOSTILE))
    assignment = next(line for line in script.splitlines() if line.startswith("export MILLPOND_PROFILE="))
    done = subprocess.run(
        ["bash", "-c", f'{assignment}\nprintf %s "$MILLPOND_PROFILE"'], cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["pool"] == HOSTILE
    assert list(tmp_path.iterdir()) == []


def powershell_errors(text: str) -> list[str]:
    """List the places that the grammar of PowerShell does not accept."""
    found = []
    stack = [POWERSHELL.parse(text.encode()).root_node]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point.row + 1}: {text.splitlines()[node.start_point.row]}")
        stack.extend(node.children)
    return found


@pytest.mark.parametrize("pool", ["risk", HOSTILE])
def test_windows_stage_0_is_powershell(pool: str) -> None:
    """The rendered script parses without an error, hostile values included."""
    assert powershell_errors(render_stage_0(OperatingSystem.WINDOWS, replace(SAMPLE, pool=pool))) == []


def test_windows_install_is_powershell() -> None:
    """The install script of the bundle parses without an error."""
    assert powershell_errors((TEMPLATES / "windows_install.ps1").read_text(encoding="utf-8")) == []


def test_the_grammar_finds_errors() -> None:
    """The two tests above can fail: a broken script is seen as broken."""
    assert powershell_errors("if ($x { 'open'") != []


@pytest.mark.parametrize("name", ["stage0.sh", "install.sh"])
def test_bash_passes_shellcheck(name: str, tmp_path: Path) -> None:
    """The Linux scripts have no finding of shellcheck, not even of style."""
    path = tmp_path / name
    source = (TEMPLATES / "linux_install.sh").read_text(encoding="utf-8")
    path.write_text(render_stage_0(OperatingSystem.LINUX, SAMPLE) if name == "stage0.sh" else source, encoding="utf-8")
    done = subprocess.run([shellcheck(), "--shell=bash", str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("system", OperatingSystem)
def test_every_script_has_the_same_contract(system: OperatingSystem) -> None:
    """Strict mode and a trap that names step and line stand in stage 0 and install script of both systems."""
    install = {"linux": "linux_install.sh", "windows": "windows_install.ps1"}[system]
    for text in (render_stage_0(system, SAMPLE), (TEMPLATES / install).read_text(encoding="utf-8")):
        strict, trap = {
            "linux": (r"set -Eeuo pipefail", r"trap 'failed \$\? \$LINENO' ERR"),
            "windows": (r"Set-StrictMode -Version 3\.0", r"(?s)trap \{.*ScriptLineNumber"),
        }[system]
        assert re.search(strict, text)
        assert re.search(trap, text)


def test_the_digest_tells_templates_apart() -> None:
    """Each system's template has a digest of its own, of 64 hex digits."""
    digests = {template_digest(system) for system in OperatingSystem}
    assert len(digests) == len(OperatingSystem)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
