"""Limits and delays of the compute service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Limits and delays; cores are counted in each region.

    350 cores a region is what a pay-as-you-go subscription begins with (Azure's list of service limits). A simulated
    eviction gives less notice than Azure, which makes its user wait for up to half an hour.
    """

    boot_delay_seconds: float = 3.0
    regional_cores: int = 350
    page_size: int = 100
    spot_cores: int = 350
    eviction_notice_seconds: float = 3.0


DEFAULTS = ComputeSettings()
