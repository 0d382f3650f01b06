"""Settings that must stand before torch is imported, and the profile of the property tests."""

import os

# With two threads in each of two test processes on two cores, trainings ran ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

# No deadline: the first example of a property pays for imports. Derandomised, so that a change
# fails by its own fault; `--hypothesis-profile=explore` looks further.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", parent=settings.get_profile("house"), derandomize=False)
settings.load_profile("house")
