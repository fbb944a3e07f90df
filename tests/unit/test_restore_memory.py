"""Whether a saved guest finds its memory again: what it costs, and who could take it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.model.domain import GuestKind
from xenbackup.model.resources import DomainResources, Resources
from xenbackup.planning.memory import (
    predict_restore_memory,
    reckon_need_mib,
    reckon_overhead_mib,
)


def guest(name: str, memory_mib: int, **fields: object) -> DomainResources:
    values: dict[str, object] = {"domid": 3, "maximum_mib": memory_mib, "vcpus": 1, **fields}
    return DomainResources(domain=name, memory_mib=memory_mib, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "vcpus", "overhead_mib", "need_mib"),
    [
        (GuestKind.PV, 1, 1 + 1 + 4, 1030),
        (GuestKind.HVM, 1, 2 + 1 + 8, 1036),
        (GuestKind.PVH, 4, 2 + 4 + 8, 1038),
        (GuestKind.UNKNOWN, 1, 2 + 1 + 8, 1036),
    ],
)
def test_what_a_guest_of_a_gibibyte_costs(
    kind: GuestKind, vcpus: int, overhead_mib: int, need_mib: int
) -> None:
    found = guest("web", 1024, kind=kind, vcpus=vcpus)
    assert (overhead_mib, need_mib) == (reckon_overhead_mib(found), reckon_need_mib(found))


def test_a_guests_own_memory_is_free_once_it_is_saved() -> None:
    web = guest("web", 1024, kind=GuestKind.PV)
    found = predict_restore_memory(web, Resources(free_mib=0, domains=(web,)))
    assert (1030, 1030, 0) == (
        found.needed_mib,
        found.free_after_save_mib,
        found.could_be_taken_mib,
    )
    assert found.fits
    assert found.fits_whatever_starts


def test_guests_that_may_start_or_grow_could_take_it() -> None:
    web = guest("web", 1024, kind=GuestKind.PV)
    grows = guest("grows", 256, maximum_mib=512)
    stopped = guest("stopped", 512, domid=-1, kind=GuestKind.PV)
    resources = Resources(free_mib=300, domains=(web, grows, stopped))
    found = predict_restore_memory(web, resources)
    assert 256 + reckon_need_mib(stopped) == found.could_be_taken_mib
    assert found.fits
    assert not found.fits_whatever_starts
    assert predict_restore_memory(web, replace(resources, free_mib=1000)).fits_whatever_starts


def test_a_guest_that_was_asked_to_grow_comes_back_larger_than_it_went() -> None:
    web = guest("web", 512, maximum_mib=1024, target_mib=1024, kind=GuestKind.PV)
    assert not predict_restore_memory(web, Resources(free_mib=100, domains=(web,))).fits
    assert predict_restore_memory(web, Resources(free_mib=512, domains=(web,))).fits


def test_a_guest_that_is_shut_off_frees_nothing() -> None:
    web = guest("web", 1024, domid=-1, kind=GuestKind.PV)
    assert not predict_restore_memory(web, Resources(free_mib=1000, domains=(web,))).fits
    assert predict_restore_memory(web, Resources(free_mib=1030, domains=(web,))).fits


@given(
    memory_mib=st.integers(1, 1 << 20),
    vcpus=st.integers(1, 512),
    free_mib=st.integers(0, 1 << 20),
    kind=st.sampled_from(GuestKind),
)
@settings(max_examples=1000)
def test_a_guest_always_fits_where_nobody_takes_anything(
    memory_mib: int, vcpus: int, free_mib: int, kind: GuestKind
) -> None:
    web = guest("web", memory_mib, vcpus=vcpus, kind=kind)
    found = predict_restore_memory(web, Resources(free_mib=free_mib, domains=(web,)))
    assert found.fits
    assert found.needed_mib % 2 == 0
    assert found.needed_mib > memory_mib
