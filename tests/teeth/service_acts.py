"""Teeth of the daemon: what keeps a night, a guest and a stop safe, whatever dies in between."""

from __future__ import annotations

from tests.teeth.tooth import Tooth

THREADS = "tests/service/test_threads.py"
RECOVERY = "tests/service/test_recovery.py"
RELOAD = "tests/service/test_daemon_reload.py"
ATTENTION = "tests/unit/test_attention.py"
QUEUE = "tests/unit/test_queueing.py"
JOURNALS = "tests/pipeline/test_unwritable_journals_on_simulation.py"

SERVICE_TEETH = (
    Tooth(
        name="points-of-configured-destinations",
        act="a guest is good only by points in a destination that is configured",
        file="planning/counted_points.py",
        text="    points = [point for point in points if point.destination in destinations]\n",
        instead="",
        tests=(
            "tests/unit/test_status_gathered.py::"
            "test_no_guest_is_good_by_a_point_in_a_destination_that_is_not_configured",
        ),
    ),
    Tooth(
        name="one-question-for-two",
        act="who asks what is being asked at this moment waits for the same answer",
        file="operations/probing.py",
        text="                return self._open[key]\n",
        instead="                return None\n",
        tests=(
            "tests/unit/test_probing.py::test_who_asks_what_is_being_asked_gets_the_same_answer",
        ),
    ),
    Tooth(
        name="schedules-of-a-folder-unread",
        act="a folder of jobs that cannot be listed ends no schedule",
        file="service/agenda.py",
        text=' and name not in broken and "" not in broken:\n',
        instead=" and name not in broken:\n",
        tests=(
            "tests/unit/test_agenda.py::"
            "test_job_whose_file_was_broken_while_the_daemon_started_has_missed_its_night",
        ),
    ),
    Tooth(
        name="one-daemon",
        act="a host has one daemon at a time",
        file="service/daemon.py",
        text='    with durable.FileLock(state / LOCK_FILE, "run the daemon"):\n',
        instead="    if state:\n",
        tests=(
            "tests/service/test_daemon_life.py::test_second_daemon_is_refused_and_the_first_goes_on",
        ),
    ),
    Tooth(
        name="recovery-first",
        act="the daemon brings guests back before it does anything else",
        file="service/daemon.py",
        text="        self._recovery.recover_first()\n        for",
        instead="        for",
        tests=(f"{RECOVERY}::test_guests_of_a_dead_daemon_are_back_before_the_next_one_is_ready",),
    ),
    Tooth(
        name="recovery-again",
        act="a recovery that left something wakes whoever begins the next one",
        file="service/recovery.py",
        text="            self._on_change()\n",
        instead="            pass\n",
        tests=(
            f"{RECOVERY}::test_recovery_that_left_something_wakes_whoever_sleeps_until_the_next",
        ),
    ),
    Tooth(
        name="recovery-of-each",
        act="a run that cannot be recovered keeps no other guest waiting",
        file="operations/recover.py",
        text="            _try_recovery(house, run_id, record, watcher)\n",
        instead="            _recover_run(house, run_id, record, watcher)\n",
        tests=(f"{JOURNALS}::test_run_that_cannot_be_recovered_keeps_no_other_guest_waiting",),
    ),
    Tooth(
        name="due-time-claimed",
        act="a round is enqueued only when it has taken its due time",
        file="service/rounds.py",
        text="            if self._claim():\n",
        instead="            if True:\n",
        tests=(
            f"{THREADS}::test_accepted_round_is_written_down_until_it_has_ended",
            f"{THREADS}::test_two_rounds_that_looked_at_once_do_not_both_take_the_due_time",
        ),
    ),
    Tooth(
        name="due-time-taken-once",
        act="of two rounds for one due time the second does not run",
        file="service/rounds.py",
        text=(
            "            if not catalog.claim_due_time("
            "self.job.name, due_at, self.round_id, keep=keep):\n"
        ),
        instead=(
            "            catalog.claim_due_time(self.job.name, due_at, self.round_id, keep=keep)\n"
            "            if False:\n"
        ),
        tests=(f"{THREADS}::test_two_rounds_that_looked_at_once_do_not_both_take_the_due_time",),
    ),
    Tooth(
        name="accepted-round-kept",
        act="an accepted round is on disk before its due time is taken",
        file="service/rounds.py",
        text="            self._keep()\n",
        instead="",
        tests=(f"{THREADS}::test_accepted_round_is_written_down_until_it_has_ended",),
    ),
    Tooth(
        name="accepted-round-left",
        act="the file of a round that a stop cut off stays for the next daemon",
        file="service/rounds.py",
        text="            if self._order.due_at is not None and not left:\n",
        instead="            if self._order.due_at is not None:\n",
        tests=(
            f"{THREADS}::test_round_that_is_stopped_before_its_runs_is_left_for_the_next_daemon",
        ),
    ),
    Tooth(
        name="stop-waits-for-runs",
        act="a daemon that stops waits for its runs, however long that takes",
        file="service/daemon.py",
        text="            if self._queue.list_running() or self._queue.list_waiting():\n",
        instead="            if False:\n",
        tests=(f"{THREADS}::test_runs_are_waited_for_however_long_and_what_surrounds_them_is_not",),
    ),
    Tooth(
        name="reload-all",
        act="one broken job file keeps every old definition",
        file="service/definitions.py",
        text="        if house.jobs.problems:\n",
        instead="        if False:\n",
        tests=(f"{RELOAD}::test_one_broken_file_keeps_everything_and_says_so",),
    ),
    Tooth(
        name="reload-nothing",
        act="definitions that the scheduler does not take are not taken by anybody",
        file="service/definitions.py",
        text="                self.house = old\n",
        instead="",
        tests=(f"{THREADS}::test_reload_that_the_scheduler_refuses_leaves_the_old_definitions",),
    ),
    Tooth(
        name="watchdog-not-fed",
        act="the watchdog is not fed for a run that shows no sign of life",
        file="service/attention.py",
        text="        if stalled:\n",
        instead="        if False:\n",
        tests=(f"{ATTENTION}::test_run_without_a_sign_of_life_is_not_fed_for",),
    ),
    Tooth(
        name="one-run-of-a-guest",
        act="the queue begins no second run of a guest",
        file="planning/queueing.py",
        text="    if found := taken.guests.get(item.identity):\n        return found\n",
        instead="",
        tests=(f"{QUEUE}::test_a_guest_that_is_being_backed_up_is_named_with_its_run",),
    ),
    Tooth(
        name="run-locked",
        act="a run holds the lock of its guest",
        file="operations/backup.py",
        text='            with self.house.lock_domain(identity, f"back up {plan.domain.name}"):\n',
        instead="            if identity:\n",
        tests=(
            f"{THREADS}::test_second_thread_of_the_same_process_does_not_get_a_guest_that_is_in_work",
        ),
    ),
    Tooth(
        name="run-thread-refused",
        act="a run that gets no thread is told to its round, which would wait for ever",
        file="service/workers.py",
        text="            self._conclude(queued, opened, replace(failed, may_pass=True))\n",
        instead="",
        tests=(f"{THREADS}::test_run_that_gets_no_thread_fails_and_its_round_ends",),
    ),
    Tooth(
        name="undo-without-journal",
        act="a guest is brought back also when the journal cannot be written",
        file="pipeline/runner.py",
        text="    context.journal.go_on_unwritten()\n",
        instead="",
        tests=(f"{JOURNALS}::test_guest_is_up_whenever_the_disk_of_the_journals_fills_up[crash]",),
    ),
    Tooth(
        name="journal-cut-back",
        act="half a line is taken off before another one follows it",
        file="records/journal.py",
        text="            self._cut_back()\n",
        instead="",
        tests=(f"{JOURNALS}::test_line_behind_a_failed_one_leaves_a_journal_that_can_be_read",),
    ),
    Tooth(
        name="journal-room",
        act="room for the rest of a journal is set aside before the guest is touched",
        file="records/journal.py",
        text=("        durable.reserve_room(self._descriptor, self._size_bytes, RESERVE_BYTES)\n"),
        instead="",
        tests=(
            f"{JOURNALS}::test_room_for_the_rest_of_a_journal_is_set_aside_before_the_guest_is_touched",
        ),
    ),
)
