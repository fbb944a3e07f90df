"""xenbackup: backups of guests on plain Xen hosts (the xl toolstack with LVM)."""

__version__ = "0.1.0"
