"""Problems as a person and as a program read them: alike in `plan`, `run` and `check`."""

from __future__ import annotations

from dataclasses import replace

from xenbackup.cli.page import Page
from xenbackup.cli.text import Colour
from xenbackup.model.printable import show_text
from xenbackup.model.problem import Problem, Severity

_MARKS = {Severity.ERROR: "Error:", Severity.WARNING: "Warning:", Severity.NOTE: "Note:"}
_COLOURS = {Severity.ERROR: Colour.RED, Severity.WARNING: Colour.YELLOW, Severity.NOTE: None}


def report_problem(problem: Problem, page: Page, *, indent: int = 0) -> str:
    """The message with its code, the hint below, all of it `indent` columns from the left."""
    narrow = replace(page, width=page.width - indent)
    text = f"{show_text(problem.message)} ({problem.code})"
    mark, colour = _MARKS[problem.severity], _COLOURS[problem.severity]
    lines = narrow.note(text, mark=mark, colour=colour).split("\n")
    if problem.hint:
        lines += narrow.note(show_text(problem.hint), mark="Hint:").split("\n")
    return "\n".join(f"{' ' * indent}{line}" for line in lines)


def shape_problem(problem: Problem) -> dict[str, object]:
    """A problem in JSON."""
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "subject": problem.subject,
        "message": problem.message,
        "hint": problem.hint,
        "domain": problem.domain,
    }
