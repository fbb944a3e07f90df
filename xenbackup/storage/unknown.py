"""A destination that the configuration does not name any more, or cannot be asked for.

Recovery must bring a guest back all the same: only what lies at the destination has to wait.
"""

from __future__ import annotations

from typing import NoReturn

from xenbackup.errors import DestinationMissing
from xenbackup.storage.destination import StagedPoint


class UnknownDestination:
    """Stands for destination `name`; whatever is asked of it is refused with the `reason`."""

    holds_memory = True

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def open(self) -> None:
        self._refuse()

    def close(self) -> None:
        """There is nothing to let go of."""

    def check_writable(self) -> None:
        self._refuse()

    def stage_point(self, domain_name: str, identity: str, point_id: str) -> StagedPoint:
        self._refuse()

    def discard_partial(self, point_id: str) -> bool:
        self._refuse()

    def has_point(self, point_id: str) -> bool:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DestinationMissing(
            f"Destination {self.name} cannot be reached: {self._reason}",
            hint="name it in config.toml again, then `xenbackup recover`",
        )
