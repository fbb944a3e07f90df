"""The tools of one host: enough to look at it, before anything has been configured."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.dom0.host import Host
from xenbackup.dom0.lvm import Lvm
from xenbackup.dom0.toolstack import Toolstack
from xenbackup.inventory.pci import read_pci
from xenbackup.inventory.reading import read_inventory
from xenbackup.inventory.resources import read_resources
from xenbackup.model.inventory import Inventory


@dataclass(frozen=True, kw_only=True)
class Tools:
    """One host with its toolstack and LVM; there may be no configuration yet."""

    host: Host
    toolstack: Toolstack
    lvm: Lvm

    def read_inventory(self) -> Inventory:
        """The whole host, without the places that a configuration would name. Reads only.

        Raises: CommandFailed, UnexpectedOutput from the tools.
        """
        return read_inventory(
            self.host,
            self.toolstack,
            self.lvm,
            read_pci=read_pci,
            read_resources=read_resources,
        )
