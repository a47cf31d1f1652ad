"""Settings become frozen types, or every finding at once with its path and what to write instead."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, time, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.catalog import IMAGES, find_image
from infra.config import StackConfig, StorageAccess, from_engine, parse
from infra.findings import ConfigError, Finding
from infra.stacks import settings_of
from node_bootstrap.render import OperatingSystem
from scheduler.catalog import VM_SIZES
from scheduler.durations import parse_duration
from scheduler.policy import Floor, Limits, ScalingPolicy, Weekday


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


@pytest.mark.parametrize("name", ["local", "dev", "staging", "prod"])
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


def test_a_shadow_is_scaling_with_some_fields_changed() -> None:
    """What a shadow leaves out is as in scaling, not as in the policy's defaults; without one nothing is proposed."""
    settings = pool(scaling={"acceptable_wait": "7m", "max_nodes": 3}, shadow={"acceptable_wait": "1m", "min_nodes": 2})
    (parsed,) = parse(stack(pools=[settings])).pools
    assert parsed.proposed == ScalingPolicy(acceptable_wait=timedelta(minutes=1), min_nodes=2, max_nodes=3)
    assert parse(stack(pools=[pool()])).pools[0].proposed is None
    floor = {"days": ["mon"], "from": "08:00", "to": "18:00", "nodes": 30}
    settings = pool(spot_share=0.5, scaling={"max_nodes": 40}, shadow={"floors": [floor]})
    (parsed,) = parse(stack(network={"address_space": "10.0.0.0/16"}, pools=[settings])).pools
    assert parsed.proposed is not None
    assert (parsed.proposed.floors[0].nodes, parsed.proposed.spot_share, parsed.proposed.max_nodes) == (30, 0.5, 40)


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
                windows_python={"url": "https://python.example/embed.zip", "sha256": "2" * 64},
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
            stack(pools=[pool(scaling={"max_nodes": 2}, shadow={"min_nodes": 3})]),
            "millpond:pools[0].shadow",
            "need 0 <= min_nodes <= max_nodes",
        ),
        (stack(pools=[pool(shadow={"min_node": 3})]), "millpond:pools[0].shadow.min_node", "did you mean min_nodes"),
        (
            stack(pools=[pool(scaling={"idle_timeout": 5}, shadow={"min_nodes": 1})]),
            "millpond:pools[0].scaling.idle_timeout",
            "5 is not a duration with its unit",
        ),
        (stack(pools=[pool(shadow=3)]), "millpond:pools[0].shadow", "should be a mapping of settings"),
        (
            stack(pools=[pool(scaling={"silence_deadline": "20s"})]),
            "millpond:pools[0].node",
            "leaves less than three within the silence deadline",
        ),
        (
            stack(network={"address_space": "10.0.0.0/26"}, pools=[pool(scaling={"max_nodes": 28})]),
            "millpond:network",
            "has 27 addresses and the pools may have 28 nodes",
        ),
        (stack(pools=[pool(image="windows-2022")]), "millpond:windows_python", "the images of risk have no Python"),
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
            | st.dictionaries(
                st.sampled_from([*StackConfig.model_fields, "x", "name", "groups", "scaling", "shadow"]), inner
            )
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


