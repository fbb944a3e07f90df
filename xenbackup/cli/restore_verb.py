"""Verb `restore`: a recovery point back onto disks, and the guest back into its memory."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from xenbackup.cli.invocation import Invocation
from xenbackup.cli.output import SCHEMA, Output
from xenbackup.cli.page import Page
from xenbackup.cli.progress import ProgressBar
from xenbackup.cli.stopping import StopRequest
from xenbackup.cli.text import Colour, format_duration, format_size
from xenbackup.cli.verb import Verb
from xenbackup.errors import ExitCode, UsageError
from xenbackup.model.printable import show_text

if TYPE_CHECKING:
    from xenbackup.model.restore import DiskPlacement, RestorePlan, RestoreResult

_STOPPING = (
    "the restore ends at the next block. Disks that were begun hold neither the old nor the new; "
    "the same restore again completes them."
)


@click.command(cls=Verb, short_help="Bring back a recovery point.")
@click.argument("point", metavar="POINT")
@click.option("--domain", metavar="NAME", default="", help="Restore as another guest, NAME.")
@click.option("--volume-group", metavar="VG", default="", help="Make its volumes in this group.")
@click.option("--image-dir", metavar="DIR", default="", help="Make image files in this folder.")
@click.option(
    "--disk", "disks", metavar="VDEV=PATH", multiple=True, help="Put one disk there; repeatable."
)
@click.option("--memory", is_flag=True, help="Bring the guest back exactly where it was.")
@click.option("--start", is_flag=True, help="Let it run: resumed with --memory, else booted.")
@click.option("--overwrite", is_flag=True, help="Write onto disks that hold something else, too.")
@click.option("--whole", is_flag=True, help="Write every block, even where it is right already.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop there.")
@click.pass_obj
def restore(  # noqa: PLR0917 - click hands over every option by its name
    invocation: Invocation,
    point: str,
    domain: str,
    volume_group: str,
    image_dir: str,
    disks: tuple[str, ...],
    memory: bool,
    start: bool,
    overwrite: bool,
    whole: bool,
    dry_run: bool,
) -> int:
    """Restore a recovery point: an id, a unique beginning of one, or DOMAIN@latest.

    Without options every disk goes back to where it came from; the guest must be off. Volumes that
    are missing are made; those too small, in use or foreign are refused, and nothing is touched.
    """
    from xenbackup.model.restore import RestoreOptions, SilentRestoreWatcher
    from xenbackup.operations.points import find_point
    from xenbackup.operations.restore import plan_restore, restore_point

    if volume_group and image_dir:
        raise UsageError(
            "--volume-group and --image-dir contradict each other.", hint="keep one of the two"
        )
    options = RestoreOptions(
        domain=domain,
        volume_group=volume_group,
        image_folder=_check_absolute("--image-dir", image_dir) if image_dir else "",
        disks=tuple(_read_placement(text) for text in disks),
        memory=memory,
        start=start,
        overwrite=overwrite,
        whole=whole,
    )
    house = invocation.open_house()
    with StopRequest(_STOPPING) as stop:
        found = find_point(house, point)
        for message in found.warnings:
            invocation.warn(message)
        plan = plan_restore(house, found, options)
        if dry_run:
            return _show_plan(invocation, plan)
        if not invocation.json:
            invocation.output.say(report_restore_plan(plan, invocation.page))
            invocation.output.say()
        watcher = (
            SilentRestoreWatcher()
            if invocation.json
            else PersonRestoreWatcher(invocation.output, draws=invocation.person_on_stderr)
        )
        result = restore_point(house, plan, watcher, stop.reason)
    if invocation.json:
        invocation.output.emit(shape_restore(result))
    else:
        invocation.output.say()
        invocation.output.say(report_restore(result, invocation.page))
        for message in result.warnings:
            if message not in plan.warnings:
                invocation.warn(message)
    return int(ExitCode.GOOD)


def _read_placement(text: str) -> DiskPlacement:
    """`xvda=/dev/xenvols/web_root`. Raises: UsageError."""
    from xenbackup.model.restore import DiskPlacement

    vdev, equals, path = text.partition("=")
    if not equals or not vdev or not path:
        raise UsageError(
            f'--disk is "{show_text(text)}", expected VDEV=PATH.',
            hint="as in `--disk xvda=/dev/xenvols/web_root`",
        )
    return DiskPlacement(vdev=vdev, path=_check_absolute(f"--disk {vdev}", path))


def _check_absolute(option: str, path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(
            f'{option} names "{show_text(path)}", expected a path that begins with /.',
            hint="spell the path out: it is one of the host's",
        )
    return path


class PersonRestoreWatcher:
    """A line on stderr for each act, and a bar meanwhile where `draws`."""

    def __init__(self, output: Output, *, draws: bool) -> None:
        self._output = output
        self._bar = ProgressBar(sys.stderr, time.monotonic) if draws else None
        self._shown = ""

    def restore_began(self, plan: RestorePlan) -> None:
        """The plan was told already."""

    def act_began(self, what: str) -> None:
        self._clear()
        self._output.remark(show_text(what))

    def amount_done(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            return
        if what != self._shown:
            self._shown = what
            self._bar.begin(what, total)
        self._bar.update(done, total)

    def warned(self, message: str) -> None:
        """Told under the result, where it is not overlooked."""

    def restore_ended(self, result: RestoreResult) -> None:
        self._clear()

    def _clear(self) -> None:
        self._shown = ""
        if self._bar is not None:
            self._bar.clear()


def _show_plan(invocation: Invocation, plan: RestorePlan) -> int:
    if invocation.json:
        invocation.output.emit(shape_restore_plan(plan))
    else:
        invocation.output.say(report_restore_plan(plan, invocation.page))
    return int(ExitCode.GOOD)


def report_restore_plan(plan: RestorePlan, page: Page) -> str:
    """Where each disk goes and what becomes of it, then the guest."""
    source = plan.manifest
    rows = [
        (
            target.disk.vdev,
            format_size(target.disk.size_bytes),
            f"create thin in {target.pool}" if target.pool else target.act.value,
            target.path,
        )
        for target in plan.targets
    ]
    parts = [
        page.note(
            f"Restore of {show_text(source.domain)} from {source.point} in {plan.destination}"
            + (f", as {show_text(plan.domain)}" if not plan.in_place else "")
            + (", completing the one that was interrupted" if plan.completes else "")
            + "."
        ),
        "",
        page.table(("DISK", "SIZE", "ACT", "TARGET"), rows, "lr"),
        "",
        page.note(_tell_guest_plan(plan)),
    ]
    parts += [
        page.note(show_text(message), mark="Warning:", colour=Colour.YELLOW)
        for message in plan.warnings
    ]
    return "\n".join(parts)


def _tell_guest_plan(plan: RestorePlan) -> str:
    name = show_text(plan.domain)
    if plan.memory:
        end = "and run on" if plan.start else "and stay paused"
        return f"{name} will be brought back where it was, with its memory, {end}."
    if plan.start:
        return f"{name} will be booted from the restored disks."
    return f"{name} will not be started."


def report_restore(result: RestoreResult, page: Page) -> str:
    """What came of it."""
    rows = [
        (
            disk.vdev,
            format_size(disk.size_bytes),
            format_size(disk.bytes_written),
            format_size(disk.same_bytes),
            disk.path,
        )
        for disk in result.disks
    ]
    name = show_text(result.domain)
    guest = f"{name}: {result.guest.value}"
    if result.domid is not None:
        guest += f" as domain {result.domid}"
    if result.memory:
        guest += ", with its memory"
    parts = [
        page.table(("DISK", "SIZE", "WRITTEN", "RIGHT BEFORE", "TARGET"), rows, "lrrr"),
        "",
        page.note(f"{guest}. Restored in {format_duration(result.duration_seconds)}."),
    ]
    if result.configuration_path:
        parts.append(page.note(f"Its configuration for xl: {result.configuration_path}"))
    return "\n".join(parts)


def shape_restore_plan(plan: RestorePlan) -> dict[str, object]:
    """What `restore --dry-run --json` prints."""
    return {
        "schema": SCHEMA,
        "point": plan.manifest.point,
        "destination": plan.destination,
        "domain": plan.domain,
        "uuid": plan.uuid,
        "memory": plan.memory,
        "start": plan.start,
        "completes": plan.completes,
        "disks": [
            {
                "vdev": target.disk.vdev,
                "path": target.path,
                "act": target.act.value,
                "pool": target.pool,
                "size_bytes": target.disk.size_bytes,
            }
            for target in plan.targets
        ],
        "warnings": list(plan.warnings),
    }


def shape_restore(result: RestoreResult) -> dict[str, object]:
    """What `restore --json` prints."""
    return {
        "schema": SCHEMA,
        "restore": result.restore,
        "point": result.point,
        "destination": result.destination,
        "domain": result.domain,
        "uuid": result.uuid,
        "guest": result.guest.value,
        "domid": result.domid,
        "memory": result.memory,
        "configuration_path": result.configuration_path,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "duration_seconds": result.duration_seconds,
        "disks": [
            {
                "vdev": disk.vdev,
                "path": disk.path,
                "act": disk.act.value,
                "size_bytes": disk.size_bytes,
                "bytes_written": disk.bytes_written,
                "same_bytes": disk.same_bytes,
            }
            for disk in result.disks
        ],
        "warnings": list(result.warnings),
    }
