"""What the guests say: how far each has counted, and every corruption that one found."""

from __future__ import annotations

from dataclasses import dataclass

from xenbackup.dom0.simulated.host import SimulatedHost
from xenbackup.dom0.simulated.session import Machine
from xenbackup.dom0.simulated.state import Domain


@dataclass(frozen=True, kw_only=True)
class OracleReport:
    """Corruptions by guest; `text` is what `oracle` prints."""

    corruptions: dict[str, tuple[str, ...]]
    text: str


def read_oracle(host: SimulatedHost) -> OracleReport:
    """Ask every guest that the host ever ran."""
    with host.machine() as machine:
        state = machine.state
        corruptions = {
            name: tuple(program.corruptions)
            for name, program in sorted(state.programs.items())
            if program.corruptions
        }
        lines = []
        for name in sorted({*state.programs, *(domain.name for domain in state.domains)}):
            domain = next((d for d in state.domains if d.name == name), None)
            lines.append(f"{name}: {_describe(machine, domain)}")
            lines += [f"  CORRUPT {text}" for text in corruptions.get(name, ())]
    return OracleReport(corruptions=corruptions, text="".join(f"{line}\n" for line in lines))


def _describe(machine: Machine, domain: Domain | None) -> str:
    if domain is None:
        return "not running"
    counter = domain.ram.counter if domain.ram is not None else 0
    condition = "running"
    if domain.pauses:
        condition = "paused"
    elif domain.shutdown:
        condition = f"shut down ({domain.shutdown})"
    elif domain.blocked:
        condition = "waiting for its disks"
    return f"{condition}, domid {domain.domid}, count {counter}"
