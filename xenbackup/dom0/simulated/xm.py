"""The older toolstack `xm` of a simulated host: the verbs that backups use, over the same domains.

xend watches its domains itself (no monitors), knows guests that are shut off (here: every file in
/etc/xen whose guest does not run), has no `save -p`, and writes another kind of save file.
"""

from __future__ import annotations

import getopt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xenbackup.dom0.simulated import xend, xm_images, xm_texts
from xenbackup.dom0.simulated.session import Session, ToolFailed
from xenbackup.dom0.simulated.state import Domain, XendWork
from xenbackup.dom0.simulated.xl_create import make_domain, read_configuration
from xenbackup.dom0.simulated.xl_list import machine_facts
from xenbackup.dom0.simulated.xl_power import disconnect, end_guest, forget_domain
from xenbackup.dom0.simulated.xl_tuning import (
    run_mem_max,
    run_mem_set,
    run_vcpu_pin,
    run_vcpu_set,
)
from xenbackup.dom0.simulated.xm_expressions import ExpressionUnreadable, read_expression

_MISSING = "Error: Domain '{name}' does not exist.\n"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A verb's options and arguments."""

    options: frozenset[str]
    values: Mapping[str, str]
    rest: tuple[str, ...]


def run_xm(session: Session, words: list[str]) -> int:
    """xm VERB …; an unknown verb or option ends with exit 1, as xend's client does."""
    if not words:
        raise ToolFailed(1, "Usage: xm <subcommand> [args]\n")
    verb = _VERBS.get(words[0])
    if verb is None:
        raise ToolFailed(
            1, f"Error: Sub Command {words[0]} not found!\nUsage: xm <subcommand> [args]\n"
        )
    act, short, long = verb
    try:
        given, rest = getopt.gnu_getopt(words[1:], short, list(long))
    except getopt.GetoptError as error:
        raise ToolFailed(1, f"Error: {error.msg}\nUsage: xm {words[0]}\n") from None
    session.spend(0.2)
    xend.finish_works(session)
    call = Call(options=frozenset(name for name, _ in given), values=dict(given), rest=tuple(rest))
    return act(session, call)


def _domain(session: Session, call: Call) -> Domain:
    if not call.rest:
        raise ToolFailed(1, "Error: 'xm' requires at least 1 argument.\n")
    name = call.rest[0]
    for domain in session.state.domains:
        if name in (str(domain.domid), xend.shown_name(session, domain)):
            return domain
    raise ToolFailed(1, _MISSING.format(name=name))


def _list(session: Session, call: Call) -> int:
    chosen = [_domain(session, call)] if call.rest and call.rest[0] != "0" else None
    running = list(session.state.domains) if chosen is None else chosen
    stopped = _list_stopped(session) if chosen is None else []
    clock_ns = session.state.clock_ns
    if call.options & {"-l", "--long"}:
        if chosen is None:
            session.out(xm_texts.long_domain_zero(session.state))
        for domain in running:
            session.out(xm_texts.long_form(domain, xend.shown_name(session, domain), clock_ns))
        for configuration in stopped:
            session.out(xm_texts.long_form_stopped(configuration))
        return 0
    session.out(xm_texts.LIST_HEADER)
    if chosen is None:
        session.out(xm_texts.list_row_of_domain_zero(session.state))
    for domain in running:
        session.out(xm_texts.list_row(domain, xend.shown_name(session, domain), clock_ns))
    for configuration in stopped:
        session.out(xm_texts.list_row_stopped(configuration))
    return 0


def _list_stopped(session: Session) -> list[dict[str, object]]:
    folder = session.store.directory / "etc" / "xen"
    running = {domain.name for domain in session.state.domains}
    found = []
    say, session.err = session.err, lambda text: None
    try:
        for path in sorted(folder.glob("*.cfg")):
            configuration = read_configuration(session, f"/etc/xen/{path.name}")
            creation = configuration["c_info"]
            if isinstance(creation, dict) and creation["name"] not in running:
                found.append(configuration)
    finally:
        session.err = say
    return found


def _info(session: Session, call: Call) -> int:
    facts = machine_facts(session.state)
    del facts["xen_version"]  # xm leaves it to its reader
    facts["xen_scheduler"] = "credit"
    session.out("".join(f"{key:<23}: {value}\n" for key, value in facts.items()))
    return 0


def _pause(session: Session, call: Call) -> int:
    _domain(session, call).pauses += 1
    session.boundary("paused")
    return 0


def _unpause(session: Session, call: Call) -> int:
    domain = _domain(session, call)
    domain.pauses = max(domain.pauses - 1, 0)
    session.wake_guest(domain)
    session.boundary("unpaused")
    return 0


def _destroy(session: Session, call: Call) -> int:
    domain = _domain(session, call)
    domid = domain.domid
    disconnect(domain)
    domain.dying = True
    xend.begin_work(session, XendWork(kind="destroy", domid=domid))
    session.boundary("dying")
    session.spend(0.2)
    forget_domain(session, domid)
    xend.end_work(session, domid)
    return 0


def _create(session: Session, call: Call) -> int:
    path, configuration = _read_settings(session, "create", call)
    if call.options & {"-n", "--dryrun"}:
        session.out(f'Using config file "{path}".\n')
        session.out(xm_texts.long_form_stopped(configuration))
        return 0
    paused = bool(call.options & {"-p", "--paused"})
    domid = make_domain(session, configuration, exit_code=1)
    xend.begin_work(session, XendWork(kind="create", domid=domid, keep=paused))
    session.boundary("built")
    domain = session.domain(domid)
    if not paused:
        xend.let_go(session, domid)
    xend.end_work(session, domid)
    session.out(f'Using config file "{path}".\nStarted domain {domain.name} (id={domid})\n')
    return 0


