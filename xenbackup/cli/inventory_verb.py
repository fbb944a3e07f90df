"""Verb `inventory`: what this host has and what it allows, configured or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.verb import Verb, suggest_among
from xenbackup.errors import ExitCode, UsageError
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.inventory import Inventory

PARTS = ("disks", "pci", "resources", "drivers")


@click.command(cls=Verb, short_help="Show what this host has, and what it allows.")
@click.argument("part", metavar=f"[{'|'.join(PARTS)}]", required=False, default="")
@click.option("--all", "every", is_flag=True, help="With `pci`: list dom0's own devices too.")
@click.pass_obj
def inventory(invocation: Invocation, part: str, every: bool) -> int:
    """Show what this host has: guests with their disks, PCI devices, resources and drivers.

    Nothing is changed, and nothing needs to be configured.
    """
    if part and part not in PARTS:
        raise UsageError(
            f'The inventory has no part "{show_text(part, limit=80)}".',
            hint=suggest_among(part, PARTS, "the parts are"),
        )
    if every and part != "pci":
        raise UsageError("--all is for PCI devices.", hint="`xenbackup inventory pci --all`")
    tools = invocation.open_tools()
    found = tools.read_inventory()
    if invocation.json:
        from xenbackup.cli.inventory_shapes import shape_inventory

        invocation.output.emit(shape_inventory(found, tools.toolstack.name, part))
    else:
        invocation.output.say(_report(invocation, found, tools.toolstack.name, part, every))
    return int(ExitCode.GOOD)


def _report(
    invocation: Invocation, found: Inventory, toolstack: str, part: str, every: bool
) -> str:
    from xenbackup.cli import inventory_guest_tables as guest_tables
    from xenbackup.cli import inventory_tables as tables

    page = invocation.page
    match part:
        case "disks":
            text = tables.report_disks(found, page)
        case "pci":
            text = tables.report_pci(found, page, every=every)
        case "resources":
            text = guest_tables.report_resources(found, page)
        case "drivers":
            text = guest_tables.report_drivers(found, page)
        case _:
            return guest_tables.report_summary(found, toolstack, page)
    # A guest that is missing from a table must not be missed in silence.
    remarks = [tables.warn(page, remark) for remark in guest_tables.list_broken_files(found)]
    return "\n".join((text, "", *remarks)) if remarks else text
