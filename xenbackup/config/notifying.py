"""`[notify]` and its tables in `config.toml`."""

from __future__ import annotations

from xenbackup.config.keys import Section
from xenbackup.config.outside import read_address, read_apprise_url, read_url
from xenbackup.config.table import TableReader
from xenbackup.config.values import Choice
from xenbackup.model.job import Apprise, Mail, Notify, Ping, TellWhen, Webhook

_WHEN = Choice(tuple(when.value for when in TellWhen))


def read_notify(reader: TableReader) -> Notify:
    notify = reader.open_table("notify", Section.NOTIFY)
    mail = _open_table(notify, "mail", Section.MAIL)
    webhook = _open_table(notify, "webhook", Section.WEBHOOK)
    ping = _open_table(notify, "ping", Section.PING)
    apprise = _open_table(notify, "apprise", Section.APPRISE)
    return Notify(
        mail=_read_mail(mail) if mail else None,
        webhook=_read_webhook(webhook) if webhook else None,
        ping=Ping(url=ping.read_required("url", read_url, "")) if ping else None,
        apprise=_read_apprise(apprise) if apprise else None,
    )


def _open_table(notify: TableReader, name: str, section: Section) -> TableReader | None:
    """The table's reader; None where there is none, or something else of that name is noted."""
    if not notify.has(name):
        return None
    table = notify.open_table(name, section)
    return table if isinstance(notify.get(name), dict) else None


def _read_mail(table: TableReader) -> Mail:
    return Mail(
        to=table.read_list("to", read_address, required=True, hint='to = ["root"] will do'),
        sender=table.read("sender", read_address, ""),
        when=_read_when(table, Mail(to=()).when),
    )


def _read_webhook(table: TableReader) -> Webhook:
    return Webhook(
        url=table.read_required("url", read_url, ""), when=_read_when(table, Webhook(url="").when)
    )


def _read_apprise(table: TableReader) -> Apprise:
    return Apprise(
        urls=table.read_list("urls", read_apprise_url, required=True),
        when=_read_when(table, Apprise(urls=()).when),
    )


def _read_when(table: TableReader, default: TellWhen) -> TellWhen:
    return TellWhen(table.read("when", _WHEN, default.value))
