"""The folders of domains on a shelf: which there are, and what is looked for in all of them.

One that cannot be opened (another system's `System Volume Information`, a guest's folder on a bad
block) hides what is inside it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from xenbackup.errors import DestinationFailed
from xenbackup.storage.owners import HARMLESS_ENTRIES, is_domain_folder
from xenbackup.system.folder import EntryKind, Folder


def list_domains(root: Folder) -> Iterator[str]:
    """Names that domain folders may have; what they stand for is seen when one is opened.

    Raises: DestinationFailed.
    """
    for name in root.list_names():
        if not name.startswith(".") and name not in HARMLESS_ENTRIES:
            yield name


def open_listed(root: Folder, name: str, held: ExitStack) -> Folder | None:
    """A domain folder, which `held` closes; None for what is no folder.

    Raises: DestinationFailed.
    """
    entry = root.find(name)
    if entry is None or entry.kind is not EntryKind.FOLDER:
        return None
    return held.enter_context(root.open_folder(name))


def search_domains(
    root: Folder, *names: str, of_runs: bool = False
) -> Iterator[tuple[Folder, str]]:
    """Open each domain folder that holds an entry of one of these names, with that name.

    Only where nothing at all was found the error of a folder that could not be looked into is
    raised, at the end: nobody knows then whether it is there. `of_runs` asks for what a run has
    made, which lies in no folder of a name that no run gives.

    Raises: DestinationFailed.
    """
    found = False
    hidden: DestinationFailed | None = None
    for domain in list_domains(root):
        with ExitStack() as held:
            try:
                folder = open_listed(root, domain, held)
                if folder is None:
                    continue
                present = [name for name in names if folder.find(name) is not None]
            except DestinationFailed as error:
                if hidden is None and (not of_runs or is_domain_folder(domain)):
                    hidden = error
                continue
            for name in present:
                found = True
                yield folder, name
    if hidden is not None and not found:
        raise hidden
