"""A pool's bootstrap as settings: each mistake is found with its place, what is right reaches the nodes as written."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.components.machines import build_software
from infra.config import parse
from infra.config.bootstrap import MOST_SCRIPT_BYTES, MOST_START_COMMANDS
from infra.findings import ConfigError
from node_bootstrap.boot_plan import BootPlan, Defender
from node_bootstrap.protocol import decode, encode

DIGEST = "2" * 64
PYTHON: Mapping[str, Any] = {"windows_python": {"url": "https://python.example/embed.zip", "sha256": DIGEST}}
COMMAND: Mapping[str, Any] = {"name": "setup", "script": "true"}
PACKAGE: Mapping[str, Any] = {"name": "tool", "url": "https://tools.example/tool.zip", "sha256": DIGEST, "size": 7}


def stack(bootstrap: Mapping[str, Any], image: str = "ubuntu-24.04", **pool: Any) -> Mapping[str, Any]:
    """A stack with one pool and its bootstrap."""
    groups = [{"name": "d2sv5", "vm_size": "Standard_D2s_v5"}]
    declared = {"name": "risk", "image": image, "groups": groups, "bootstrap": bootstrap, **pool}
    return {"environment": "test", "location": "westeurope", "pools": [declared], **PYTHON}


def findings(bootstrap: Mapping[str, Any], image: str = "ubuntu-24.04", **pool: Any) -> list[str]:
    """What is found wrong, with its path."""
    with pytest.raises(ConfigError) as caught:
        parse(stack(bootstrap, image, **pool))
    return [str(finding) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("bootstrap", "place", "said"),
    [
        ({"time_zone": "Europe/Berlim"}, "bootstrap", "Europe/Berlin"),
        ({"time_zone": "../../etc/passwd"}, "bootstrap", "no time zone"),
        ({"environment": {"A B": "1"}}, "bootstrap.environment", "not a variable's name"),
        ({"environment": {"AZ_BATCH_POOL_ID": "1"}}, "bootstrap.environment", "set by Millpond"),
        ({"environment": {"DB_PASSWORD": "1"}}, "bootstrap.environment", "looks like a secret"),
        ({"environment": {"A": "1" * 20000}}, "bootstrap.environment", "16384 characters"),
        ({"packages": [{**PACKAGE, "name": "../x"}]}, "bootstrap.packages[0].name", "letters, digits"),
        ({"packages": [{**PACKAGE, "file": "x"}]}, "bootstrap.packages[0]", "write url, or file"),
        ({"packages": [{**PACKAGE, "url": None}]}, "bootstrap.packages[0]", "write url, or file"),
        ({"packages": [PACKAGE, PACKAGE]}, "bootstrap.packages", "'tool' is there twice"),
        ({"packages": [{**PACKAGE, "size": 0}]}, "bootstrap.packages[0].size", "greater than 0"),
        ({"start_commands": [{**COMMAND, "timeout": "0s"}]}, "bootstrap.start_commands[0].timeout", "out of bounds"),
        ({"start_commands": [{**COMMAND, "retries": 99}]}, "bootstrap.start_commands[0].retries", "less than"),
        ({"start_commands": [{**COMMAND, "script": ""}]}, "bootstrap.start_commands[0].script", "at least 1"),
        (
            {"start_commands": [{**COMMAND, "script": "x" * (MOST_SCRIPT_BYTES + 1)}]},
            "bootstrap.start_commands[0].script",
            "put it into a package",
        ),
        ({"start_commands": [{**COMMAND, "timeout": "50m", "retries": 1}]}, "bootstrap", "1:40:00"),
        ({"start_commands": [{**COMMAND, "timeout": "15m"}]}, "bootstrap", "scaling.boot_deadline"),
        (
            {"start_commands": [{**COMMAND, "name": f"c{n}", "timeout": "1s"} for n in range(MOST_START_COMMANDS + 1)]},
            "bootstrap.start_commands",
            "several into one script",
        ),
        ({"defender": "off"}, "bootstrap", "defender is for Windows"),
        ({"windows_updates": True}, "bootstrap", "windows_updates is for Windows"),
        ({"start_command": []}, "bootstrap.start_command", "start_commands"),
    ],
)
def test_a_mistake_is_found_in_its_place(bootstrap: Mapping[str, Any], place: str, said: str) -> None:
    """Path, problem and remedy of each, before anything is declared."""
    (found,) = findings(bootstrap)
    assert found.startswith(f"millpond:pools[0].{place}: ")
    assert said in found


def test_all_mistakes_are_told_at_once() -> None:
    """Three in one bootstrap are three findings."""
    wrong = {
        "environment": {"A B": "1"},
        "packages": [{**PACKAGE, "size": 0}],
        "start_commands": [{**COMMAND, "retries": 99}],
    }
    assert len(findings(wrong)) == 3


def test_windows_calls_time_zones_by_its_own_names() -> None:
    """An IANA name is refused with an example; Windows's own is taken."""
    (found,) = findings({"time_zone": "Europe/Berlin"}, "windows-2022")
    assert "W. Europe Standard Time" in found
    config = parse(stack({"time_zone": "W. Europe Standard Time", "defender": "off"}, "windows-2022"))
    assert config.pools[0].bootstrap.plan.defender is Defender.OFF


@given(
    st.text(min_size=1, max_size=200).filter(lambda text: "\0" not in text),
    st.dictionaries(st.from_regex(r"[B-Z][A-Z0-9]{0,5}", fullmatch=True), st.text().filter(lambda v: "\0" not in v)),
)
def test_what_is_right_reaches_the_nodes_as_written(script: str, environment: dict[str, str]) -> None:
    """Whatever a script or a value says, the plan in the bundle says the same."""
    if any(name in {"SAS", "TOKEN", "SECRET", "PASSWD"} for name in environment):
        return
    try:
        script.encode()
        "".join(environment.values()).encode()
    except UnicodeEncodeError:
        return  # no file can carry a lone surrogate
    declared = {"environment": environment, "start_commands": [{**COMMAND, "script": script}], "packages": [PACKAGE]}
    plan = parse(stack(declared)).pools[0].bootstrap.plan
    assert decode(BootPlan, encode(plan)) == plan
    assert plan.start_commands[0].script == script
    assert dict(plan.environment) == environment
    assert plan.packages[0].blob == f"{DIGEST}.zip"


def test_pools_with_the_same_wishes_share_a_bundle() -> None:
    """What is said in the defaults' words is the default; another wish is another bundle."""
    plain, written, other = (
        build_software(parse(stack(bootstrap)).pools[0]).bundle
        for bootstrap in ({}, {"time_zone": "UTC"}, {"time_zone": "Europe/Berlin"})
    )
    assert plain == written != other
