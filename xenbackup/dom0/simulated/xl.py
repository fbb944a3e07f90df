"""The simulated `xl`: its verbs, and how it refuses what it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xenbackup.dom0.simulated import xl_create, xl_list, xl_power, xl_restore, xl_save, xl_tuning
from xenbackup.dom0.simulated.session import Session, ToolFailed

Verb = Callable[[Session, list[str]], int]

VERBS: Mapping[str, Verb] = {
    "list": xl_list.run_list,
    "info": xl_list.run_info,
    "domid": xl_list.run_domid,
    "domname": xl_list.run_domname,
    "uptime": xl_list.run_uptime,
    "vm-list": xl_list.run_vm_list,
    "pci-list": xl_list.run_pci_list,
    "pci-assignable-list": xl_list.run_pci_assignable_list,
    "pause": xl_power.run_pause,
    "unpause": xl_power.run_unpause,
    "destroy": xl_power.run_destroy,
    "shutdown": xl_power.run_shutdown,
    "reboot": xl_power.run_reboot,
    "rename": xl_power.run_rename,
    "sysrq": xl_power.run_sysrq,
    "create": xl_create.run_create,
    "save": xl_save.run_save,
    "restore": xl_restore.run_restore,
    "vcpu-list": xl_tuning.run_vcpu_list,
    "vcpu-pin": xl_tuning.run_vcpu_pin,
    "vcpu-set": xl_tuning.run_vcpu_set,
    "cpupool-list": xl_tuning.run_cpupool_list,
    "sched-credit": xl_tuning.run_sched_credit,
    "sched-credit2": xl_tuning.run_sched_credit2,
    "mem-set": xl_tuning.run_mem_set,
    "mem-max": xl_tuning.run_mem_max,
}


def run_xl(session: Session, words: list[str]) -> int:
    """xl [-v] [-f] [-N] VERB …; a verb that it does not know ends with exit 1."""
    dry_run = False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "-N":
            dry_run = True
        elif option not in ("-v", "-vv", "-vvv", "-f", "-t", "-T"):
            raise ToolFailed(
                1, f"xl: invalid option -- '{option.lstrip('-')[:1]}'\nunknown global option\n"
            )
    if not words:
        raise ToolFailed(1, "Usage xl [-vfNtT] <subcommand> [args]\n")
    verb = VERBS.get(words[0])
    if verb is None:
        raise ToolFailed(1, "command not implemented\n")
    rest = words[1:]
    if dry_run and words[0] == "create":
        rest = ["-n", *rest]
    return verb(session, rest)