KEY_VAULT = {
    "id": (
        "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.KeyVault"
        "/vaults/kv-batch"
    ),
    "url": "https://kv-batch.vault.azure.net/",
}
SUBNET = (
    "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Network"
    "/virtualNetworks/vnet/subnets/nodes"
)
GALLERY = (
    "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Compute"
    "/galleries/ours/images/nodes"
)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"batch": {"name": "myBatch"}}, "millpond:batch.name", "write 3 to 24 lower-case letters and digits"),
        ({"batch": {"name": "my-batch"}}, "millpond:batch.name", "write 3 to 24 lower-case letters and digits"),
        ({"batch": {"key_vault": KEY_VAULT}}, "millpond:batch.key_vault", "takes no key vault"),
        ({"batch": {"allocation_mode": "user-subscription"}}, "millpond:batch.key_vault", "needs a key vault"),
        (
            {
                "batch": {
                    "allocation_mode": "user-subscription",
                    "key_vault": KEY_VAULT,
                    "authentication_modes": ["entra", "shared-key"],
                }
            },
            "millpond:batch.authentication_modes",
            "takes no shared keys",
        ),
        ({"batch": {"authentication_modes": ["shared-key"]}}, "millpond:batch.authentication_modes", "lacks entra"),
        (
            {"pools": [pool(kind="batch", groups=[group(priority="spot")])]},
            "millpond:pools[0].groups[0].priority",
            "not to be had in a Batch account in batch-service mode",
        ),
        ({"pools": [pool(kind="batch", spot_share=0.5)]}, "millpond:pools[0].spot_share", "batch-service mode"),
        (
            {"pools": [pool(kind="batch", groups=[group(zones=["1"])])]},
            "millpond:pools[0].groups[0].zones",
            "over all zones",
        ),
        (
            {"pools": [pool(kind="batch", computer_name_prefix="risk")]},
            "millpond:pools[0].computer_name_prefix",
            "names its nodes itself",
        ),
        (
            {"pools": [pool(kind="batch", image=GALLERY, os="linux")]},
            "millpond:pools[0].node_agent",
            "which node agent",
        ),
        ({"pools": [pool(image=GALLERY)]}, "millpond:pools[0].image", "write os: linux or os: windows"),
        (
            {"pools": [pool(image="Canonical:ubuntu-24_04-lts:desktop:latest")]},
            "millpond:pools[0].image",
            "has no desktop",
        ),
        ({"pools": [pool(image="ubuntu-24.04", os="windows")]}, "millpond:pools[0].image", "is a linux image"),
        (
            {"pools": [pool(groups=[group(vm_size="Standard_D4ps_v5")])]},
            "millpond:pools[0].groups[0].vm_size",
            "Arm processors",
        ),
        (
            {"pools": [pool(groups=[group(os_disk={"ephemeral": True})])]},
            "millpond:pools[0].groups[0].os_disk.ephemeral",
            "needs 30",
        ),
        (
            {"pools": [pool(groups=[group(os_disk={"size_gb": 20})])]},
            "millpond:pools[0].groups[0].os_disk.size_gb",
            "less than the image's 30 GiB",
        ),
        (
            {"pools": [pool(groups=[group(spot_max_price=0.1)])]},
            "millpond:pools[0].groups[0].spot_max_price",
            "only Spot machines",
        ),
        (
            {"pools": [pool(groups=[group(zones=["4"])])]},
            "millpond:pools[0].groups[0].zones[0]",
            "input should be '1', '2' or '3'",
        ),
        ({"pools": [pool(image="ubuntu-22.04")]}, "millpond:linux_python", "have no Python 3.11"),
        ({"pools": [pool(pinned_python=True)]}, "millpond:linux_python", "ask for a pinned one"),
        (
            {"pools": [pool(groups=[group(), group(name="other")], spot_share=0.5)]},
            "millpond:pools[0].spot_share",
            "one",
        ),
        ({"pools": [pool(kind="vm")]}, "millpond:pools[0].kind", "'scale-set' or 'batch'"),
        ({"pools": [pool(subnet_id="nodes")]}, "millpond:pools[0].subnet_id", "resource id of a subnet"),
        (
            {"pools": [pool(subnet_id=SUBNET)], "network": {"storage_access": "private-endpoint"}},
            "millpond:pools[0].subnet_id",
            "this subnet is in another",
        ),
        ({"network": {"nodes": "10.1.0.0/24"}}, "millpond:network", "is not a subnet of 10.64.0.0/16"),
        ({"network": {"nodes": "10.64.0.0/16"}}, "millpond:network", "overlap"),
        ({"network": {"deployers": ["20.50.1.6/31"]}}, "millpond:network.deployers", "one by one"),
        ({"storage": {"redundancy": "XRS"}}, "millpond:storage.redundancy", "'LRS'"),
        ({"storage": {"soft_delete_days": 366}}, "millpond:storage.soft_delete_days", "less than or equal to 365"),
        ({"tags": {"azure-own": "x"}}, "millpond:tags", "does not begin with microsoft, azure or windows"),
    ],
)
def test_what_azure_refuses_is_refused_before(changes: Mapping[str, object], path: str, words: str) -> None:
    """What the service would refuse, or take and never do, is a finding with its path, and the only one."""
    found = findings(stack(**changes))
    assert list(found) == [path]
    assert words in found[path]


def test_no_pool_may_read_the_queues_of_another() -> None:
    """The right to a pool's queues goes by how their names begin, so no pool's name begins with another's."""
    found = findings(stack(pools=[pool(), pool(name="risk-eu")]))
    assert list(found) == ["millpond:pools[1].name"]
    assert parse(stack(pools=[pool(), pool(name="risky")]))


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="192.168.0.0/16"))
def test_no_deployer_has_a_private_address(address: IPv4Address) -> None:
    """Storage's firewall refuses private addresses, so that a deployer of such a one is a finding."""
    found = findings(stack(network={"deployers": [str(address)]}))
    assert any("is not public" in text for text in found.values())


