"""The scheduler's host: a small Linux machine that nothing outside reaches, and the disk of its store, if any."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_azure_native import compute, network

from infra.catalog import IMAGES
from infra.components.credentials import throw_away_public_key
from infra.components.placement import Placement, retained, within
from infra.components.scheduler_access import SchedulerAccess
from infra.components.stage_0 import extension_settings
from infra.components.storage import Storage
from infra.config.scheduler_host import SchedulerHostConfig
from infra.publish import settings_url
from node_bootstrap.render import HostProfile, OperatingSystem, render_host_stage_0

HOST_NAME = "vm-scheduler"
INTERFACE_NAME = "nic-scheduler"
DISK_NAME = "disk-scheduler"
ADMINISTRATOR = "millpond-admin"

# Azure refuses these on a machine that is there; a new one takes its place. Its size it changes by a restart.
REPLACED_ON = [
    "osProfile.adminUsername",
    "osProfile.computerName",
    "securityProfile",
    "storageProfile.imageReference",
    "storageProfile.osDisk",
]
# The key that Azure was shown at the machine's creation opens nothing: who may log in is the bootstrap's matter.
IGNORED = ["osProfile.linuxConfiguration.ssh"]


@dataclass(frozen=True)
class SchedulerHostArgs:
    """What is declared of the host, what it works with, and the hash of the bundle that it runs.

    `store_url`: a database that has the store; without it the store is on a disk. `protect`: the engine refuses to
    delete the disk.
    """

    placement: Placement
    environment: str
    host: SchedulerHostConfig
    subnet_id: pulumi.Input[str]
    storage: Storage
    access: SchedulerAccess
    bundle_sha256: pulumi.Input[str]
    store_url: pulumi.Input[str] | None = None
    protect: bool = False


class SchedulerHost(pulumi.ComponentResource):
    """The machine, its network interface, its data disk, and the extension that installs the scheduler.

    Another bundle or other settings run the extension again, on the machine that is there. Another image makes a new
    machine, the old one going first, since the disk is attached to one machine at a time. The disk is retained: it
    holds the store, unless a database does; then there is no disk.
    """

    def __init__(self, name: str, args: SchedulerHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:scheduler:SchedulerHost", name, {}, opts)
        interface = self._interface(name, args)
        disk = self._disk(name, args) if args.store_url is None else None
        machine = self._machine(name, args, interface, disk)
        self._extension(name, args, machine)
        self.outputs = {
            "machine": machine.name,
            "private_address": interface.ip_configurations.apply(_first_address),
            "administrator": ADMINISTRATOR,
            "port": args.host.port,
            "identity_client_id": args.access.client_id,
            "store": args.store_url or "sqlite on the data disk",
        }
        self.register_outputs(self.outputs)

    def _tags(self, args: SchedulerHostArgs) -> dict[str, str]:
        return {**args.placement.tags, **args.host.tags}

    def _interface(self, name: str, args: SchedulerHostArgs) -> network.NetworkInterface:
        """Declare the interface: a private address, and no other."""
        place = args.placement
        return network.NetworkInterface(
            f"{name}-nic",
            network_interface_name=INTERFACE_NAME,
            resource_group_name=place.group_name,
            location=place.location,
            ip_configurations=[
                {
                    "name": "address",
                    "primary": True,
                    "private_ip_allocation_method": network.IPAllocationMethod.DYNAMIC,
                    "subnet": {"id": args.subnet_id},
                }
            ],
            tags=self._tags(args),
            opts=within(self, place),
        )

    def _disk(self, name: str, args: SchedulerHostArgs) -> compute.Disk:
        """Declare the data disk, which stays when the machine goes."""
        place, host = args.placement, args.host
        return compute.Disk(
            f"{name}-disk",
            disk_name=DISK_NAME,
            resource_group_name=place.group_name,
            location=place.location,
            creation_data={"create_option": compute.DiskCreateOption.EMPTY},
            disk_size_gb=host.data_disk.size_gib,
            sku={"name": host.data_disk.type},
            # Nobody exports it by an address.
            network_access_policy=compute.NetworkAccessPolicy.DENY_ALL,
            public_network_access=compute.PublicNetworkAccess.DISABLED,
            tags=self._tags(args),
            opts=pulumi.ResourceOptions.merge(retained(self, place), pulumi.ResourceOptions(protect=args.protect)),
        )

    def _machine(
        self, name: str, args: SchedulerHostArgs, interface: network.NetworkInterface, disk: compute.Disk | None
    ) -> compute.VirtualMachine:
        """Declare the machine, with interface and disk attached."""
        place, host = args.placement, args.host
        return compute.VirtualMachine(
            name,
            vm_name=HOST_NAME,
            resource_group_name=place.group_name,
            location=place.location,
            identity={
                "type": compute.ResourceIdentityType.USER_ASSIGNED,
                "user_assigned_identities": [args.access.identity_id],
            },
            hardware_profile={"vm_size": host.vm_size},
            storage_profile=_storage(host, disk),
            os_profile=_operating_system(),
            network_profile={"network_interfaces": [{"id": interface.id, "primary": True}]},
            # No storage account is named: Azure keeps the serial console's log itself.
            diagnostics_profile={"boot_diagnostics": {"enabled": True}},
            security_profile=_security(host),
            tags=self._tags(args),
            opts=pulumi.ResourceOptions.merge(
                within(self, place),
                pulumi.ResourceOptions(
                    ignore_changes=IGNORED, replace_on_changes=REPLACED_ON, delete_before_replace=True
                ),
            ),
        )

    def _extension(self, name: str, args: SchedulerHostArgs, machine: compute.VirtualMachine) -> None:
        """Declare what installs the scheduler, again at each change."""
        place = args.placement
        compute.VirtualMachineExtension(
            f"{name}-bootstrap",
            vm_extension_name="bootstrap",
            vm_name=machine.name,
            resource_group_name=place.group_name,
            location=place.location,
            publisher="Microsoft.Azure.Extensions",
            type="CustomScript",
            type_handler_version="2.1",
            auto_upgrade_minor_version=True,
            settings=self._bootstrap(args),
            tags=self._tags(args),
            opts=pulumi.ResourceOptions(parent=self, deleted_with=machine),
        )

    def _bootstrap(self, args: SchedulerHostArgs) -> pulumi.Output[dict[str, str]]:
        known = pulumi.Output.all(
            args.storage.blob_endpoint,
            args.storage.queue_endpoint,
            args.access.client_id,
            args.bundle_sha256,
            args.store_url,
        )

        def render(parts: list[Any]) -> dict[str, str]:
            blobs, queues, client_id, bundle, store_url = parts
            profile = HostProfile(
                stack=args.environment,
                blob_endpoint=blobs,
                queue_endpoint=queues,
                settings_url=settings_url(blobs),
                identity_client_id=client_id,
                bundle_sha256=bundle,
                interval_seconds=args.host.interval.total_seconds(),
                port=args.host.port,
                administrator=ADMINISTRATOR,
                ssh_public_key=args.host.ssh_public_key,
                store_url=store_url,
            )
            return extension_settings(OperatingSystem.LINUX, render_host_stage_0(profile))

        return known.apply(render)


def _storage(host: SchedulerHostConfig, disk: compute.Disk | None) -> Any:
    image = host.machine_image
    marketplace = {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": image.version}
    return {
        "image_reference": {"id": image.resource_id} if image.resource_id is not None else marketplace,
        "os_disk": {
            "create_option": compute.DiskCreateOptionTypes.FROM_IMAGE,
            "delete_option": compute.DiskDeleteOptionTypes.DELETE,
            "caching": compute.CachingTypes.READ_WRITE,
            "managed_disk": {"storage_account_type": compute.StorageAccountTypes.STANDARD_SS_D_LRS},
        },
        "data_disks": [
            {
                "lun": 0,
                "create_option": compute.DiskCreateOptionTypes.ATTACH,
                "delete_option": compute.DiskDeleteOptionTypes.DETACH,
                # The store is written through to the disk, or it is not written.
                "caching": compute.CachingTypes.NONE,
                "managed_disk": {"id": disk.id},
            }
            for disk in ([disk] if disk is not None else [])
        ],
    }


def _operating_system() -> Any:
    path = f"/home/{ADMINISTRATOR}/.ssh/authorized_keys"
    return {
        "computer_name": HOST_NAME,
        "admin_username": ADMINISTRATOR,
        "linux_configuration": {
            "disable_password_authentication": True,
            "provision_vm_agent": True,
            "ssh": {"public_keys": [{"key_data": throw_away_public_key(), "path": path}]},
        },
    }


def _security(host: SchedulerHostConfig) -> Any:
    """Trusted launch, for images that are known to have firmware of the second generation, which it needs."""
    image = host.machine_image
    if not any(image.generation == "V2" and (image.offer, image.sku) == (i.offer, i.sku) for i in IMAGES.values()):
        return None
    return {
        "security_type": compute.SecurityTypes.TRUSTED_LAUNCH,
        "uefi_settings": {"secure_boot_enabled": True, "v_tpm_enabled": True},
    }


def _first_address(configurations: Any) -> str | None:
    return next((found.private_ip_address for found in configurations or []), None)
