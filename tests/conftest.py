"""Settings of all tests."""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right; pytest bounds each test. The
# same examples are drawn each time, so that a change alone can break a test; MILLPOND_EXPLORE=1 draws others.
settings.register_profile(
    "millpond",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("MILLPOND_EXPLORE") != "1",
)
settings.load_profile("millpond")
