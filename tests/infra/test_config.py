"""Settings become frozen types, or every finding at once with its path and what to write instead."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.catalog import IMAGES
from infra.config import StackConfig, from_engine, parse
from infra.durations import parse_duration
from infra.findings import ConfigError, Finding
from infra.stacks import settings_of
from scheduler.catalog import VM_SIZES
from scheduler.policy import ScalingPolicy


def group(**changes: object) -> dict[str, object]:
    """Settings of a group that are right, with changes."""
    return {"name": "d2sv5", "vm_size": "Standard_D2s_v5", **changes}


def pool(**changes: object) -> dict[str, object]:
    """Settings of a pool that are right, with changes."""
    return {"name": "risk", "image": "ubuntu-24.04", "groups": [group()], **changes}


def stack(**changes: object) -> dict[str, object]:
    """Settings of a stack that are right, with changes."""
    return {"environment": "test", "location": "westeurope", "pools": [pool()], **changes}


def findings(values: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with settings, by path."""
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert all(str(finding) in str(caught.value) for finding in caught.value.findings)
    return {finding.path: f"{finding.problem}; {finding.remedy}" for finding in caught.value.findings}


@pytest.mark.parametrize("name", ["local", "dev"])
def test_the_committed_stacks_are_right(name: str) -> None:
    """The settings files of the repository can be deployed."""
    assert isinstance(parse(settings_of(name)), StackConfig)


def test_what_is_left_out_has_the_scheduler_defaults() -> None:
    """A pool without scaling has the policy's own defaults, and a node a slot a vCPU."""
    parsed = parse(stack()).pools[0]
    assert parsed.scaling == ScalingPolicy()
    assert parsed.groups[0].slots == VM_SIZES["Standard_D2s_v5"].vcpus
    assert parsed.group_limit(parsed.groups[0]) == ScalingPolicy().max_nodes


def test_scaling_takes_every_field_of_the_policy() -> None:
    """The settings of scaling are the policy's fields, durations written with their unit."""
    written: dict[str, Any] = {
        field.name: "90s" if isinstance(field.default, timedelta) else field.default
        for field in dataclasses.fields(ScalingPolicy)
    }
    parsed = parse(stack(pools=[pool(scaling=written, node={"status_interval": "5s"})])).pools[0].scaling
    assert isinstance(parsed, ScalingPolicy)
    assert parsed.acceptable_wait == parsed.boot_deadline == timedelta(seconds=90)