@given(st.text(alphabet="abcAB09-_ ", max_size=26))
def test_a_batch_account_has_the_name_that_azure_takes(name: str) -> None:
    """Exactly 3 to 24 lower-case letters and digits are taken."""
    right = 3 <= len(name) <= 24 and all(letter in "abc09" for letter in name)
    values = stack(batch={"name": name})
    if right:
        assert parse(values).batch_account is not None
    else:
        assert set(findings(values)) == {"millpond:batch.name"}


def test_one_finding_hides_no_other() -> None:
    """What contradicts itself is found beside what is misspelt in the same pool, and in the account."""
    broken = pool(
        kind="batch", groups=[group(priority="spot"), group(name="other", colour="red")], image="ubuntu-24.05"
    )
    assert set(findings(stack(pools=[broken, broken], batch={"name": "A"}))) == {
        "millpond:batch.name",
        *(
            f"millpond:pools[{index}].{rest}"
            for index in (0, 1)
            for rest in ("image", "groups[0].priority", "groups[1].colour")
        ),
        "millpond:pools[1].name",
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, [("d2sv5", "regular", 10)]),
        (1, [("d2sv5-spot", "spot", 10)]),
        (0.25, [("d2sv5", "regular", 8), ("d2sv5-spot", "spot", 2)]),
    ],
)
def test_a_spot_share_makes_two_groups_of_one(share: float, expected: list[tuple[str, str, int]]) -> None:
    """Without a fall-back, the nodes are split between a regular group and a Spot group of the same machines."""
    (parsed,) = parse(stack(pools=[pool(spot_share=share, scaling={"spot_fallback": False})])).pools
    assert [(made.name, str(made.priority), parsed.group_limit(made)) for made in parsed.node_groups] == expected


@given(st.floats(0, 1), st.integers(1, 1000))
def test_a_spot_share_loses_no_node(share: float, most: int) -> None:
    """Without a fall-back, both groups together have as many nodes as the one that is declared."""
    scaling = {"max_nodes": most, "spot_fallback": False}
    settings = pool(spot_share=share, groups=[group(max_nodes=most)], scaling=scaling)
    (parsed,) = parse(stack(pools=[settings])).pools
    assert sum(parsed.group_limit(made) for made in parsed.node_groups) == parsed.most_nodes == most


@given(st.floats(0, 1, exclude_min=True), st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_either_group_may_stand_in_for_the_other(share: float, most: int, fewest: int, more: int) -> None:
    """With a fall-back both groups may have all nodes, and the pool no more than the group that is declared."""
    scaling = {"max_nodes": max(fewest, most) + more, "min_nodes": fewest}
    settings = pool(spot_share=share, groups=[group(max_nodes=most)], scaling=scaling)
    (parsed,) = parse(stack(pools=[settings])).pools
    assert [parsed.group_limit(made) for made in parsed.node_groups] == [most, most]
    assert (parsed.policy.spot_share, parsed.policy.max_nodes, parsed.most_nodes) == (share, most, most)


FLOOR = {"days": ["mon", "fri"], "from": "08:00", "to": "24:00", "time_zone": "Europe/Zurich", "nodes": 4}


def test_limits_and_objectives_are_read() -> None:
    """What the stack and a pool declare becomes what the scheduler reads, times of day and all."""
    scaling = {"floors": [FLOOR], "budget_per_hour": 3, "max_step_out": 2, "priority": 5}
    parsed = parse(stack(limits={"quota": {"standardDSv5Family": 100}}, pools=[pool(scaling=scaling)]))
    assert parsed.limits == Limits({"standardDSv5Family": 100})
    (policy,) = (each.policy for each in parsed.pools)
    assert policy.floors == (Floor((Weekday.MON, Weekday.FRI), time(8), time(0), "Europe/Zurich", 4),)
    assert (policy.budget_per_hour, policy.max_step_out, policy.priority) == (3, 2, 5)


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"limits": {"quota": {"standardDsv5Family": 1}}}, "limits.quota", "did you mean standardDSv5Family"),
        ({"limits": {"quota": {"cores": -1}}}, "limits.quota.cores", "greater than or equal to 0"),
        ({"limits": {"budget_per_hour": -1}}, "limits.budget_per_hour", "write for example budget_per_hour: 12.5"),
        ({"limits": {"budget": 1}}, "limits.budget", "write one of: quota, budget_per_hour"),
    ],
)
def test_a_finding_in_limits_has_its_path(values: Mapping[str, Any], path: str, words: str) -> None:
    """What is wrong with the stack's limits is told with its path and the remedy."""
    found = findings(stack(**values))
    assert list(found) == [f"millpond:{path}"]
    assert words in str(found[f"millpond:{path}"])