def _new(session: Session, call: Call) -> int:
    """Make a guest known to xend: here, a file in /etc/xen."""
    path, configuration = _read_settings(session, "new", call)
    creation = configuration["c_info"]
    name = creation["name"] if isinstance(creation, dict) else ""
    known = session.place(f"/etc/xen/{name}.cfg")
    content = session.place(path).read_bytes()
    if not known.exists():
        known.write_bytes(content)
    session.out(f'Using config file "{path}".\n')
    return 0


def _read_settings(session: Session, verb: str, call: Call) -> tuple[str, dict[str, object]]:
    """Path and content of a file of settings, or of the S-expression that -F names."""
    path = call.values.get("-F") or call.values.get("--config") or ""
    if not path:
        if not call.rest:
            raise ToolFailed(1, f"Error: 'xm {verb}' requires at least 1 argument.\n")
        say, session.err = session.err, lambda text: None
        try:
            return call.rest[0], read_configuration(session, call.rest[0])
        except ToolFailed:
            raise ToolFailed(1, f"Error: Unable to open config file: {call.rest[0]}\n") from None
        finally:
            session.err = say
    try:
        return path, read_expression(session.place(path).read_text(errors="surrogateescape"))
    except OSError:
        raise ToolFailed(1, f"Error: Cannot read file {path}\n") from None
    except ExpressionUnreadable as error:
        raise ToolFailed(1, f"Error: {error}\n") from None


def _save(session: Session, call: Call) -> int:
    if len(call.rest) != 2:
        raise ToolFailed(1, "Error: 'xm save' requires 2 arguments.\n")
    keep = bool(call.options & {"-c", "--checkpoint"})
    if keep and session.state.xen_version < (3, 1):
        raise ToolFailed(1, "Error: option -c not recognized\nUsage: xm save\n")
    return xm_images.save_domain(session, _domain(session, call).domid, call.rest[1], keep=keep)


def _restore(session: Session, call: Call) -> int:
    if len(call.rest) != 1:
        raise ToolFailed(1, "Error: 'xm restore' requires 1 argument.\n")
    paused = bool(call.options & {"-p", "--paused"})
    return xm_images.restore_domain(session, call.rest[0], paused=paused)


def _sysrq(session: Session, call: Call) -> int:
    _domain(session, call)
    return 0


def _shutdown(session: Session, call: Call) -> int:
    end_guest(session, _domain(session, call), "poweroff")
    return 0


def _reboot(session: Session, call: Call) -> int:
    end_guest(session, _domain(session, call), "reboot")
    return 0


def _domid(session: Session, call: Call) -> int:
    session.out(f"{_domain(session, call).domid}\n")
    return 0


def _domname(session: Session, call: Call) -> int:
    session.out(f"{_domain(session, call).name}\n")
    return 0


def _vcpu_list(session: Session, call: Call) -> int:
    chosen = [_domain(session, call)] if call.rest else list(session.state.domains)
    session.out(xm_texts.VCPU_HEADER)
    for domain in chosen:
        session.out(xm_texts.vcpu_rows(domain, session.state.cpus))
    return 0


def _vcpu_pin(session: Session, call: Call) -> int:
    _domain(session, call)
    return run_vcpu_pin(session, list(call.rest))


def _vcpu_set(session: Session, call: Call) -> int:
    _domain(session, call)
    return run_vcpu_set(session, list(call.rest))


def _mem_set(session: Session, call: Call) -> int:
    _domain(session, call)
    return run_mem_set(session, list(call.rest))


def _mem_max(session: Session, call: Call) -> int:
    _domain(session, call)
    return run_mem_max(session, list(call.rest))


def _sched_credit(session: Session, call: Call) -> int:
    if "-d" not in call.values:
        raise ToolFailed(1, "Error: 'xm sched-credit' needs a domain.\n")
    domain = _domain(session, Call(options=frozenset(), values={}, rest=(call.values["-d"],)))
    weight, cap = call.values.get("-w"), call.values.get("-c")
    if weight is None and cap is None:
        session.out(xm_texts.credit_table(domain))
        return 0
    domain.weight = int(weight) if weight is not None else domain.weight
    domain.cap = int(cap) if cap is not None else domain.cap
    return 0


def _pci_list(session: Session, call: Call) -> int:
    for number, slot in enumerate(_domain(session, call).pci):
        session.out(("Vdev Device\n" if number == 0 else "") + f"{number:02x}.0 {slot}\n")
    return 0


_Verb = tuple[Callable[[Session, Call], int], str, Sequence[str]]
_VERBS: Mapping[str, _Verb] = {
    "list": (_list, "l", ("long", "label", "state=")),
    "info": (_info, "c", ("config",)),
    "pause": (_pause, "", ()),
    "unpause": (_unpause, "", ()),
    "destroy": (_destroy, "", ()),
    "create": (_create, "npqcF:", ("dryrun", "paused", "quiet", "config=")),
    "new": (_new, "qF:", ("quiet", "config=")),
    "save": (_save, "cf", ("checkpoint", "force")),
    "restore": (_restore, "p", ("paused",)),
    "sysrq": (_sysrq, "", ()),
    "shutdown": (_shutdown, "aw", ()),
    "reboot": (_reboot, "aw", ()),
    "domid": (_domid, "", ()),
    "domname": (_domname, "", ()),
    "vcpu-list": (_vcpu_list, "", ()),
    "vcpu-pin": (_vcpu_pin, "", ()),
    "vcpu-set": (_vcpu_set, "", ()),
    "mem-set": (_mem_set, "", ()),
    "mem-max": (_mem_max, "", ()),
    "sched-credit": (_sched_credit, "d:w:c:", ("domain=", "weight=", "cap=")),
    "pci-list": (_pci_list, "", ()),
}
