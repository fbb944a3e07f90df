"""xenstore of the simulated host: what domains and their devices look like in it, and its tools."""

from __future__ import annotations

import getopt

from xenbackup.dom0.simulated.session import Machine, Session, ToolFailed
from xenbackup.dom0.simulated.state import Domain, Vbd


def build_tree(machine: Machine) -> dict[str, str]:
    """Every path and its value, from the state of domains, less what was removed by hand.

    What was written by hand comes last: it may lie in a folder that was removed before.
    """
    state = machine.state
    tree: dict[str, str] = {}
    _put(tree, "/local/domain/0/name", "Domain-0")
    _put(tree, "/local/domain/0/domid", "0")
    _put(tree, "/local/domain/0/memory/target", str(state.dom0_memory_mib * 1024))
    for domain in state.domains:
        if domain.dying:
            continue
        program = state.programs.get(domain.name)
        _add_domain(tree, domain, can_suspend=program is None or program.suspend != "cannot")
    for removed in state.xenstore_removed:
        for path in [p for p in tree if _is_within(p, removed)]:
            del tree[path]
    for path, value in state.xenstore.items():
        _put(tree, path, value)
    return tree


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _add_domain(tree: dict[str, str], domain: Domain, *, can_suspend: bool) -> None:
    home = f"/local/domain/{domain.domid}"
    # The toolstack makes these keys empty; a guest whose kernel knows them writes what it obeys.
    obeys = "1" if domain.pv_drivers else ""
    values = {
        "vm": f"/vm/{domain.uuid}",
        "name": domain.name,
        "domid": str(domain.domid),
        "cpu/0/availability": "online",
        "memory/static-max": str(domain.maximum_memory_mib * 1024),
        "memory/target": str(domain.memory_mib * 1024),
        "control/shutdown": domain.control_shutdown,
        "control/platform-feature-multiprocessor-suspend": "1",
        "control/platform-feature-xs_reset_watches": "1",
        "control/feature-poweroff": obeys,
        "control/feature-reboot": obeys,
        "control/feature-suspend": obeys if can_suspend else "",
        "control/sysrq": "",
        "device/vbd": "",
    }
    for key, value in values.items():
        if key != "device/vbd" or domain.vbds:
            _put(tree, f"{home}/{key}", value)
    _put(tree, f"/vm/{domain.uuid}/uuid", domain.uuid)
    _put(tree, f"/vm/{domain.uuid}/name", domain.name)
    for vbd in domain.vbds:
        _add_vbd(tree, domain, vbd)


def _add_vbd(tree: dict[str, str], domain: Domain, vbd: Vbd) -> None:
    front = f"/local/domain/{domain.domid}/device/vbd/{vbd.number}"
    back = f"/local/domain/0/backend/vbd/{domain.domid}/{vbd.number}"
    values = {
        "frontend": front,
        "frontend-id": str(domain.domid),
        "params": vbd.target,
        "script": "/etc/xen/scripts/block",
        "online": "0" if vbd.backend == 6 else "1",
        "state": str(vbd.backend),
        "dev": vbd.vdev,
        "type": "phy" if vbd.target.startswith("/dev/") else "tap",
        "mode": "w" if vbd.writable else "r",
        "device-type": "cdrom" if vbd.cdrom else "disk",
    }
    for key, value in values.items():
        _put(tree, f"{back}/{key}", value)
    if vbd.frontend >= 0:
        values = {
            "backend": back,
            "backend-id": "0",
            "state": str(vbd.frontend),
            "virtual-device": str(vbd.number),
            "device-type": "cdrom" if vbd.cdrom else "disk",
        }
        for key, value in values.items():
            _put(tree, f"{front}/{key}", value)


def _put(tree: dict[str, str], path: str, value: str) -> None:
    tree[path] = value
    parent = path.rpartition("/")[0]
    while parent and parent not in tree:
        tree[parent] = ""
        parent = parent.rpartition("/")[0]


