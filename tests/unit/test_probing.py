"""Questions that may hang keep nobody, and are not asked again while they do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from xenbackup.errors import CommandFailed
from xenbackup.model.status import PlaceState
from xenbackup.model.volume import VolumeGroup
from xenbackup.operations.probing import (
    Probe,
    Room,
    look_at_folder,
    look_at_folders,
    look_at_groups,
)
from xenbackup.storage.images import ImagesDestination


def make_destination(folder: Path) -> Path:
    destination = ImagesDestination(folder, "local")
    destination.initialise()
    destination.close()
    return folder


class HangingStatvfs:
    """`statvfs` that hangs on one folder until it is released, as on a file server that is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.released = threading.Event()
        self.asked = 0
        self._real = os.statvfs

    def __call__(self, path: Path) -> os.statvfs_result:
        if path == self.folder:
            self.asked += 1
            self.released.wait(60)
        return self._real(path)


def test_a_marked_folder_tells_its_room(tmp_path: Path) -> None:
    room = look_at_folder(make_destination(tmp_path / "backup"))
    assert PlaceState.PRESENT is room.state
    assert room.free_bytes is not None
    assert room.total_bytes is not None
    assert 0 <= room.free_bytes <= room.total_bytes


def test_a_folder_that_is_mounted_read_only_is_there_and_has_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, statvfs = make_destination(tmp_path / "backup"), os.statvfs
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((*statvfs(path)[:8], os.ST_RDONLY, 255))
    )
    room = look_at_folder(folder)
    assert PlaceState.PRESENT is room.state
    assert f"{folder} is mounted read-only: no point can be made there." == room.problem


def test_each_way_of_not_being_usable_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert [PlaceState.UNMARKED, PlaceState.UNREADABLE, PlaceState.MISSING] == [
        look_at_folder(tmp_path / name).state for name in ("empty", "file", "nothing")
    ]
    assert PlaceState.UNREADABLE is look_at_folder(tmp_path / "file" / "below").state


def test_a_folder_that_hangs_is_silent_and_the_others_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, local = make_destination(tmp_path / "gone"), make_destination(tmp_path / "local")
    hanging = HangingStatvfs(gone)
    monkeypatch.setattr(os, "statvfs", hanging)
    probe = Probe(deadline_seconds=2.0)
    folders = {"offsite": gone, "local": local}
    try:
        states = {name: room.state for name, room in look_at_folders(folders, probe).items()}
        again = look_at_folders({"offsite": gone}, probe)["offsite"]
    finally:
        hanging.released.set()
    assert {"offsite": PlaceState.SILENT, "local": PlaceState.PRESENT} == states
    assert PlaceState.SILENT is again.state
    assert 1 == hanging.asked


def test_a_folder_that_answers_again_is_asked_again(tmp_path: Path) -> None:
    released, ended = threading.Event(), threading.Event()

    def hang() -> int:
        released.wait(60)
        ended.set()
        return 1

    probe = Probe(deadline_seconds=0.05)
    assert {} == probe.ask({"slow": hang})
    released.set()
    assert ended.wait(60)
    patient = 600
    probe.deadline_seconds = 1.0
    answers: dict[str, int] = {}
    while not answers and patient:
        # Its thread may be about to end: what hangs is forgotten as its very last act.
        answers = probe.ask({"slow": hang})
        patient -= 1
    assert {"slow": 1} == answers


def test_who_asks_what_is_being_asked_gets_the_same_answer() -> None:
    """Two rounds that plan in the same second look at one disk that is just waking up."""
    asked, waking = threading.Event(), threading.Event()
    count = 0

    def wake() -> str:
        nonlocal count
        count += 1
        asked.set()
        waking.wait(60)
        return "awake"

    class Watched(Probe):
        begun = 0

        def _begin(self, key: str, question: Callable[[], Any]) -> Any:
            found = super()._begin(key, question)
            self.begun += 1
            if self.begun == 2:
                waking.set()  # not before the second has come to its question
            return found

    probe = Watched(deadline_seconds=60)
    first: list[dict[str, str]] = []
    asker = threading.Thread(target=lambda: first.append(probe.ask({"disk": wake})))
    asker.start()
    assert asked.wait(60)
    assert {"disk": "awake"} == probe.ask({"disk": wake})
    asker.join(60)
    assert [{"disk": "awake"}] == first
    assert 1 == count


