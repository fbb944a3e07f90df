"""The shelf: folders of domains and in them of points, staged hidden, published by a rename.

    web/                          one domain's folder, and beside it `web~8f21c3aa` for a namesake
      .owner.json                 whose folder it is: the domain's identity
      20261122T023000Z-k3f9qa/    a point: it exists when its manifest does
      .partial-RUN/               being made, or left by a run that was killed
      .deleting-RUN/              being removed
      .overwritten-RUN/           its volumes are being written over, or were in vain

Nothing inside a shelf is reached through a symbolic link, and every name is a plain one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime

from xenbackup.errors import (
    DestinationFailed,
    PointDamaged,
    PointNotFound,
    XenbackupError,
)
from xenbackup.model.names import is_run_id
from xenbackup.model.point import Damage, Manifest, PointSummary
from xenbackup.storage.damage_marks import read_mark, remove_mark, tells_damage, write_mark
from xenbackup.storage.domain_folders import list_domains, open_listed, search_domains
from xenbackup.storage.manifest import MANIFEST_FILE, MANIFEST_LIMIT_BYTES, decode_manifest
from xenbackup.storage.owners import (
    OWNER_FILE,
    OWNER_LIMIT_BYTES,
    decode_owner,
    decode_quietly,
    encode_owner,
    is_domain_folder,
    list_candidate_names,
)
from xenbackup.storage.parts import PINNED_FILE, find_flaw
from xenbackup.storage.points import DamagedPoint, PointListing, VerifyFinding
from xenbackup.storage.removal import (
    DELETING_PREFIX,
    finish_all_removals,
    finish_removal,
    hold_folder,
    remove_point,
)
from xenbackup.system.folder import EntryKind, Folder

PARTIAL_PREFIX = ".partial-"
OVERWRITTEN_PREFIX = ".overwritten-"
NEW_PREFIX = ".new-"

_HIDDEN_PREFIXES = (PARTIAL_PREFIX, DELETING_PREFIX)


class Shelf:
    """Domain folders and their points below one open folder; `name` is the destination's.

    `disks_inside` is False where the disks of points lie in volumes instead of the folders.
    """

    def __init__(self, root: Folder, name: str, *, disks_inside: bool = True) -> None:
        self.root = root
        self.name = name
        self.disks_inside = disks_inside

    # Domain folders

    def open_domain(self, domain: str, identity: str, *, point: str) -> Folder:
        """The domain's own folder, made if it is missing; `point` names what is made meanwhile.

        A folder of that name that belongs to another identity is left alone: this one's name gets
        a `~` with the first letters of its uuid.

        Raises: DestinationFailed.
        """
        for folder in list_candidate_names(domain, identity):
            entry = self.root.find(folder)
            if entry is None:
                self._make_domain(folder, domain, identity, point)
            elif entry.kind is not EntryKind.FOLDER:
                continue
            # Whoever made it may have been killed before its name was durable.
            self.root.sync()
            opened = self.root.open_folder(folder)
            if self._read_owner(opened, identity, domain) == identity:
                return opened
            opened.close()
        raise DestinationFailed(
            f"Every folder name for domain {domain!r} in {self.root.path} is taken by others.",
            hint="look into the `.owner.json` of those folders, and move away what is foreign",
        )

    def _make_domain(self, folder: str, domain: str, identity: str, point: str) -> None:
        """Whole or not at all: made beside, with its owner inside, and renamed into place."""
        temporary = NEW_PREFIX + point
        self.root.remove_tree(temporary)
        self.root.make_folder(temporary)
        with self.root.open_folder(temporary) as made:
            made.write_file(OWNER_FILE, encode_owner(domain, identity))
        try:
            self.root.rename(temporary, folder)
        except DestinationFailed:
            # A run of a namesake may have made it in this very moment: its owner is read next.
            self.root.remove_tree(temporary)
            if self.root.find(folder) is None:
                raise

    def _read_owner(self, folder: Folder, identity: str, domain: str) -> str:
        """Identity that a folder belongs to; one that says nothing is judged by its points."""
        if folder.find(OWNER_FILE) is not None:
            return decode_owner(folder.read_file(OWNER_FILE, limit_bytes=OWNER_LIMIT_BYTES))
        owners = set()
        for entry in folder.list_entries():
            if is_run_id(entry.name):
                try:
                    owners.add(self._load(folder, entry.name).identity)
                except PointDamaged:
                    owners.add("")
        if owners <= {identity}:
            folder.replace_file(OWNER_FILE, encode_owner(domain, identity))
            return identity
        return ""

    # Points

    def stage(self, domain: str, identity: str, point: str) -> tuple[Folder, Folder]:
        """The domain's folder and a fresh hidden one inside for the point; the caller closes both.

        What an earlier attempt at the same point left is removed first.

        Raises: DestinationFailed, also when the point is already there.
        """
        if not is_run_id(point):
            raise DestinationFailed(f"{point!r} is no id of a point.")
        folder = self.open_domain(domain, identity, point=point)
        try:
            if folder.find(point) is not None:
                raise DestinationFailed(f"Point {point} is already in {folder.path}.")
            folder.remove_tree(PARTIAL_PREFIX + point)
            folder.make_folder(PARTIAL_PREFIX + point)
            return folder, folder.open_folder(PARTIAL_PREFIX + point)
        except BaseException:
            folder.close()
            raise

    def has(self, point: str) -> bool:
        """The point is here and its manifest good; its name is made durable before we say so.

        Raises: DestinationFailed when neither it nor its unfinished beginning was found, and it
        may be in a folder that cannot be looked into.
        """
        if not is_run_id(point):
            return False
        for folder, name in search_domains(self.root, point, PARTIAL_PREFIX + point, of_runs=True):
            if name != point:
                continue
            try:
                self._load(folder, point)
            except PointDamaged:
                continue
            # The rename may have been the last act of a process that was killed before its sync.
            folder.sync()
            return True
        return False

    @contextmanager
    def open(self, point: str) -> Iterator[tuple[Folder, Manifest]]:
        """The point's folder with its manifest.

        Raises: PointNotFound; PointDamaged when the manifest cannot be used.
        """
        for folder in self._find(point):
            manifest = self._load(folder, point)
            with folder.open_folder(point) as opened:
                yield opened, manifest
            return
        raise self._explain_missing(point)

    @contextmanager
    def open_unread(self, point: str) -> Iterator[tuple[Folder, Folder]]:
        """The domain's folder and the point's, whatever its manifest is worth.

        Raises: PointNotFound, DestinationFailed.
        """
        for folder in self._find(point):
            with folder.open_folder(point) as opened:
                yield folder, opened
            return
        raise self._explain_missing(point)

    def _explain_missing(self, point: str) -> PointNotFound:
        return PointNotFound(
            f"Destination {self.name} holds no recovery point {point}.",
            hint="`xenbackup points` lists them all",
        )

    def load_manifest(self, folder: Folder, point: str) -> Manifest:
        """The manifest in an open point folder. Raises: PointDamaged."""
        source = f"the manifest of point {point}"
        try:
            content = folder.read_file(MANIFEST_FILE, limit_bytes=MANIFEST_LIMIT_BYTES)
        except DestinationFailed as error:
            raise PointDamaged(error.message, hint=error.hint) from error
        manifest = decode_manifest(content, source=source)
        if manifest.point != point:
            raise PointDamaged(f"Cannot use {source}: it describes point {manifest.point}.")
        return manifest

    def _load(self, folder: Folder, point: str) -> Manifest:
        try:
            opened = folder.open_folder(point)
        except DestinationFailed as error:
            raise PointDamaged(error.message, hint=error.hint) from error
        with opened:
            return self.load_manifest(opened, point)

    def _find(self, point: str) -> Iterator[Folder]:
        """Open the domain folders that hold an entry of this name, one after the other."""
        if not is_run_id(point):
            return
        yield from self._find_entries(point)

    def _find_entries(self, *names: str) -> Iterator[Folder]:
        for folder, _ in search_domains(self.root, *names):
            yield folder

    @contextmanager
    def hold(self, point: str) -> Iterator[None]:
        """While this lasts nobody removes the point. Raises: PointNotFound, DestinationFailed."""
        for folder in self._find(point):
            with hold_folder(folder, point):
                yield
            return
        raise self._explain_missing(point)

    def has_trace(self, point: str) -> bool:
        """Anything of the point is here: itself, or what its making or removal left.

        Raises: DestinationFailed when nothing was found, and a folder cannot be looked into.
        """
        prefixes = ("", OVERWRITTEN_PREFIX, *_HIDDEN_PREFIXES)
        names = [prefix + point for prefix in prefixes]
        return is_run_id(point) and any(True for _ in self._find_entries(*names))

    def delete(self, point: str) -> bool:
        """Remove a point: first out of sight, then from the disk. False when it is not here.

        Raises: Locked when it is being read; NotOurs when its folder holds anything else;
        DestinationFailed, also when it is pinned. What was not removed is whole then.
        """
        if not is_run_id(point):
            return False
        found = False
        for folder, name in search_domains(self.root, point, OVERWRITTEN_PREFIX + point):
            found = remove_point(folder, name, point) or found
        return found

    def finish_removals(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Finish what interrupted removals left; the points' ids, and what stays and why.

        Those that are going on in another process are left to it. A domain's folder that cannot
        be looked into is among what stays. Raises: DestinationFailed.
        """
        finished: list[str] = []
        left: list[str] = []
        for domain in list_domains(self.root):
            with ExitStack() as held:
                try:
                    if (folder := open_listed(self.root, domain, held)) is None:
                        continue
                    done, stays = finish_all_removals(folder)
                except DestinationFailed as error:
                    done, stays = [], [error.message] if is_domain_folder(domain) else []
                finished += done
                left += [f"{domain}: {why}" for why in stays]
        return tuple(finished), tuple(left)

    def mark_overwritten(self, point: str) -> None:
        """Take a point out of sight for good, durably, before its volumes are written over.

        Raises: DestinationFailed.
        """
        for folder in self._find(point):
            folder.remove_tree(OVERWRITTEN_PREFIX + point)
            folder.rename(point, OVERWRITTEN_PREFIX + point)
            folder.sync()

    def forget_overwritten(self, files: Collection[str]) -> None:
        """Remove the remains of points that had a disk in one of these volumes: newer ones are
        whole there. Raises: DestinationFailed.
        """
        for domain in list_domains(self.root):
            with ExitStack() as held, suppress(DestinationFailed):
                # What cannot be looked into, or removed, stays and is listed as what it is.
                if (folder := open_listed(self.root, domain, held)) is None:
                    continue
                for name in folder.list_names():
                    if name.startswith(OVERWRITTEN_PREFIX):
                        self._forget_if_in(folder, name, files)

    def _forget_if_in(self, folder: Folder, name: str, files: Collection[str]) -> None:
        try:
            with folder.open_folder(name) as opened:
                manifest = self.load_manifest(opened, name.removeprefix(OVERWRITTEN_PREFIX))
        except (PointDamaged, DestinationFailed):
            return  # nobody can say which volumes it had: it stays, listed as damaged
        if any(disk.file in files for disk in manifest.disks):
            folder.remove_tree(name)
            folder.sync()

    def discard(self, point: str) -> bool:
        """Remove what making or removing the point left half done; True when there was something.

        Raises: DestinationFailed.
        """
        if not is_run_id(point):
            return False
        found = self.root.find(NEW_PREFIX + point) is not None
        self.root.remove_tree(NEW_PREFIX + point)
        names = (PARTIAL_PREFIX + point, DELETING_PREFIX + point)
        for folder, name in search_domains(self.root, *names, of_runs=True):
            if name.startswith(PARTIAL_PREFIX):
                folder.remove_tree(name)
                folder.sync()
            elif why := finish_removal(folder, point):
                raise DestinationFailed(f"Point {point} is removed but for its folder: {why}.")
            found = True
        return found

    def scan(self) -> PointListing:
        """Everything on the shelf; a damaged point is listed as such and stops nothing.

        Raises: DestinationFailed when the shelf itself cannot be read.
        """
        points: list[PointSummary] = []
        damaged: list[DamagedPoint] = []
        flawed: list[DamagedPoint] = []
        unreadable: list[str] = []
        leftovers = [name for name in self.root.list_names() if name.startswith(NEW_PREFIX)]
        for domain in list_domains(self.root):
            try:
                with ExitStack() as held:
                    if (folder := open_listed(self.root, domain, held)) is None:
                        continue
                    for name in folder.list_names():
                        if name.startswith(_HIDDEN_PREFIXES):
                            leftovers.append(f"{domain}/{name}")
                        elif name.startswith(OVERWRITTEN_PREFIX):
                            damaged.append(self._describe_overwritten(domain, name))
                        elif is_run_id(name):
                            found = self._scan_point(folder, domain, name, flawed)
                            if isinstance(found, PointSummary):
                                points.append(found)
                            else:
                                damaged.append(found)
            except XenbackupError as error:
                unreadable.append(f"{domain}: {error.message}")
        points.sort(key=lambda summary: (summary.created_at, summary.point))
        return PointListing(
            points=tuple(points),
            damaged=tuple(damaged),
            flawed=tuple(flawed),
            leftovers=tuple(leftovers),
            unreadable=tuple(unreadable),
        )

    def _describe_overwritten(self, domain: str, name: str) -> DamagedPoint:
        return DamagedPoint(
            point=name.removeprefix(OVERWRITTEN_PREFIX),
            destination=self.name,
            domain=decode_quietly(domain),
            reason="Its volumes were being written over by a run that did not end well.",
        )

    def _scan_point(
        self, folder: Folder, domain: str, point: str, flawed: list[DamagedPoint]
    ) -> PointSummary | DamagedPoint:
        def describe(
            reason: str, *, certain: bool = True, mark: Damage | None = None
        ) -> DamagedPoint:
            return DamagedPoint(
                point=point,
                destination=self.name,
                domain=decode_quietly(domain),
                reason=reason,
                certain=certain,
                mark=mark,
            )

        try:
            manifest = self._load(folder, point)
            with folder.open_folder(point) as opened:
                summary = self.summarise(manifest, opened)
                entries = opened.list_entries()
        except (PointDamaged, DestinationFailed) as error:
            mark = self._read_mark(folder, point)
            return describe(error.message, certain=tells_damage(error), mark=mark)
        if flaw := find_flaw(manifest, entries, disks_inside=self.disks_inside):
            flawed.append(describe(f"{flaw}."))
        return summary

    def _read_mark(self, folder: Folder, point: str) -> Damage | None:
        """The mark of a point without a usable manifest; None too where not even that is told."""
        try:
            with folder.open_folder(point) as opened:
                return read_mark(opened)
        except DestinationFailed:
            return None

    def summarise(self, manifest: Manifest, folder: Folder) -> PointSummary:
        """One line of a list: sizes as the manifest says, and as the disk has it. One that lacks a
        file is damaged, also where no verification has said so yet.
        """
        entries = folder.list_entries()
        flaw = find_flaw(manifest, entries, disks_inside=self.disks_inside)
        memory_bytes = manifest.memory.size_bytes if manifest.memory else 0
        disk_bytes = sum(disk.size_bytes for disk in manifest.disks)
        inside_bytes = sum(entry.allocated_bytes for entry in entries)
        return PointSummary(
            point=manifest.point,
            destination=self.name,
            domain=manifest.domain,
            identity=manifest.identity,
            job=manifest.job,
            consistency=manifest.consistency,
            created_at=manifest.created_at,
            size_bytes=disk_bytes + memory_bytes,
            stored_bytes=inside_bytes + (0 if self.disks_inside else disk_bytes),
            has_memory=manifest.memory is not None,
            pinned=any(entry.name == PINNED_FILE for entry in entries),
            damage=read_mark(folder) or (Damage(found_at=None, reason=flaw) if flaw else None),
            host=manifest.host.hostname,
        )

    def pin(self, point: str) -> bool:
        """Keep the point from being removed, durably; False when it was pinned already.

        Raises: PointNotFound, also when it is being removed just now; DestinationFailed.
        """
        with self.hold(point), self.open_unread(point) as (_, folder):
            fresh = folder.find(PINNED_FILE) is None
            if fresh:
                folder.write_file(PINNED_FILE, b"")
            # An earlier pin may have been killed before its own sync.
            folder.sync()
            return fresh

    def unpin(self, point: str) -> bool:
        """Let the point be removed again; False when it was not pinned. Raises: as `pin`."""
        with self.hold(point), self.open_unread(point) as (_, folder):
            pinned = folder.find(PINNED_FILE) is not None
            folder.remove_file(PINNED_FILE)
            folder.sync()
            return pinned

    def mark_damaged(
        self, point: str, found_at: datetime, findings: Sequence[VerifyFinding]
    ) -> None:
        """Say durably that the point was found damaged, readable or not. Raises: as `pin`."""
        with self.hold(point), self.open_unread(point) as (_, folder):
            write_mark(folder, found_at, findings)

    def clear_damage(self, point: str) -> bool:
        """The point was read whole and is good; False when it was not marked. Raises: as `pin`."""
        with self.hold(point), self.open_unread(point) as (_, folder):
            return remove_mark(folder)