@pytest.mark.parametrize(
    ("scaling", "path", "words"),
    [
        ({"spot_share": 1.5}, ".spot_share", "less than or equal to 1"),
        ({"spot_share": 0.5}, "", "all groups are regular"),
        ({"spot_fallback": False}, "", "write a spot_share, too"),
        ({"budget_per_hour": -1}, ".budget_per_hour", "greater than or equal to 0"),
        ({"max_step_out": 0}, ".max_step_out", "greater than or equal to 1"),
        ({"gang_nodes": 0}, ".gang_nodes", "greater than or equal to 1"),
        ({"gang_nodes": 11}, "", "gang_nodes must be from 1 to 10, not 11"),
        ({"floors": [{**FLOOR, "from": 480}]}, ".floors[0].from", 'write hours and minutes in quotes, such as "08:00"'),
        ({"floors": [{**FLOOR, "to": "24:01"}]}, ".floors[0].to", "is not a time of day"),
        ({"floors": [{**FLOOR, "time_zone": "Zurich"}]}, ".floors[0].time_zone", "such as Europe/Zurich"),
        ({"floors": [{**FLOOR, "days": []}]}, ".floors[0].days", "names a day twice"),
        ({"floors": [{**FLOOR, "days": ["monday"]}]}, ".floors[0].days[0]", "'mon', 'tue'"),
        ({"floors": [{**FLOOR, "begins": "08:00"}]}, ".floors[0].begins", "there is no such setting"),
        ({"floors": [{**FLOOR, "nodes": 11}]}, ".floors", "asks for 11 nodes, and max_nodes is 10"),
    ],
)
def test_a_finding_in_objectives_has_its_path(scaling: Mapping[str, Any], path: str, words: str) -> None:
    """What is wrong with a pool's objectives is told with its path and the remedy."""
    found = findings(stack(pools=[pool(scaling=scaling)]))
    assert list(found) == [f"millpond:pools[0].scaling{path}"]
    assert words in str(found[f"millpond:pools[0].scaling{path}"])


@pytest.mark.parametrize(
    ("image", "system", "python"),
    [
        ("MicrosoftWindowsServer:WindowsServer:2022-Datacenter-Core:latest", None, False),
        ("Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:22.04.202501010", None, False),
        ("almalinux:almalinux-x86_64:9-gen2:latest", "linux", True),
        (GALLERY, "linux", True),
        (GALLERY, "windows", False),
    ],
)
def test_an_image_may_be_named_in_full(image: str, system: str | None, python: bool) -> None:
    """A marketplace reference or a resource id is taken; what runs on it is said where it is not known."""
    found = find_image(image, OperatingSystem(system) if system else None)
    assert found.brings_python is python
    assert (found.resource_id or f"{found.publisher}:{found.offer}:{found.sku}:{found.version}") == image


@given(st.dates(date(2026, 1, 1), date(2036, 1, 1)))
def test_an_image_is_warned_of_half_a_year_before_its_end(today: date) -> None:
    """Whoever deploys is told in time, and from then on at each deployment."""
    for image in IMAGES.values():
        assert image.end_of_life is not None
        assert (image.warning(today) is not None) == (today >= image.end_of_life - timedelta(days=180))


def test_a_batch_account_is_declared_where_it_is_wanted() -> None:
    """A subscription may have very few, so that a stack of scale sets has none."""
    assert parse(stack()).batch_account is None
    assert parse(stack(batch={})).batch_account is not None
    assert parse(stack(pools=[pool(kind="batch")])).batch_account is not None


def test_prod_is_closed() -> None:
    """Production keeps its data, reaches storage privately, and names who else may."""
    prod = parse(settings_of("prod"))
    assert prod.protect
    assert prod.network.storage_access is StorageAccess.PRIVATE_ENDPOINT
    assert prod.network.deployers != "any"
    assert prod.storage.soft_delete_days > 0


def test_the_engine_gives_the_same_settings_as_the_file() -> None:
    """Structures come from the engine as JSON text and scalars as they are; other projects' keys are not ours."""
    values = settings_of("local")
    raw = {f"millpond:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    assert parse(from_engine({**raw, "azure-native:location": "x"})) == parse(values)


def test_images_are_listed_under_their_own_alias() -> None:
    """The catalogue's key is the image's alias, and each has a last day."""
    assert all(
        alias == image.alias and image.end_of_life and image.end_of_life.year >= 2027 for alias, image in IMAGES.items()
    )
