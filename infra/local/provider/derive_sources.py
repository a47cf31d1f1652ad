"""Where `infra.local.provider.derive` finds each resource type described, and the few things that no package says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """Where a resource type is described."""

    models: str  # of azure.mgmt, with the model class of its request body
    operations: str  # of azure.mgmt
    operation: str  # the function there that builds its PUT
    name: str  # the path parameter that is made up when the program gives no name
    naming: str = ""  # how: random (logical name and 8 digits), copy (logical name), uuid, or a fixed name after "="


SOURCES = {
    "azure-native:resources:ResourceGroup": Source(
        "resource.resources.models.ResourceGroup",
        "resource.resources.operations._operations",
        "build_resource_groups_create_or_update_request",
        "resourceGroupName",
    ),
    "azure-native:storage:StorageAccount": Source(
        "storage.models.StorageAccountCreateParameters",
        "storage.operations._operations",
        "build_storage_accounts_create_request",
        "accountName",
    ),
    "azure-native:storage:BlobContainer": Source(
        "storage.models.BlobContainer",
        "storage.operations._operations",
        "build_blob_containers_create_request",
        "containerName",
    ),
    "azure-native:storage:Queue": Source(
        "storage.models.StorageQueue",
        "storage.operations._operations",
        "build_queue_create_request",
        "queueName",
    ),
    "azure-native:storage:ManagementPolicy": Source(
        "storage.models.ManagementPolicy",
        "storage.operations._operations",
        "build_management_policies_create_or_update_request",
        "managementPolicyName",
        "=default",  # the service knows no other name
    ),
    "azure-native:batch:BatchAccount": Source(
        "batch.models.BatchAccountCreateParameters",
        "batch.operations._operations",
        "build_batch_account_create_request",
        "accountName",
    ),
    "azure-native:network:VirtualNetwork": Source(
        "network.models.VirtualNetwork",
        "network.operations._operations",
        "build_virtual_networks_create_or_update_request",
        "virtualNetworkName",
    ),
    "azure-native:network:Subnet": Source(
        "network.models.Subnet",
        "network.operations._operations",
        "build_subnets_create_or_update_request",
        "subnetName",
    ),
    "azure-native:network:NetworkSecurityGroup": Source(
        "network.models.NetworkSecurityGroup",
        "network.operations._operations",
        "build_network_security_groups_create_or_update_request",
        "networkSecurityGroupName",
    ),
    "azure-native:managedidentity:UserAssignedIdentity": Source(
        "msi.v2024_11_30.models.Identity",
        "msi.v2024_11_30.operations._user_assigned_identities_operations",
        "build_create_or_update_request",
        "resourceName",
    ),
    "azure-native:authorization:RoleAssignment": Source(
        "authorization.v2022_04_01.models.RoleAssignmentCreateParameters",
        "authorization.v2022_04_01.operations._role_assignments_operations",
        "build_create_request",
        "roleAssignmentName",
        "uuid",
    ),
    "azure-native:compute:VirtualMachineScaleSet": Source(
        "compute.models.VirtualMachineScaleSet",
        "compute.operations._operations",
        "build_virtual_machine_scale_sets_create_or_update_request",
        "vmScaleSetName",
    ),
    "azure-native:storage:BlobServiceProperties": Source(
        "storage.models.BlobServiceProperties",
        "storage.operations._operations",
        "build_blob_services_set_service_properties_request",
        "blobServicesName",
        "=default",
    ),
    "azure-native:batch:Pool": Source(
        "batch.models.Pool",
        "batch.operations._operations",
        "build_pool_create_request",
        "poolName",
    ),
    "azure-native:batch:Application": Source(
        "batch.models.Application",
        "batch.operations._operations",
        "build_application_create_request",
        "applicationName",
    ),
    "azure-native:network:PublicIPAddress": Source(
        "network.models.PublicIPAddress",
        "network.operations._operations",
        "build_public_ip_addresses_create_or_update_request",
        "publicIpAddressName",
    ),
    "azure-native:network:NatGateway": Source(
        "network.models.NatGateway",
        "network.operations._operations",
        "build_nat_gateways_create_or_update_request",
        "natGatewayName",
    ),
    "azure-native:network:NetworkInterface": Source(
        "network.models.NetworkInterface",
        "network.operations._operations",
        "build_network_interfaces_create_or_update_request",
        "networkInterfaceName",
    ),
    "azure-native:network:PrivateEndpoint": Source(
        "network.models.PrivateEndpoint",
        "network.operations._operations",
        "build_private_endpoints_create_or_update_request",
        "privateEndpointName",
    ),
    "azure-native:network:PrivateDnsZoneGroup": Source(
        "network.models.PrivateDnsZoneGroup",
        "network.operations._operations",
        "build_private_dns_zone_groups_create_or_update_request",
        "privateDnsZoneGroupName",
    ),
    "azure-native:privatedns:PrivateZone": Source(
        "privatedns.models.PrivateZone",
        "privatedns.operations._operations",
        "build_private_zones_create_or_update_request",
        "privateZoneName",
    ),
    "azure-native:privatedns:VirtualNetworkLink": Source(
        "privatedns.models.VirtualNetworkLink",
        "privatedns.operations._operations",
        "build_virtual_network_links_create_or_update_request",
        "virtualNetworkLinkName",
    ),
    "azure-native:authorization:RoleDefinition": Source(
        "authorization.v2022_04_01.models.RoleDefinition",
        "authorization.v2022_04_01.operations._role_definitions_operations",
        "build_create_or_update_request",
        "roleDefinitionId",
        "uuid",
    ),
    "azure-native:compute:VirtualMachine": Source(
        "compute.models.VirtualMachine",
        "compute.operations._operations",
        "build_virtual_machines_create_or_update_request",
        "vmName",
    ),
    "azure-native:compute:VirtualMachineExtension": Source(
        "compute.models.VirtualMachineExtension",
        "compute.operations._operations",
        "build_virtual_machine_extensions_create_or_update_request",
        "vmExtensionName",
    ),
    "azure-native:compute:Disk": Source(
        "compute.models.Disk",
        "compute.operations._operations",
        "build_disks_create_or_update_request",
        "diskName",
    ),
    "azure-native:dbforpostgresql:Server": Source(
        "postgresqlflexibleservers.models.Server",
        "postgresqlflexibleservers.operations._operations",
        "build_servers_create_or_update_request",
        "serverName",
    ),
    "azure-native:dbforpostgresql:Database": Source(
        "postgresqlflexibleservers.models.Database",
        "postgresqlflexibleservers.operations._operations",
        "build_databases_create_request",
        "databaseName",
    ),
    "azure-native:dbforpostgresql:AdministratorsMicrosoftEntra": Source(
        "postgresqlflexibleservers.models.AdministratorMicrosoftEntraAdd",
        "postgresqlflexibleservers.operations._operations",
        "build_administrators_microsoft_entra_create_or_update_request",
        "objectId",
    ),
}

# Inputs (ARM model, wire name) that the rules cannot place; they are sent where they stand.
UNPLACED = {
    ("IpamPoolPrefixAllocation", "id"),  # ARM wants pool.id; no other input is moved two levels
    ("Delegation", "actions"),  # read-only in every API version; the wheel offers it all the same
    ("NetworkSecurityGroup", "defaultSecurityRules"),
    ("DataDisk", "storageAccountType"),  # of Batch; ARM has moved it into managedDisk
}

# Inputs (ARM model, wire name) that the SDK's API version has given up and the provider's still has: plain ones among
# the properties. Source: Batch management API 2024-07-01 against 2025-06-01.
RETIRED = {
    ("Pool", "applicationLicenses"),
    ("Pool", "certificates"),
    ("Pool", "resourceTags"),
    ("Pool", "targetNodeCommunicationMode"),
}

# Part of their parent: there is always one, it is never created nor deleted, only set.
SINGLETONS = {"azure-native:storage:BlobServiceProperties"}

# Properties that other resources fill: where the program leaves them out, an update sends what is there, and a refresh
# takes no notice of them. Subnets and rules can be resources of their own; an address learns of its gateway, an
# endpoint of its zones.
KEPT = {
    "azure-native:network:VirtualNetwork": ("subnets", "virtualNetworkPeerings"),
    "azure-native:network:NetworkSecurityGroup": ("securityRules",),
    "azure-native:network:PublicIPAddress": ("natGateway",),
    "azure-native:network:PrivateEndpoint": ("customDnsConfigs",),
}

# What the SDKs do not say: a change of these makes a new resource. Source: the hand list of the real provider
# (pulumi-azure-native, replacement rules besides x-ms-mutability); a scope is part of the path anyway.
REPLACED_BY_HAND = {
    "azure-native:authorization:RoleAssignment": ("principalId",),
    "azure-native:network:PrivateEndpoint": ("subnet",),
    "azure-native:network:PublicIPAddress": ("publicIPAddressVersion", "publicIPPrefix", "sku"),
    "azure-native:storage:StorageAccount": ("isHnsEnabled",),
}
