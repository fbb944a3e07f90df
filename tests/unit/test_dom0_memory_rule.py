"""`dom0_mem=` in all the forms that Xen reads, and what each promises dom0."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.dom0_memory import (
    Dom0MemoryRule,
    MemoryAmount,
    find_dom0_memory_values,
    parse_dom0_memory_rule,
)
from xenbackup.errors import ConfigurationError
from xenbackup.model.resources import Dom0Memory
from xenbackup.planning.memory import find_dom0_memory_faults

TOTAL_MIB = 4096


@pytest.mark.parametrize(
    ("value", "promised_mib"),
    [
        ("512M", 512),
        ("512m", 512),
        ("1G", 1024),
        ("524288K", 512),
        ("524288", 512),
        ("536870912B", 512),
        ("0x80000", 512),
        ("02000000", 512),
        ("1T", TOTAL_MIB),
        ("1536M,max:1536M", 1536),
        ("2G,max:1G", 1024),
        ("256M,min:512M", 512),
        ("min:512M,max:1024M", 512),
        ("min:512M", 512),
        ("min:2G,max:1G", 1024),
        ("min:2G,max:1G,768M", 768),
        ("max:1G", 1024),
        # All but the reserve is less than that.
        ("max:4G", TOTAL_MIB - 128),
        ("max:-64M", TOTAL_MIB - 128),
        ("-1G", 3072),
        ("-8G", 0),
        ("min:512M,-3968M", 512),
        ("max:-1G,4G", 3072),
        ("50%", 2048),
        ("1G+25%", 2048),
        ("25%+1G", 2048),
        ("-25%", 3072),
        ("512M,1G", 1024),
    ],
)
def test_the_promise_of_a_rule(value: str, promised_mib: int | None) -> None:
    assert promised_mib == parse_dom0_memory_rule(value).promise_mib(TOTAL_MIB)


@pytest.mark.parametrize(
    ("total_mib", "promised_mib"), [(1600, 1500), (2048, 1920), (4096, 3968), (4, 4)]
)
def test_the_reserve_is_a_sixteenth_and_128_mib_at_most(total_mib: int, promised_mib: int) -> None:
    assert promised_mib == parse_dom0_memory_rule("max:1T").promise_mib(total_mib)


def test_rule_without_an_amount_promises_nothing() -> None:
    assert Dom0MemoryRule().promise_mib(TOTAL_MIB) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "lots",
        "512M,",
        "512MB",
        "512M max:1G",
        "mid:512M",
        "1.5G",
        "--1G",
        "09M",
        "100%",
        "+1G",
        "1G+1G",
        "1%+1%",
        "1G+1%+1G",
        "max:",
        "1G-1M",
        "999999999999999999999M",
    ],
)
def test_what_xen_cannot_read_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="dom0_mem="):
        parse_dom0_memory_rule(value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dom0_mem=1536M,max:1536M console=com1 com1=115200,8n1 ", ("1536M,max:1536M",)),
        ("placeholder dom0-mem=512M dom0_mem=1G", ("512M", "1G")),
        ("root=/dev/sda1 ro", ()),
        ("xdom0_mem=1G dom0_mem", ()),
        ("", ()),
    ],
)
def test_values_are_found_on_a_line(line: str, expected: tuple[str, ...]) -> None:
    assert expected == find_dom0_memory_values(line)


@pytest.mark.parametrize(
    ("dom0", "codes"),
    [
        (Dom0Memory(on_xen_line="512M", limit_mib=512), []),
        (Dom0Memory(on_xen_line="511M", limit_mib=511), ["dom0-mem-small"]),
        (Dom0Memory(), ["dom0-mem-missing"]),
        (Dom0Memory(on_linux_line="512M"), ["dom0-mem-missing", "dom0-mem-linux"]),
        (Dom0Memory(on_xen_line="plenty"), ["dom0-mem-no-size"]),
        (Dom0Memory(on_xen_line="max:1G", limit_mib=1024), []),
        (
            Dom0Memory(on_xen_line="1G", on_linux_line="512M", limit_mib=1024),
            ["dom0-mem-linux"],
        ),
    ],
)
def test_what_dom0_lacks(dom0: Dom0Memory, codes: list[str]) -> None:
    assert codes == [finding.code for finding in find_dom0_memory_faults(dom0)]


UNITS = {"B": 1, "K": 1 << 10, "": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
AMOUNTS = st.builds(
    lambda number, unit, percent, negative: (
        f"{'-' if negative else ''}{number}{unit}" + (f"+{percent}%" if percent else ""),
        MemoryAmount(size_bytes=number * UNITS[unit], percent=percent, negative=negative),
    ),
    st.integers(0, 10**7),
    st.sampled_from(sorted(UNITS)),
    st.integers(0, 99),
    st.booleans(),
)


@given(
    size=st.none() | AMOUNTS,
    minimum=st.none() | AMOUNTS,
    maximum=st.none() | AMOUNTS,
    total_mib=st.integers(1, 1 << 20),
)
@settings(max_examples=1500)
def test_a_rule_is_read_as_it_was_written(
    size: tuple[str, MemoryAmount] | None,
    minimum: tuple[str, MemoryAmount] | None,
    maximum: tuple[str, MemoryAmount] | None,
    total_mib: int,
) -> None:
    texts = [
        prefix + part[0]
        for prefix, part in (("min:", minimum), ("max:", maximum), ("", size))
        if part
    ]
    if not texts:
        return
    rule = parse_dom0_memory_rule(",".join(texts))
    assert (
        Dom0MemoryRule(
            size=size[1] if size else None,
            minimum=minimum[1] if minimum else None,
            maximum=maximum[1] if maximum else None,
        )
        == rule
    )
    promised = rule.promise_mib(total_mib)
    assert promised is not None
    assert 0 <= promised <= total_mib


PIECES = st.sampled_from(["dom0_mem=", "min:", "max:", ",", "512", "M", "%", "+", "-", "0x", " "])


@given(text=st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join))
@settings(max_examples=1500)
def test_hostile_lines_are_read_or_refused(text: str) -> None:
    for value in (text, *find_dom0_memory_values(text)):
        try:
            rule = parse_dom0_memory_rule(value)
        except ConfigurationError as error:
            assert error.message
        else:
            promised = rule.promise_mib(TOTAL_MIB)
            assert promised is None or 0 <= promised <= TOTAL_MIB
