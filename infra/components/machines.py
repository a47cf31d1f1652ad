"""A node group's machines as plain data: declared once, hashed into the generation, then deployed.

The same functions make the inputs for both: for the generation with the names of what is declared elsewhere, for the
deployment with their ids. So nothing can be added to a machine without making a new generation. What may never make one
(capacity, tags, credentials that nobody knows) is not in those inputs.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from infra import naming
from infra.components.batch_pool_inputs import batch_pool_inputs
from infra.components.network import NETWORK_NAME, NODES_SUBNET
from infra.components.scale_set_inputs import scale_set_inputs
from infra.config import GroupConfig, PoolConfig, StackConfig
from infra.generations import generation
from node_bootstrap.bundle import Bundle, build_bundle
from node_bootstrap.protocol import EVENTS_QUEUE
from node_bootstrap.render import NodeProfile, OperatingSystem, template_digest
from scheduler.model import GroupKind


@dataclass(frozen=True, slots=True)
class Software:
    """What nodes of a system run: the bundle with the task runner, and the template of stage 0 by its hash."""

    bundle: Bundle
    template_sha256: str


def build_software(pool: PoolConfig) -> Software:
    """Pack the runner with what a pool wants of its machines, and hash the template of its system."""
    system = pool.machine_image.system
    return Software(build_bundle(system, pool.bootstrap.plan), template_digest(system))


@dataclass(frozen=True)
class Machines:
    """A node group's machines, as declared."""

    stack: StackConfig
    pool: PoolConfig
    group: GroupConfig
    software: Software

    @property
    def system(self) -> OperatingSystem:
        """What runs on them."""
        return self.pool.machine_image.system

    @cached_property
    def generation(self) -> str:
        """Their generation as far as it is declared: it changes when anything declared about them does."""
        stack, pool, group = self.stack, self.pool, self.group
        identity = naming.identity(pool.name)
        subnet = stack.subnet_of(pool) or f"{NETWORK_NAME}/{NODES_SUBNET}"
        account = stack.storage.account or naming.account(stack.environment, "", stack.location)
        return generation(
            {
                "environment": stack.environment,
                "revision": group.revision,
                str(pool.kind): self.inputs(subnet_id=subnet, identity_id=identity, bootstrap=""),
                "bootstrap": {
                    "template": self.software.template_sha256,
                    "profile": asdict(self.profile("", account, account, identity)),
                },
            }
        )

    @cached_property
    def name(self) -> str:
        """Name that this declaration has in the stack; the provider makes the one in Azure of it."""
        return naming.node_group(self.pool.name, self.group.name, self.generation)

    def inputs(self, *, subnet_id: Any, identity_id: Any, bootstrap: Any) -> dict[str, Any]:
        """Give the inputs of their scale set or Batch pool; the keywords are known now or later."""
        if self.pool.kind is GroupKind.BATCH:
            return batch_pool_inputs(
                self.pool, self.group, subnet_id=subnet_id, identity_id=identity_id, bootstrap=bootstrap
            )
        return scale_set_inputs(
            self.stack.location,
            self.pool,
            self.group,
            subnet_id=subnet_id,
            identity_id=identity_id,
            bootstrap=bootstrap,
        )

    def profile(self, queue: str, blob_endpoint: str, queue_endpoint: str, identity_client_id: str) -> NodeProfile:
        """Say what a node must know to boot; the generation is the one in the queue's name."""
        python = self.stack.python_of(self.pool)
        return NodeProfile(
            pool=self.pool.name,
            group=self.group.name,
            generation=naming.generation(queue, self.pool.name, self.group.name),
            blob_endpoint=blob_endpoint,
            queue_endpoint=queue_endpoint,
            work_queue=queue,
            events_queue=EVENTS_QUEUE,
            identity_client_id=identity_client_id,
            task_slots=self.group.slots,
            bundle_sha256=self.software.bundle.sha256,
            status_interval_seconds=self.pool.node.status_interval.total_seconds(),
            python_sha256=python.sha256 if python else None,
            data_disk=self.group.data_disk is not None,
        )
