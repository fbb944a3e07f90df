"""Validation: what LVM is certain to refuse of a volume or its group; images that are no disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.worlds import GIB, GOOD, Case, World, make_group, make_pool, make_volume

THIN = make_volume(attributes="Vwi-aotz--", pool="pool")


def with_group(free_bytes: int, attributes: str) -> World:
    return GOOD.with_host(groups=(replace(make_group(free_bytes), attributes=attributes),))


CASES = (
    Case(
        code="disk-merging",
        bad=GOOD.with_volumes(make_volume(attributes="Owi-aos---")),
        good=GOOD.with_volumes(make_volume(attributes="owi-aos---")),
        domain="web",
    ),
    Case(
        code="disk-inactive",
        bad=GOOD.with_volumes(make_volume(attributes="-wi-------")),
        good=GOOD.with_volumes(replace(THIN, attributes="Vwi---tz--"), make_pool(5.0, 5.0)),
        domain="web",
    ),
    Case(
        code="disk-inactive",
        bad=GOOD.with_volumes(make_volume(attributes="-wi-------")).with_preset("cold"),
        good=GOOD.with_volumes(make_volume(attributes="-wi-a-----")).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="disk-is-snapshot",
        bad=GOOD.with_volumes(make_volume(attributes="swi-aos---")),
        good=GOOD.with_volumes(make_volume(attributes="swi-aos---")).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="disk-locked",
        bad=GOOD.with_volumes(make_volume(attributes="-wI-ao----")),
        good=GOOD.with_volumes(make_volume(attributes="-wI-ao----")).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="disk-incomplete",
        bad=GOOD.with_volumes(make_volume(attributes="-wi-ao--p-")).with_preset("cold"),
        good=GOOD.with_volumes(make_volume(attributes="rwi-aor-p-")).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="disk-incomplete",
        bad=GOOD.with_volumes(make_volume(attributes="rwi-aor-p-")),
        good=GOOD.with_volumes(make_volume(attributes="rwi-aor-r-")),
        domain="web",
    ),
    Case(
        code="group-ambiguous",
        bad=GOOD.with_host(groups=(make_group(), replace(make_group(), uuid="inner"))),
        good=GOOD.with_host(groups=(make_group(), replace(make_group(), name="inner"))),
        domain="web",
    ),
    Case(
        code="group-ambiguous",
        bad=GOOD.with_host(groups=(make_group(), make_group())),
        good=GOOD.with_host(groups=(make_group(), make_group())).with_preset("cold"),
        domain="web",
    ),
    Case(
        code="group-incomplete",
        bad=with_group(100 * GIB, "wz-pn-"),
        good=with_group(100 * GIB, "wz--n-"),
        domain="web",
    ),
    Case(
        code="group-incomplete",
        bad=with_group(100 * GIB, "wz-pn-"),
        good=with_group(100 * GIB, "wz-pn-").with_preset("cold"),
        domain="web",
    ),
    Case(
        code="image-on-another",
        bad=GOOD.with_backing(stands_on_another=True),
        domain="web",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_problem_of_a_volume_is_found_and_only_there(case: Case) -> None:
    assert case.code in case.bad.codes()
    assert case.code not in case.good.codes()
    assert case.domain == case.bad.find(case.code).domain
