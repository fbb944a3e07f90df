"""The verbs there are, in the order in which `--help` lists them."""

from __future__ import annotations

import click

from xenbackup.cli.backup_verbs import plan, run
from xenbackup.cli.check_verb import check
from xenbackup.cli.config_verbs import config
from xenbackup.cli.demo_verb import demo
from xenbackup.cli.destination_verbs import destination
from xenbackup.cli.init_verb import init
from xenbackup.cli.inventory_verb import inventory
from xenbackup.cli.point_verbs import points, verify
from xenbackup.cli.recover_verb import recover
from xenbackup.cli.restore_verb import restore
from xenbackup.cli.run_verbs import runs, show

VERBS: tuple[click.Command, ...] = (
    demo,
    init,
    inventory,
    check,
    plan,
    run,
    runs,
    show,
    points,
    restore,
    verify,
    recover,
    destination,
    config,
)
