"""The webhook: the message as one JSON object."""

from __future__ import annotations

from xenbackup.model.job import Webhook
from xenbackup.service.messages import Message
from xenbackup.service.web import TIMEOUT_SECONDS, call_url


def send_webhook(
    webhook: Webhook, message: Message, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> None:
    """Raises: TellingFailed."""
    call_url(webhook.url, body=message.json, timeout_seconds=timeout_seconds)
