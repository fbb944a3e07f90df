"""Logical volumes and groups as `lvs` and `vgs` report them, and the marks that make one ours."""

from __future__ import annotations

from dataclasses import dataclass

TAG_OURS = "xenbackup"
TAG_RUN_PREFIX = "xb.run="
TAG_ORIGIN_PREFIX = "xb.origin="
TAG_DESTINATION = "xb.destination"


@dataclass(frozen=True, kw_only=True)
class VolumeGroup:
    """A volume group; sizes in bytes. `attributes` is vg_attr, six letters ("" when not asked)."""

    uuid: str
    name: str
    size_bytes: int
    free_bytes: int
    extent_size_bytes: int
    attributes: str = ""

    @property
    def partial(self) -> bool:
        """Fourth letter `p`: physical volumes of it are missing, and LVM changes nothing in it."""
        return self.attributes[3:4] == "p"


@dataclass(frozen=True, kw_only=True)
class LogicalVolume:
    """One row of `lvs`; sizes in bytes, percentages 0-100 or None where they do not apply.

    `attributes` is lv_attr, ten letters. `origin_uuid` is "" when there is no origin.
    """

    uuid: str
    name: str
    group: str
    size_bytes: int
    attributes: str
    path: str
    dm_path: str = ""
    tags: frozenset[str] = frozenset()
    origin: str = ""
    origin_uuid: str = ""
    pool: str = ""
    hidden: bool = False
    snapshot_percent: float | None = None
    data_percent: float | None = None
    metadata_percent: float | None = None
    open: bool = False
    invalid: bool = False

    @property
    def active(self) -> bool:
        return self.attributes[4:5] in ("a", "s", "I", "S")

    @property
    def inactive(self) -> bool:
        """Fifth letter `-`: the kernel has no device of it."""
        return self.attributes[4:5] == "-"

    @property
    def suspended(self) -> bool:
        """Fifth letter `s` (or `S`, an invalid one): I/O to it hangs."""
        return self.attributes[4:5] in ("s", "S")

    @property
    def thin(self) -> bool:
        """One inside a thin pool, also where the first letter says something else of it.

        A thin volume with a thick snapshot, or from whose blocks a thin volume elsewhere was made,
        is an origin (`o`, `O` while one is merged); its seventh letter is `t` all the same.
        """
        kind = self.attributes[0:1]
        return kind == "V" or (kind in ("o", "O") and self.attributes[6:7] == "t")

    @property
    def stale_chunks(self) -> bool:
        """A thin pool, or a volume in one, that does not zero a chunk before its first use.

        Its eighth letter is no `z` (`lvcreate --zero n`): what reads as zeros there, nothing having
        been written, shows the chunk's old content as soon as something beside it is written.
        """
        return (self.thin or self.attributes[0:1] == "t") and self.attributes[7:8] != "z"

    @property
    def thick_snapshot(self) -> bool:
        return self.attributes[0:1] in ("s", "S")

    @property
    def merging(self) -> bool:
        """A snapshot (`S`) or origin (`O`) with a merge in progress or pending."""
        return self.attributes[0:1] in ("S", "O")

    @property
    def locked(self) -> bool:
        """Third letter a capital: its extents are being moved (pvmove), LVM takes no snapshot."""
        return self.attributes[2:3].isupper()

    @property
    def partial(self) -> bool:
        """Ninth letter `p`: a physical volume below it is missing."""
        return self.attributes[8:9] == "p"

    @property
    def run_mark(self) -> str:
        """Id of the run whose tag it carries; "" without one."""
        for tag in self.tags:
            if tag.startswith(TAG_RUN_PREFIX):
                return tag.removeprefix(TAG_RUN_PREFIX)
        return ""

    def is_snapshot_of_run(self, run_id: str) -> bool:
        """Ours, of this run, and a snapshot: both tags and a non-empty origin."""
        return TAG_OURS in self.tags and self.run_mark == run_id and bool(self.origin)
