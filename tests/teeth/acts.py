"""Every tooth there is."""

from __future__ import annotations

from tests.teeth.control_acts import CONTROL_TEETH
from tests.teeth.guest_acts import GUEST_TEETH
from tests.teeth.service_acts import SERVICE_TEETH
from tests.teeth.storage_acts import STORAGE_TEETH

TEETH = (*GUEST_TEETH, *STORAGE_TEETH, *CONTROL_TEETH, *SERVICE_TEETH)