def test_all_findings_come_at_once() -> None:
    """One reading tells everything that is wrong, each at its path."""
    found = findings(
        {
            "enviroment": "test",
            "location": "West Europe",
            "network": {"address_space": "8.8.8.0/24"},
            "tags": {"a<b": "c"},
            "pools": [
                pool(
                    image="ubuntu-24.4",
                    groups=[
                        group(vm_size="Standard_D2s_v55"),
                        group(name="spot", vm_size="Standard_B2s", priority="spot"),
                        group(task_slots=99, maxnodes=3),
                        group(name="many", max_nodes=1001),
                    ],
                    scaling={"acceptable_wait": 5, "idle_timeout": "5 minutes"},
                ),
                pool(groups=[], scaling={"min_nodes": 11}),
                3,
            ],
        }
    )
    assert set(found) == {
        "millpond:environment",
        "millpond:enviroment",
        "millpond:location",
        "millpond:network.address_space",
        "millpond:tags",
        "millpond:pools[0].image",
        "millpond:pools[0].groups[0].vm_size",
        "millpond:pools[0].groups[1].vm_size",
        "millpond:pools[0].groups[2].name",
        "millpond:pools[0].groups[2].task_slots",
        "millpond:pools[0].groups[2].maxnodes",
        "millpond:pools[0].groups[3].max_nodes",
        "millpond:pools[0].scaling.acceptable_wait",
        "millpond:pools[0].scaling.idle_timeout",
        "millpond:pools[1].name",
        "millpond:pools[1].groups",
        "millpond:pools[1].scaling",
        "millpond:pools[2]",
    }


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        (stack(enviroment="x"), "millpond:enviroment", "did you mean environment?"),
        (stack(pools=[pool(image="ubuntu-24.4")]), "millpond:pools[0].image", "did you mean ubuntu-24.04"),
        (stack(pools=[pool(image="debian")]), "millpond:pools[0].image", "write one of: windows-2019"),
        (
            stack(pools=[pool(groups=[group(vm_size="standard_d2s_v5")])]),
            "millpond:pools[0].groups[0].vm_size",
            "did you mean Standard_D2s_v5",
        ),
        (
            stack(pools=[pool(groups=[group(vm_size="Standard_B2s", priority="spot")])]),
            "millpond:pools[0].groups[0].vm_size",
            "no Spot machines of the B series",
        ),
        (
            stack(
                pools=[pool(image="windows-2022", computer_name_prefix="tencharact")],
                windows_python={"url": "https://python.example/embed.zip", "sha256": "0" * 64},
            ),
            "millpond:pools[0].computer_name_prefix",
            "at most 8 letters",
        ),
        (
            stack(pools=[pool(groups=[group(max_nodes=1001)])]),
            "millpond:pools[0].groups[0].max_nodes",
            "less than or equal to 1000, not 1001",
        ),
        (
            stack(pools=[pool(scaling={"idle_timeout": 5})]),
            "millpond:pools[0].scaling.idle_timeout",
            "5 is not a duration with its unit; write a duration with its unit, such as 90s",
        ),
        (
            stack(pools=[pool(scaling={"min_nodes": 3, "max_nodes": 2})]),
            "millpond:pools[0].scaling",
            "need 0 <= min_nodes <= max_nodes",
        ),
        (
            stack(pools=[pool(scaling={"silence_deadline": "20s"})]),
            "millpond:pools[0].node",
            "leaves less than three within the silence deadline",
        ),
        (
            stack(network={"address_space": "10.0.0.0/26"}, pools=[pool(scaling={"max_nodes": 28})]),
            "millpond",
            "has 27 addresses and the pools may have 28 nodes",
        ),
        (stack(pools=[pool(image="windows-2022")]), "millpond:windows_python", "the images of risk have no Python"),
        (stack(pools=[]), "millpond:pools", "declare at least one"),
        (stack(pools="risk"), "millpond:pools", "write for example pools"),
        (stack(storage={"account": "Mill-Pond"}), "millpond:storage.account", "3 to 24 lower-case letters"),
    ],
)
def test_a_finding_says_what_to_write_instead(values: Mapping[str, object], path: str, words: str) -> None:
    """Each finding has its path, what is wrong and the remedy, and is the only one."""
    found = findings(values)
    assert list(found) == [path]
    assert words in found[path]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from([*StackConfig.model_fields, "x", "name", "groups", "scaling"]), inner)
        ),
    )
)
def test_nonsense_gives_findings(value: Any) -> None:
    """Nonsense ends in findings, each with a path in the project, and in no other error."""
    values = value if isinstance(value, dict) else {"pools": value, "network": value}
    found: tuple[Finding, ...] = ()
    try:
        parse(values)
    except ConfigError as error:
        found = error.findings
    assert found
    assert all(finding.path.startswith("millpond") and finding.remedy for finding in found)


@given(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999))
def test_durations_add_their_parts(hours: int, minutes: int, seconds: int) -> None:
    """The short form and ISO 8601 say the same."""
    expected = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == expected
    assert parse_duration(f"PT{hours}H{minutes}M{seconds}S") == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90), ("P1DT1S", 86401)]
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    """Units are what they are everywhere; m is minutes and ms milliseconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@given(st.text())
def test_no_text_breaks_the_reading_of_durations(text: str) -> None:
    """A text is a duration that is not negative, or refused by ValueError."""
    try:
        duration = parse_duration(text)
    except ValueError:
        duration = timedelta(0)
    assert duration >= timedelta(0)


@pytest.mark.parametrize("text", ["", "5", "P", "PT", "s", "5 m", "-5m", "5m5h", "m5", "1e3s", "\u0665m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A bare number, a wrong order or a sign is no duration."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_the_engine_gives_the_same_settings_as_the_file() -> None:
    """Structures come from the engine as JSON text and scalars as they are; other projects' keys are not ours."""
    values = settings_of("local")
    raw = {f"millpond:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    assert parse(from_engine({**raw, "azure-native:location": "x"})) == parse(values)


def test_images_are_listed_under_their_own_alias() -> None:
    """The catalogue's key is the image's alias, and each has a last day."""
    assert all(alias == image.alias and image.end_of_life.year >= 2027 for alias, image in IMAGES.items())