def test_what_another_waited_for_in_vain_keeps_nobody() -> None:
    """The deadline of a question begins when it is asked first, by whomever."""
    released = threading.Event()
    probe = Probe(deadline_seconds=0.05)
    assert {} == probe.ask({"gone": released.wait})
    joined: list[float | None] = []

    class Watched(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            joined.append(timeout)
            super().join(timeout)

    probe._open["gone"].thread.__class__ = Watched
    assert {} == probe.ask({"gone": released.wait})
    assert [0.0] == joined
    released.set()


def test_question_whose_thread_cannot_be_made_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Probe(deadline_seconds=60)
    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("no new thread")))
        assert {} == probe.ask({"disk": lambda: "here"})
        short.setattr(threading.Thread, "start", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            probe.ask({"disk": lambda: "here"})
    assert {"disk": "here"} == probe.ask({"disk": lambda: "here"})


def test_question_that_was_interrupted_as_it_began_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread lives, and finds later that it was forgotten: no newer question is lost."""
    probe, released = Probe(deadline_seconds=60), threading.Event()
    begun: list[threading.Thread] = []
    defects: list[object] = []
    start = threading.Thread.start

    def start_and_stop(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading, "excepthook", defects.append)
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(threading.Thread, "start", start_and_stop)
        probe.ask({"disk": lambda: released.wait(60)})
    assert {"disk": "here"} == probe.ask({"disk": lambda: "here"})
    released.set()
    begun[0].join(60)
    assert [] == defects


def test_silence_says_which_folder_and_for_how_long(tmp_path: Path) -> None:
    probe = Probe(deadline_seconds=0.0)
    probe.ask({f"room of {tmp_path}": threading.Event().wait})
    found = look_at_folders({"local": tmp_path}, probe)["local"]
    expected = Room(
        state=PlaceState.SILENT,
        problem=f"{tmp_path} has not answered within 0 seconds. Is its server gone?",
    )
    assert expected == found


def list_groups(*names: str) -> tuple[VolumeGroup, ...]:
    return tuple(
        VolumeGroup(
            name=name, uuid=f"{place}", size_bytes=1 << 30, free_bytes=0, extent_size_bytes=1
        )
        for place, name in enumerate(names)
    )


def test_groups_are_there_or_not_and_listed_once() -> None:
    asked = []

    def ask() -> tuple[VolumeGroup, ...]:
        asked.append(1)
        return list_groups("system", "standby", "twice", "twice")

    wanted = {"a": "standby", "b": "gone", "c": "twice"}
    rooms = look_at_groups(wanted, ask, Probe())
    assert {
        "a": PlaceState.PRESENT,
        "b": PlaceState.MISSING,
        "c": PlaceState.UNREADABLE,
    } == {name: room.state for name, room in rooms.items()}
    assert "There is no volume group 'gone'." == rooms["b"].problem
    assert [1] == asked


def test_lvm_is_not_asked_where_no_destination_is_a_group() -> None:
    def fail() -> tuple[VolumeGroup, ...]:
        raise AssertionError("asked")

    assert {} == look_at_groups({}, fail, Probe())


def test_lvm_that_fails_or_hangs_is_told() -> None:
    released = threading.Event()

    def fail() -> tuple[VolumeGroup, ...]:
        raise CommandFailed("vgs failed.")

    def hang() -> tuple[VolumeGroup, ...]:
        released.wait(60)
        return ()

    failed = look_at_groups({"a": "standby"}, fail, Probe())["a"]
    try:
        silent = look_at_groups({"a": "standby"}, hang, Probe(deadline_seconds=0.1))["a"]
    finally:
        released.set()
    assert (PlaceState.UNREADABLE, PlaceState.SILENT) == (failed.state, silent.state)
    assert "vgs failed." in failed.problem
