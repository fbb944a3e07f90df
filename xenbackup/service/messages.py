"""The message about a night: its subject, its text and its JSON, made from what became of rounds.

Pure: whoever sends it decides when. Names and errors come from outside and are made printable here.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum

from xenbackup.model.amounts import format_duration, format_size
from xenbackup.model.printable import show_text
from xenbackup.model.run import Outcome, RoundResult, RunResult

FORMAT_VERSION = 1
_WIDTH = 78
_MOST_NAMES = 5
_LONGEST_SUBJECT = 150


class Verdict(StrEnum):
    """How the night was, in the word that the subject begins with."""

    OK = "OK"
    PARTLY = "PARTLY"
    FAILED = "FAILED"
    ATTENTION = "ATTENTION"


@dataclass(frozen=True, kw_only=True)
class EndedRound:
    """A round with the time it ended, to be shown by the clock of `zone` (None: the host's)."""

    result: RoundResult
    ended_at: datetime
    zone: tzinfo | None = None


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something somebody must know although no round failed for it. `lost`: for it a job did not
    get its night, or a guest is not as it was.
    """

    text: str
    hint: str = ""
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message: `subject` is one printable line, `text` many, `json` one object. `tells_loss`:
    a round was not good, or a remark is of something `lost`.
    """

    verdict: Verdict
    subject: str
    text: str
    json: bytes
    rounds: int
    tells_loss: bool = False

    @property
    def tells_trouble(self) -> bool:
        return self.verdict is not Verdict.OK


def compose_message(
    hostname: str, rounds: Sequence[EndedRound], remarks: Sequence[Remark] = ()
) -> Message:
    """One message for all of these together."""
    verdict = judge_night(rounds, remarks)
    subject = show_text(_compose_subject(verdict, hostname, rounds, remarks))
    if len(subject) > _LONGEST_SUBJECT:
        subject = subject[: _LONGEST_SUBJECT - 1] + "…"
    parts = [subject, ""]
    for remark in remarks:
        parts += [*_tell("", remark.text, remark.hint), ""]
    for ended in sorted(rounds, key=lambda ended: ended.ended_at):
        parts += [*_tell_round(ended), ""]
    failed = [run.run for ended in rounds for run in _list_failed(ended.result) if run.run]
    if failed:
        parts += [
            "What happened, step by step:",
            *(f"  xenbackup show {show_text(run)}" for run in failed),
        ]
        parts.append("")
    parts.append("How things stand now: xenbackup status")
    return Message(
        verdict=verdict,
        subject=subject,
        text="\n".join(parts) + "\n",
        json=_encode(hostname, verdict, subject, rounds, remarks),
        rounds=len(rounds),
        tells_loss=any(ended.result.outcome is not Outcome.OK for ended in rounds)
        or any(remark.lost for remark in remarks),
    )


def judge_night(rounds: Sequence[EndedRound], remarks: Sequence[Remark]) -> Verdict:
    """FAILED when nothing is good, PARTLY when something is not."""
    outcomes = {ended.result.outcome for ended in rounds}
    if outcomes - {Outcome.OK}:
        runs = [run for ended in rounds for run in ended.result.runs]
        good = any(has_point(run) for run in runs) or Outcome.OK in outcomes
        return Verdict.PARTLY if good else Verdict.FAILED
    return Verdict.ATTENTION if remarks else Verdict.OK


def has_point(run: RunResult) -> bool:
    """Whether the guest was backed up: a `partial` run left a good point, and something undone."""
    return run.outcome in (Outcome.OK, Outcome.PARTIAL)


def _compose_subject(
    verdict: Verdict, hostname: str, rounds: Sequence[EndedRound], remarks: Sequence[Remark]
) -> str:
    if verdict is Verdict.ATTENTION:
        return f"{verdict}: {hostname}: {remarks[0].text}"
    runs = [run for ended in rounds for run in ended.result.runs]
    domains = {run.domain for run in runs}
    failed = sorted({run.domain for run in runs if not has_point(run)})
    if failed:
        return (
            f"{verdict}: {len(failed)} of {_count(len(domains), 'guest')} of {hostname} "
            f"not backed up: {_name_some(failed)}"
        )
    idle = [e.result for e in rounds if not e.result.runs and e.result.outcome is not Outcome.OK]
    broken = sorted({result.job for result in idle})
    if broken:
        word = "job" if len(broken) == 1 else "jobs"
        return f"{verdict}: {word} {', '.join(broken)} of {hostname} did not run"
    unclean = sorted({run.domain for run in runs if run.outcome is Outcome.PARTIAL})
    if unclean:
        return (
            f"{verdict}: {_count(len(domains), 'guest')} of {hostname} backed up, with something "
            f"left undone: {_name_some(unclean)}"
        )
    if not domains:
        return f"{verdict}: no guest of {hostname} was there to be backed up"
    return f"{verdict}: {_count(len(domains), 'guest')} of {hostname} backed up"


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list_failed(result: RoundResult) -> list[RunResult]:
    return [run for run in result.runs if run.outcome is not Outcome.OK]


def _tell_round(ended: EndedRound) -> list[str]:
    result = ended.result
    when = f"{ended.ended_at.astimezone(ended.zone):%Y-%m-%d %H:%M %Z}"
    lines = [f"Job {show_text(result.job)}, ended {when}: {_name_outcome(result.outcome)}"]
    if result.error:
        lines += _tell("  ", result.error, result.hint)
    width = max((len(show_text(run.domain)) for run in result.runs), default=0)
    # What failed is what is looked for.
    for run in sorted(result.runs, key=lambda run: (run.outcome is Outcome.OK, run.domain)):
        lines += _tell_run(run, width)
    return lines


def _tell_run(run: RunResult, width: int) -> list[str]:
    lines = [f"  {show_text(run.domain):{width}}  {_name_outcome(run.outcome):9}  "]
    if has_point(run):
        facts = [fact for fact in (run.preset, run.consistency) if fact]
        facts.append(f"{format_size(run.bytes_written)} in {format_duration(run.duration_seconds)}")
        facts.append(f"away {format_duration(run.away_seconds)}" if run.away_seconds else "")
        lines[0] += ", ".join(show_text(fact) for fact in facts if fact)
    if run.outcome is not Outcome.OK:
        told = _tell("", run.error or "no reason was given", run.hint)
        lines += [f"      {line}" for line in told]
    for warning in run.warnings:
        lines += _wrap("      Warning: ", warning)
    return [line.rstrip() for line in lines]


def _name_outcome(outcome: Outcome) -> str:
    return "ok" if outcome is Outcome.OK else outcome.value.upper()


def _tell(indent: str, text: str, hint: str) -> list[str]:
    return _wrap(indent, text) + (_wrap(f"{indent}Hint: ", hint) if hint else [])


def _wrap(lead: str, text: str) -> list[str]:
    """Lines of at most the width; only what has no blank is longer."""
    lines: list[str] = []
    for part in text.splitlines() or [""]:
        lines += textwrap.wrap(
            show_text(part),
            _WIDTH,
            initial_indent=lead if not lines else " " * len(lead),
            subsequent_indent=" " * len(lead),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _encode(
    hostname: str,
    verdict: Verdict,
    subject: str,
    rounds: Sequence[EndedRound],
    remarks: Sequence[Remark],
) -> bytes:
    """The object that a webhook gets; `text` is the key that most chats show."""
    told = {
        "version": FORMAT_VERSION,
        "host": hostname,
        "verdict": verdict.value.lower(),
        "text": subject,
        "remarks": [{"text": remark.text, "hint": remark.hint} for remark in remarks],
        "rounds": [_list_facts(ended) for ended in rounds],
    }
    # Lone surrogates, of names that are not UTF-8, are escaped: ASCII alone goes out.
    return json.dumps(told, ensure_ascii=True).encode("ascii")


def _list_facts(ended: EndedRound) -> dict[str, object]:
    result = ended.result
    return {
        "round": result.round,
        "job": result.job,
        "outcome": result.outcome.value,
        "ended_at": ended.ended_at.isoformat(),
        "error": result.error,
        "hint": result.hint,
        "runs": list(_list_run_facts(result.runs)),
    }


def _list_run_facts(runs: Iterable[RunResult]) -> Iterable[dict[str, object]]:
    for run in runs:
        yield {
            "run": run.run,
            "domain": run.domain,
            "outcome": run.outcome.value,
            "point": run.point,
            "preset": run.preset,
            "consistency": run.consistency,
            "away_seconds": run.away_seconds,
            "bytes_read": run.bytes_read,
            "bytes_written": run.bytes_written,
            "duration_seconds": run.duration_seconds,
            "warnings": list(run.warnings),
            "error": run.error,
            "hint": run.hint,
        }
