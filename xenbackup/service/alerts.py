"""Apprise, an extra: imported when a message goes out and not before, since it is large."""

from __future__ import annotations

import importlib
from typing import Any

from xenbackup.errors import TellingFailed
from xenbackup.model.job import Apprise
from xenbackup.operations.tellable import APPRISE_HINT, APPRISE_LIBRARY, tell_absence_of_apprise
from xenbackup.service.messages import Message
from xenbackup.system.extras import is_library_there, open_extras

LIBRARY = APPRISE_LIBRARY


def is_installed() -> bool:
    """Whether the library is there, without paying for its import."""
    return is_library_there(LIBRARY)


def tell_absence() -> TellingFailed:
    return TellingFailed(tell_absence_of_apprise(), hint=APPRISE_HINT)


def send_alert(apprise: Apprise, message: Message) -> None:
    """Raises: TellingFailed; the URLs, which hold passwords, are named by their place alone."""
    open_extras()
    try:
        library: Any = importlib.import_module(LIBRARY)
    except ImportError as error:
        raise tell_absence() from error
    sender = library.Apprise()
    for number, url in enumerate(apprise.urls, start=1):
        if not sender.add(url):
            raise TellingFailed(
                f"Apprise does not know what to do with entry {number} of `urls`.",
                hint="its documentation lists how each service is spelled",
            )
    if sender.notify(title=message.subject, body=message.text) is not True:
        raise TellingFailed(
            "Apprise could not deliver the message everywhere.",
            hint="the log has its own words; try `apprise --body test URL`",
            may_pass=True,
        )
