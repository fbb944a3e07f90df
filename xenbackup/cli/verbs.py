"""The verbs there are, in the order in which `--help` lists them."""

from __future__ import annotations

import click

from xenbackup.cli.backup_verbs import plan, run
from xenbackup.cli.cancel_verb import cancel
from xenbackup.cli.check_verb import check
from xenbackup.cli.config_verbs import config
from xenbackup.cli.daemon_verb import daemon
from xenbackup.cli.demo_verb import demo
from xenbackup.cli.destination_verbs import destination
from xenbackup.cli.init_verb import init
from xenbackup.cli.inventory_verb import inventory
from xenbackup.cli.pin_verbs import pin, unpin
from xenbackup.cli.point_verbs import points, verify
from xenbackup.cli.prune_verb import prune
from xenbackup.cli.recover_verb import recover
from xenbackup.cli.reload_verb import reload
from xenbackup.cli.restore_verb import restore
from xenbackup.cli.run_verbs import runs, show
from xenbackup.cli.status_verb import status

VERBS: tuple[click.Command, ...] = (
    demo,
    init,
    inventory,
    check,
    plan,
    run,
    status,
    runs,
    show,
    cancel,
    points,
    pin,
    unpin,
    prune,
    restore,
    verify,
    recover,
    daemon,
    reload,
    destination,
    config,
)
