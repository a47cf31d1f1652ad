"""The networks of the local Azure, through the official client."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.privatedns import PrivateDnsManagementClient
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm.errors import ArmError
from infra.local.services.network import prefixes
from tests.infra.local.conftest import GROUP, RunningAzure

PLACE = {"location": "westeurope"}


@pytest.fixture
def network(running: RunningAzure) -> Iterator[Any]:
    """Return the network client."""
    with running.client(NetworkManagementClient) as client:
        yield client


def refused(call: Any) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    with pytest.raises(HttpResponseError) as raised:
        call()
    assert raised.value.error is not None
    return raised.value.status_code or 0, str(raised.value.error.code)


def make_network(network: Any, *subnets: dict[str, Any], name: str = "net") -> Any:
    """Make a network of 10.0.0.0/16."""
    declared = [{"name": subnet.pop("name"), "properties": subnet} for subnet in subnets]
    body = PLACE | {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": declared}}
    return network.virtual_networks.begin_create_or_update(GROUP, name, body).result()


def rule(name: str, priority: int, direction: str = "Inbound") -> dict[str, Any]:
    """Return a rule that denies everything."""
    properties = {
        "priority": priority,
        "direction": direction,
        "access": "Deny",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    return {"name": name, "properties": properties}


def test_subnets_are_resources_and_part_of_their_network(network: Any) -> None:
    """A subnet of the body can be read alone, one made alone shows in the network, and a PUT without it removes it."""
    make_network(network, {"name": "a", "addressPrefix": "10.0.0.0/24"})
    assert network.subnets.get(GROUP, "net", "a").address_prefix == "10.0.0.0/24"
    network.subnets.begin_create_or_update(GROUP, "net", "b", {"properties": {"addressPrefix": "10.0.1.0/24"}}).result()
    assert [subnet.name for subnet in network.virtual_networks.get(GROUP, "net").subnets] == ["a", "b"]
    make_network(network, {"name": "b", "addressPrefix": "10.0.1.0/24"})
    assert [subnet.name for subnet in network.subnets.list(GROUP, "net")] == ["b"]
    network.virtual_networks.update_tags(GROUP, "net", {"tags": {"k": "v"}})
    assert network.virtual_networks.get(GROUP, "net").subnets[0].name == "b"


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("10.1.0.0/24", "NetcfgInvalidSubnet"),
        ("10.0.0.128/25", "NetcfgSubnetRangesOverlap"),
        ("10.0.9.5/24", "InvalidCIDRNotation"),
        ("ten", "InvalidAddressPrefixFormat"),
    ],
)
def test_a_subnet_that_does_not_fit_is_refused(network: Any, prefix: str, code: str) -> None:
    """A range outside, over another one or not in CIDR notation is refused with the service's code."""
    make_network(network, {"name": "a", "addressPrefix": "10.0.0.0/24"})
    body = {"properties": {"addressPrefix": prefix}}
    assert refused(lambda: network.subnets.begin_create_or_update(GROUP, "net", "b", body)) == (400, code)


def test_security_groups_have_rules_of_their_own_and_default_ones(network: Any) -> None:
    """Rules keep the order of the body, every group has the six default rules, and clashing rules are refused."""
    groups, rules = network.network_security_groups, network.security_rules
    body = PLACE | {"properties": {"securityRules": [rule("z", 300), rule("a", 200)]}}
    made = groups.begin_create_or_update(GROUP, "nsg", body).result()
    assert [found.name for found in made.security_rules] == ["z", "a"]
    assert len(made.default_security_rules) == 6
    assert len(list(network.default_security_rules.list(GROUP, "nsg"))) == 6
    rules.begin_create_or_update(GROUP, "nsg", "out", rule("out", 200, "Outbound")).result()
    assert [found.name for found in groups.get(GROUP, "nsg").security_rules] == ["z", "a", "out"]
    clash = rule("again", 200)
    assert refused(lambda: rules.begin_create_or_update(GROUP, "nsg", "again", clash)) == (400, "SecurityRuleConflict")
    low = rule("low", 99)
    assert refused(lambda: rules.begin_create_or_update(GROUP, "nsg", "low", low))[0] == 400


