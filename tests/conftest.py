"""Settings of all tests."""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right; pytest bounds each test. The
# same examples are drawn each time, so that a change alone can break a test; MILLPOND_EXPLORE=20000 draws others,
# and so many for each test that does not set its own number.
_EXPLORE = int(os.environ.get("MILLPOND_EXPLORE", "0"))
settings.register_profile(
    "millpond",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not _EXPLORE,
    max_examples=max(100, _EXPLORE),
)
settings.load_profile("millpond")
