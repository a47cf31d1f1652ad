"""Where the scheduler runs, if the stack declares it: its way out, its identity, its machine and what that runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.components.batch_account import BatchAccount
from infra.components.network import Network
from infra.components.placement import Placement
from infra.components.scheduler_access import SchedulerAccess, SchedulerAccessArgs
from infra.components.scheduler_database import SchedulerDatabase, SchedulerDatabaseArgs
from infra.components.scheduler_host import SchedulerHost, SchedulerHostArgs
from infra.components.scheduler_network import SchedulerNetwork, SchedulerNetworkArgs
from infra.components.storage import Storage
from infra.config import StackConfig
from infra.host_bundle import build_host_bundle
from infra.host_wheels import HostBundleError
from node_bootstrap.bundle import Bundle


@dataclass(frozen=True)
class Scheduler:
    """A stack that declares the scheduler's host. Made before the network, declared after all else."""

    stack: StackConfig
    placement: Placement
    tenant_id: pulumi.Input[str]

    def subnet(self) -> Mapping[str, Any] | None:
        """Declare the way out, and give the subnet as the virtual network has it; None where there is no host."""
        host = self.stack.scheduler
        if host is None:
            return None
        database = self.stack.network.endpoints_subnet if host.database is not None else None
        args = SchedulerNetworkArgs(self.placement, host.ssh_from, bool(self.stack.batch_pools), database)
        way_out = SchedulerNetwork("scheduler-network", args)
        return way_out.subnet(str(self.stack.network.scheduler_subnet))

    def bundle(self) -> Bundle | None:
        """Build what the host runs; None where there is no host, or in a preview that cannot fetch its packages."""
        host = self.stack.scheduler
        if host is None:
            return None
        try:
            return build_host_bundle(host.python_version)
        except HostBundleError as error:
            if not pulumi.runtime.is_dry_run():
                raise pulumi.RunError(str(error)) from error
            pulumi.log.warn(f"the scheduler's bundle could not be built, so this preview shows it as unknown: {error}")
            return None

    def declare(
        self, network: Network, storage: Storage, batch: BatchAccount | None, bundle: Bundle | None
    ) -> SchedulerHost | None:
        """Declare identity and machine; None where there is no host."""
        stack, host = self.stack, self.stack.scheduler
        if host is None:
            return None
        elsewhere = {subnet: None for pool in stack.pools if (subnet := stack.subnet_of(pool)) is not None}
        access = SchedulerAccess(
            "scheduler",
            SchedulerAccessArgs(
                self.placement,
                stack.environment,
                storage,
                batch.account_id if batch is not None and stack.batch_pools else None,
                tuple(elsewhere),
            ),
        )
        # Unknown only in a preview: `bundle` ends an `up` that cannot build it.
        digest = pulumi.Output.from_input(bundle.sha256) if bundle is not None else _unknown()
        database = self._database(network, access)
        args = SchedulerHostArgs(
            self.placement,
            stack.environment,
            host,
            network.scheduler_subnet_id,
            storage,
            access,
            digest,
            database.store_url if database is not None else None,
            stack.protect,
        )
        return SchedulerHost("scheduler-host", args)

    def _database(self, network: Network, access: SchedulerAccess) -> SchedulerDatabase | None:
        stack, host = self.stack, self.stack.scheduler
        if host is None or host.database is None:
            return None
        args = SchedulerDatabaseArgs(
            self.placement,
            stack.environment,
            host.database,
            self.tenant_id,
            access,
            network.network_id,
            network.endpoints_subnet_id,
            stack.protect,
        )
        return SchedulerDatabase("scheduler-database", args)


def _unknown() -> pulumi.Output[str]:
    unknown: Any = pulumi.UNKNOWN
    return pulumi.Output.from_input(unknown)