def test_what_is_in_use_cannot_be_deleted(network: Any, running: RunningAzure) -> None:
    """Subnet, group, public address, gateway and interface are refused to go while something names them."""
    prefix = f"{running.group}/providers/Microsoft.Network"
    network.network_security_groups.begin_create_or_update(GROUP, "nsg", PLACE).result()
    address = network.public_ip_addresses.begin_create_or_update(GROUP, "ip", PLACE).result()
    assert ipaddress.ip_address(address.ip_address)
    gateway = PLACE | {"sku": {"name": "Standard"}, "properties": {"publicIpAddresses": [{"id": address.id}]}}
    network.nat_gateways.begin_create_or_update(GROUP, "nat", gateway).result()
    subnet = {
        "name": "a",
        "addressPrefix": "10.0.0.0/24",
        "networkSecurityGroup": {"id": f"{prefix}/networkSecurityGroups/nsg"},
        "natGateway": {"id": f"{prefix}/natGateways/nat"},
    }
    made = make_network(network, subnet)
    configuration = {"name": "one", "properties": {"subnet": {"id": made.subnets[0].id}}}
    interface = PLACE | {"properties": {"ipConfigurations": [configuration]}}
    nic = network.network_interfaces.begin_create_or_update(GROUP, "nic", interface).result()
    assert nic.ip_configurations[0].private_ip_address == "10.0.0.4"
    shown = network.subnets.get(GROUP, "net", "a")
    assert [user.id for user in shown.ip_configurations] == [nic.ip_configurations[0].id]
    assert network.public_ip_addresses.get(GROUP, "ip").nat_gateway.id == f"{prefix}/natGateways/nat"
    refusals = {
        "InUseSubnetCannotBeDeleted": lambda: network.subnets.begin_delete(GROUP, "net", "a"),
        "InUseNetworkSecurityGroupCannotBeDeleted": lambda: network.network_security_groups.begin_delete(GROUP, "nsg"),
        "PublicIPAddressCannotBeDeleted": lambda: network.public_ip_addresses.begin_delete(GROUP, "ip"),
        "InUseNatGatewayCannotBeDeleted": lambda: network.nat_gateways.begin_delete(GROUP, "nat"),
    }
    for code, call in refusals.items():
        assert refused(call) == (400, code)
    network.network_interfaces.begin_delete(GROUP, "nic").result()
    network.virtual_networks.begin_delete(GROUP, "net").result()
    for operations, name in (
        (network.nat_gateways, "nat"),
        (network.public_ip_addresses, "ip"),
        (network.network_security_groups, "nsg"),
    ):
        operations.begin_delete(GROUP, name).result()


def test_an_interface_needs_its_subnet(network: Any, running: RunningAzure) -> None:
    """A reference to nothing is refused, and so is an address that the subnet cannot give."""
    missing = f"{running.group}/providers/Microsoft.Network/virtualNetworks/none/subnets/none"

    def write(name: str, **properties: Any) -> Any:
        body = PLACE | {"properties": {"ipConfigurations": [{"name": "one", "properties": properties}]}}
        return network.network_interfaces.begin_create_or_update(GROUP, name, body).result()

    assert refused(lambda: write("nic", subnet={"id": missing})) == (400, "InvalidResourceReference")
    subnet = {"id": make_network(network, {"name": "a", "addressPrefix": "10.0.0.0/29"}).subnets[0].id}
    static = {"subnet": subnet, "privateIPAllocationMethod": "Static"}
    write("one", **static, privateIPAddress="10.0.0.5")
    codes = {
        "10.0.0.2": "PrivateIPAddressInReservedRange",
        "10.0.0.5": "PrivateIPAddressIsAllocated",
        "10.0.1.5": "PrivateIPAddressNotInSubnet",
    }
    for address, code in codes.items():
        assert refused(lambda address=address: write("two", **static, privateIPAddress=address)) == (400, code)
    assert write("two", subnet=subnet).ip_configurations[0].private_ip_address == "10.0.0.4"
    assert write("two", subnet=subnet).ip_configurations[0].private_ip_address == "10.0.0.4"
    write("three", subnet=subnet)
    assert refused(lambda: write("four", subnet=subnet)) == (400, "SubnetIsFull")


