"""The scheduler's store on a PostgreSQL flexible server: Entra sign-in alone, and an address in the own network."""

from dataclasses import dataclass
from types import MappingProxyType

import pulumi
from pulumi_azure_native import dbforpostgresql

from infra import naming
from infra.components.placement import Placement, retained
from infra.components.private_endpoints import PrivateEndpoints, PrivateEndpointsArgs, Target
from infra.components.scheduler_access import SchedulerAccess
from infra.config.scheduler_database import DatabaseConfig, HighAvailability

# Zone and part of a flexible server's private endpoint (docs: private endpoint DNS values).
DATABASE_ZONE = "privatelink.postgres.database.azure.com"
_PART = "postgresqlServer"
DATABASE_NAME = "millpond"
# Azure takes these when a server is made, and another server would not have the store. A fail-over swaps the zones.
IGNORED = ["availabilityZone", "backup.geoRedundantBackup", "highAvailability.standbyAvailabilityZone"]

_MODES = MappingProxyType(
    {
        HighAvailability.NONE: dbforpostgresql.PostgreSqlFlexibleServerHighAvailabilityMode.DISABLED,
        HighAvailability.SAME_ZONE: dbforpostgresql.PostgreSqlFlexibleServerHighAvailabilityMode.SAME_ZONE,
        HighAvailability.ZONE_REDUNDANT: dbforpostgresql.PostgreSqlFlexibleServerHighAvailabilityMode.ZONE_REDUNDANT,
    }
)


@dataclass(frozen=True)
class SchedulerDatabaseArgs:
    """What is declared of the server, who signs in to it, and the network that it has an address in.

    `protect`: the engine refuses to delete server and database.
    """

    placement: Placement
    environment: str
    database: DatabaseConfig
    tenant_id: pulumi.Input[str]
    access: SchedulerAccess
    network_id: pulumi.Input[str]
    endpoints_subnet_id: pulumi.Input[str]
    protect: bool = False


class SchedulerDatabase(pulumi.ComponentResource):
    """The server, the scheduler's identity as its one administrator, the database, and a private endpoint.

    Server and database are retained, as the data disk is: they hold the store.
    """

    def __init__(self, name: str, args: SchedulerDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:scheduler:SchedulerDatabase", name, {}, opts)
        place = args.placement
        kept = pulumi.ResourceOptions.merge(retained(self, place), pulumi.ResourceOptions(protect=args.protect))
        server = self._server(name, args, kept)
        administrator = dbforpostgresql.AdministratorsMicrosoftEntra(
            f"{name}-administrator",
            object_id=args.access.principal_id,
            principal_name=args.access.identity_name,
            principal_type=dbforpostgresql.PrincipalType.SERVICE_PRINCIPAL,
            tenant_id=args.tenant_id,
            server_name=server.name,
            resource_group_name=place.group_name,
            opts=retained(self, place),
        )
        database = dbforpostgresql.Database(
            f"{name}-{DATABASE_NAME}",
            database_name=DATABASE_NAME,
            server_name=server.name,
            resource_group_name=place.group_name,
            # A flexible server does one thing at a time and refuses the second.
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(depends_on=[administrator])),
        )
        target = Target("scheduler-database", server.id, _PART, DATABASE_ZONE)
        endpoints = PrivateEndpoints(
            f"{name}-endpoint",
            PrivateEndpointsArgs(place, args.network_id, args.endpoints_subnet_id, [target]),
            pulumi.ResourceOptions(parent=self, depends_on=[database]),
        )
        # What the scheduler is started with once all of it is there. No password is in it: a token takes its place.
        self.store_url = pulumi.Output.all(
            args.access.identity_name, server.fully_qualified_domain_name, database.id, endpoints.ready
        ).apply(lambda known: store_url(known[0], known[1]))
        self.register_outputs({"store_url": self.store_url})

    def _server(self, name: str, args: SchedulerDatabaseArgs, opts: pulumi.ResourceOptions) -> dbforpostgresql.Server:
        place, settings = args.placement, args.database
        entra, password = dbforpostgresql.MicrosoftEntraAuth, dbforpostgresql.PasswordBasedAuth
        geographic, growth = dbforpostgresql.GeographicallyRedundantBackup, dbforpostgresql.StorageAutoGrow
        return dbforpostgresql.Server(
            f"{name}-server",
            server_name=settings.name
            or place.subscription_id.apply(lambda known: naming.account(args.environment, known, place.location)),
            resource_group_name=place.group_name,
            location=place.location,
            version=settings.version,
            sku={"name": settings.sku, "tier": settings.tier},
            storage={
                "storage_size_gb": settings.storage_gib,
                "auto_grow": growth.ENABLED if settings.storage_grows else growth.DISABLED,
            },
            backup={
                "backup_retention_days": settings.backup_days,
                "geo_redundant_backup": geographic.ENABLED if settings.geo_redundant_backup else geographic.DISABLED,
            },
            high_availability={
                "mode": _MODES[settings.high_availability],
                **({"standby_availability_zone": settings.standby_zone} if settings.standby_zone else {}),
            },
            availability_zone=settings.zone,
            auth_config={
                "active_directory_auth": entra.ENABLED,
                "password_auth": password.DISABLED,
                "tenant_id": args.tenant_id,
            },
            network={"public_network_access": dbforpostgresql.ServerPublicNetworkAccessState.DISABLED},
            tags=place.tags,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=IGNORED)),
        )


def store_url(user: str, host: str) -> str:
    """Give the address of a store whose server proves who it is, and whose caller shows a token."""
    return f"postgresql+psycopg://{user}@{host}/{DATABASE_NAME}?sslmode=verify-full"
