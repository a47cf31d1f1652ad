"""A deployment in memory: its settings, and where the controller finds them."""

from scheduler.policy import NO_LIMITS, Limits
from scheduler.settings import PoolSettings, SchedulerSettings


def simulated_settings(pools: tuple[PoolSettings, ...], limits: Limits = NO_LIMITS) -> SchedulerSettings:
    """Give the settings that `pulumi up` would have published for these pools and what they share."""
    return SchedulerSettings(
        environment="simulation",
        subscription_id="00000000-0000-0000-0000-000000000000",
        resource_group="rg",
        location="westeurope",
        resource_manager="https://management.example",
        blob_endpoint="https://blob.example/",
        queue_endpoint="https://queue.example/",
        storage_account="account",
        pools=pools,
        limits=limits,
    )


class GivenSettings:
    """Settings that never change."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._taken = False

    def changed(self) -> SchedulerSettings | None:
        """Give the settings the first time."""
        if self._taken:
            return None
        self._taken = True
        return self._settings

    def again(self) -> None:
        """Have the next call give them once more."""
        self._taken = False
