"""What the daemon asks of the command line's own rendering, so that it never imports that."""

from __future__ import annotations

from typing import Protocol

from xenbackup.model.plan import Plan
from xenbackup.operations.house import House
from xenbackup.service.control.protocol import Layout, PageRequest


class RenderedPage(Protocol):
    """What a verb printed, and its exit code."""

    @property
    def exit_code(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class Pages(Protocol):
    """Renders verbs as the command line would. Called from several threads."""

    def render(self, house: House, request: PageRequest) -> RenderedPage: ...

    def tell_plan(self, plan: Plan, layout: Layout) -> str:
        """The plan as `run` shows it before it begins; "" for a program."""