def test_a_load_balancer_gives_its_parts_ids(network: Any, running: RunningAzure) -> None:
    """The parts of a load balancer are resources, rules name only parts that are there, and parts show rules."""
    base = f"{running.group}/providers/Microsoft.Network/loadBalancers/lb"
    address = network.public_ip_addresses.begin_create_or_update(GROUP, "ip", PLACE).result()
    properties: dict[str, Any] = {
        "frontendIPConfigurations": [{"name": "front", "properties": {"publicIPAddress": {"id": address.id}}}],
        "backendAddressPools": [{"name": "back"}],
        "loadBalancingRules": [
            {
                "name": "web",
                "properties": {
                    "protocol": "Tcp",
                    "frontendPort": 80,
                    "backendPort": 80,
                    "frontendIPConfiguration": {"id": f"{base}/frontendIPConfigurations/front"},
                    "backendAddressPool": {"id": f"{base}/backendAddressPools/back"},
                },
            }
        ],
    }
    body = PLACE | {"sku": {"name": "Standard"}, "properties": properties}
    made = network.load_balancers.begin_create_or_update(GROUP, "lb", body).result()
    assert made.backend_address_pools[0].load_balancing_rules[0].id == f"{base}/loadBalancingRules/web"
    assert network.load_balancer_probes.list(GROUP, "lb") is not None
    properties["loadBalancingRules"][0]["properties"]["backendAddressPool"]["id"] = f"{base}/backendAddressPools/none"
    assert refused(lambda: network.load_balancers.begin_create_or_update(GROUP, "lb", body)) == (
        400,
        "InvalidResourceReference",
    )
    assert refused(lambda: network.public_ip_addresses.begin_delete(GROUP, "ip"))[1] == "PublicIPAddressCannotBeDeleted"


def test_a_private_endpoint_leads_names_to_its_address(network: Any, running: RunningAzure) -> None:
    """An endpoint of a Batch account is approved, has an interface, and its zone group writes the record."""
    with running.client(PrivateDnsManagementClient) as dns:
        account = f"{running.group}/providers/Microsoft.Batch/batchAccounts/acct"
        running.resources.resources.begin_create_or_update_by_id(account, PLACE, api_version="2024-07-01").result()
        subnet = make_network(network, {"name": "a", "addressPrefix": "10.0.0.0/24"}).subnets[0].id
        connection = {
            "name": "link",
            "properties": {"privateLinkServiceId": account, "groupIds": ["nodeManagement"]},
        }
        body = PLACE | {"properties": {"subnet": {"id": subnet}, "privateLinkServiceConnections": [connection]}}
        made = network.private_endpoints.begin_create_or_update(GROUP, "pe", body).result()
        state = made.private_link_service_connections[0].private_link_service_connection_state
        assert state.status == "Approved"
        assert made.custom_dns_configs[0].ip_addresses == ["10.0.0.4"]
        interface = made.network_interfaces[0].id.rsplit("/", 1)[1]
        assert network.network_interfaces.get(GROUP, interface).private_endpoint.id == made.id
        assert refused(lambda: network.network_interfaces.begin_delete(GROUP, interface)) == (400, "NicInUse")
        zone = dns.private_zones.begin_create_or_update(
            GROUP, "privatelink.batch.azure.com", {"location": "global"}
        ).result()
        link = {
            "location": "global",
            "properties": {"virtualNetwork": {"id": subnet.rsplit("/", 2)[0]}, "registrationEnabled": False},
        }
        dns.virtual_network_links.begin_create_or_update(GROUP, zone.name, "link", link).result()
        config = {"name": "batch", "properties": {"privateDnsZoneId": zone.id}}
        group = {"properties": {"privateDnsZoneConfigs": [config]}}
        network.private_dns_zone_groups.begin_create_or_update(GROUP, "pe", "default", group).result()
        record = dns.record_sets.get(GROUP, zone.name, "A", "acct.westeurope.service")
        assert record.a_records[0].ipv4_address == "10.0.0.4"
        assert refused(lambda: dns.private_zones.begin_delete(GROUP, zone.name)) == (409, "CannotDeleteResource")
        network.private_endpoints.begin_delete(GROUP, "pe").result()
        assert not list(dns.record_sets.list_by_type(GROUP, zone.name, "A"))
        assert not list(network.network_interfaces.list(GROUP))


@given(st.integers(0, 2**32 - 1), st.integers(8, 29), st.data())
def test_addresses_of_a_subnet_are_handed_out_once(start: int, length: int, data: st.DataObject) -> None:
    """The next address is free, inside, and never one of those that the service keeps."""
    block = ipaddress.ip_network((start, length), strict=False)
    usable = block.num_addresses - 5
    count = data.draw(st.integers(0, min(usable, 20)))
    taken: set[str] = set()
    for _ in range(count):
        address = prefixes.next_address("subnet", [str(block)], taken)
        prefixes.check_address(address, "subnet", [str(block)], taken, "interface")
        taken.add(address)
    assert len(taken) == count
    if count == usable:
        with pytest.raises(ArmError):
            prefixes.next_address("subnet", [str(block)], taken)
