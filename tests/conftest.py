"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: nothing is judged by the clock.
settings.register_profile("default", deadline=None)
settings.load_profile("default")
