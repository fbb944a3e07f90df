"""Problems: what is wrong with a host or a job before anything is begun."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error refuses; a warning lets it go on and is said; a note is only worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding. `code` is documented in docs/problems.md; `subject` names the thing it is about.

    `domain` is the guest that it concerns ("" for the host, a destination, or the whole job): an
    error with a domain refuses that guest alone, one without refuses the job.
    """

    severity: Severity
    code: str
    subject: str
    message: str
    hint: str = ""
    domain: str = ""
