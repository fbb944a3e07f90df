"""Every tooth there is."""

from __future__ import annotations

from tests.teeth.control_acts import CONTROL_TEETH
from tests.teeth.damage_acts import DAMAGE_TEETH
from tests.teeth.file_acts import FILE_TEETH
from tests.teeth.guest_acts import GUEST_TEETH
from tests.teeth.identity_acts import IDENTITY_TEETH
from tests.teeth.others_acts import OTHERS_TEETH
from tests.teeth.restore_acts import RESTORE_TEETH
from tests.teeth.service_acts import SERVICE_TEETH
from tests.teeth.storage_acts import STORAGE_TEETH
from tests.teeth.undo_acts import UNDO_TEETH
from tests.teeth.volume_acts import VOLUME_TEETH

TEETH = (
    *GUEST_TEETH,
    *UNDO_TEETH,
    *OTHERS_TEETH,
    *STORAGE_TEETH,
    *VOLUME_TEETH,
    *FILE_TEETH,
    *IDENTITY_TEETH,
    *DAMAGE_TEETH,
    *RESTORE_TEETH,
    *CONTROL_TEETH,
    *SERVICE_TEETH,
)
