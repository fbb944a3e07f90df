"""Guest configurations: read from xl.cfg files, found on a host, rewritten, composed from JSON."""

from xenbackup.dom0.guest_configuration.compose import compose_configuration
from xenbackup.dom0.guest_configuration.devices import (
    has_pci_option,
    parse_interface_specification,
    parse_pci_specification,
)
from xenbackup.dom0.guest_configuration.disks import list_prefixes, parse_disk_specification
from xenbackup.dom0.guest_configuration.files import find_configurations
from xenbackup.dom0.guest_configuration.reading import parse_configuration, parse_identity
from xenbackup.dom0.guest_configuration.rewriting import NewTarget, rewrite_configuration
from xenbackup.dom0.guest_configuration.syntax import parse_settings
from xenbackup.dom0.guest_configuration.values import (
    ComposedConfiguration,
    ConfigurationFile,
    ConfigurationValue,
    GuestConfiguration,
    NetworkInterface,
    Setting,
    Video,
)

__all__ = [
    "ComposedConfiguration",
    "ConfigurationFile",
    "ConfigurationValue",
    "GuestConfiguration",
    "NetworkInterface",
    "NewTarget",
    "Setting",
    "Video",
    "compose_configuration",
    "find_configurations",
    "has_pci_option",
    "list_prefixes",
    "parse_configuration",
    "parse_disk_specification",
    "parse_identity",
    "parse_interface_specification",
    "parse_pci_specification",
    "parse_settings",
    "rewrite_configuration",
]
