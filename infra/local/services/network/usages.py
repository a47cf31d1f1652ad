"""How much of each of the network's limits is used in a region."""

from infra.local.arm.resource_types import Query
from infra.local.arm.store import Store
from infra.local.arm.subscription import Json, Names, SubscriptionRoute

# Name, text, type counted, limit (docs: "Azure subscription and service limits", networking, defaults).
_LIMITS = (
    ("VirtualNetworks", "Virtual Networks", "virtualNetworks", 1000),
    ("NetworkSecurityGroups", "Network Security Groups", "networkSecurityGroups", 5000),
    ("PublicIPAddresses", "Public IP Addresses", "publicIPAddresses", 1000),
    ("StandardSkuPublicIpAddresses", "Public IPv4 Addresses - Standard", "publicIPAddresses", 1000),
    ("PublicIPPrefixes", "Public Ip Prefixes", "publicIPPrefixes", 1000),
    ("NatGateways", "Nat Gateways", "natGateways", 800),
    ("NetworkInterfaces", "Network Interfaces", "networkInterfaces", 65536),
    ("PrivateEndpoints", "Private Endpoints", "privateEndpoints", 65536),
    ("LoadBalancers", "Load Balancers", "loadBalancers", 1000),
    ("RouteTables", "Route Tables", "routeTables", 200),
    ("ApplicationSecurityGroups", "Application Security Groups", "applicationSecurityGroups", 3000),
)


def network_usages(store: Store) -> tuple[SubscriptionRoute, ...]:
    """Return the question for usages."""

    def answer(names: Names, _query: Query, _body: Json) -> Json:
        place = names["location"].lower()
        base = f"/subscriptions/{names['subscription']}/providers/Microsoft.Network/locations/{place}/usages"
        usages = [
            {
                "id": f"{base}/{name}",
                "name": {"value": name, "localizedValue": text},
                "unit": "Count",
                "currentValue": sum(
                    found.body.get("location") == place for found in store.find(f"Microsoft.Network/{kind}")
                ),
                "limit": limit,
            }
            for name, text, kind, limit in _LIMITS
        ]
        return {"value": usages}

    pattern = "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/usages"
    return (SubscriptionRoute("GET", pattern, answer),)