def _parse(session: Session, tool: str, words: list[str], short: str) -> tuple[set[str], list[str]]:
    try:
        given, rest = getopt.gnu_getopt(words, short)
    except getopt.GetoptError as error:
        raise ToolFailed(1, f"{tool}: invalid option -- '{error.opt}'\nUsage: {tool}\n") from None
    session.spend(0.01)
    return {name for name, _ in given}, [_absolute(path) for path in rest]


def _absolute(path: str) -> str:
    """A relative path is below dom0's own home, as for the real tools."""
    return path.rstrip("/") if path.startswith("/") else f"/local/domain/0/{path}".rstrip("/")


def run_ls(session: Session, words: list[str]) -> int:
    """xenstore-ls [-f] [-p] [PATH]: the tree below a path, full paths with -f."""
    options, rest = _parse(session, "xenstore-ls", words, "fpsw")
    top = rest[0] if rest else ""
    tree = build_tree(session)
    if top and top not in tree:
        raise ToolFailed(1, f"xenstore-ls: xs_directory ({rest[0]}): No such file or directory\n")
    for path in sorted(tree, key=lambda text: text.split("/")):
        if not path.startswith(top + "/"):
            continue
        value = _escape(tree[path])
        if "-f" in options:
            session.out(f'{path} = "{value}"\n')
        else:
            depth = path.count("/") - top.count("/") - 1
            session.out(f'{" " * depth}{path.rpartition("/")[2]} = "{value}"\n')
    return 0


def run_read(session: Session, words: list[str]) -> int:
    options, rest = _parse(session, "xenstore-read", words, "psRr")
    if not rest:
        raise ToolFailed(1, "Usage: xenstore-read [-h] [-p] [-s] key [...]\n")
    tree = build_tree(session)
    for path in rest:
        if path not in tree:
            raise ToolFailed(1, f"xenstore-read: couldn't read path {path}\n")
        session.out((f"{path}: " if "-p" in options else "") + tree[path] + "\n")
    return 0


def run_list(session: Session, words: list[str]) -> int:
    _, rest = _parse(session, "xenstore-list", words, "ps")
    if not rest:
        raise ToolFailed(1, "Usage: xenstore-list [-h] [-p] [-s] key [...]\n")
    tree = build_tree(session)
    for path in rest:
        if path not in tree:
            raise ToolFailed(1, f"xenstore-list: could not list path {path}\n")
        depth = path.count("/") + 1
        for key in sorted(tree):
            if key.startswith(path + "/") and key.count("/") == depth:
                session.out(key.rpartition("/")[2] + "\n")
    return 0


def run_rm(session: Session, words: list[str]) -> int:
    _, rest = _parse(session, "xenstore-rm", words, "st")
    for path in rest:
        if path not in build_tree(session):
            raise ToolFailed(1, f"xenstore-rm: could not remove path {path}\n")
        owner = _shutdown_owner(session, path)
        if owner is not None:
            owner.control_shutdown, owner.suspend_due_ns = "", 0
            continue
        written = session.state.xenstore
        session.state.xenstore = {k: v for k, v in written.items() if not _is_within(k, path)}
        session.state.xenstore_removed.append(path)
    return 0


def run_write(session: Session, words: list[str]) -> int:
    _, rest = _parse(session, "xenstore-write", words, "s")
    if not words or len(rest) % 2:
        raise ToolFailed(1, "Usage: xenstore-write [-h] [-s] key value [...]\n")
    plain = [word for word in words if word != "-s"]
    for path, value in zip(rest[::2], plain[1::2], strict=True):
        owner = _shutdown_owner(session, path)
        if owner is not None:
            owner.control_shutdown = value
            owner.suspend_due_ns = session.state.clock_ns + 1 if value == "suspend" else 0
            continue
        session.state.xenstore[path] = value
    return 0


def _shutdown_owner(machine: Machine, path: str) -> Domain | None:
    parts = path.split("/")
    if (
        len(parts) == 6
        and parts[1:3] == ["local", "domain"]
        and parts[4:] == ["control", "shutdown"]
    ):
        return machine.state.find_domain(int(parts[3])) if parts[3].isdigit() else None
    return None


def _escape(value: str) -> str:
    return value.encode("unicode_escape").decode("ascii").replace('"', '\\"')
