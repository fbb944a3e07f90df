"""The language of configuration files: literals in every spelling, and nothing that would run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenbackup.dom0.guest_configuration import ConfigurationValue, parse_settings
from xenbackup.dom0.guest_configuration.syntax import read_whole_number
from xenbackup.dom0.guest_configuration.writing import explain_unquotable, quote_string
from xenbackup.errors import ConfigurationError


def values_of(text: str) -> dict[str, ConfigurationValue]:
    return {setting.key: setting.value for setting in parse_settings(text, "web.cfg")}


def problem_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(text, "web.cfg")
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ('"double"', "double"),
        ("'single'", "single"),
        ('"""triple\nover lines"""', "triple\nover lines"),
        ("'''it's \"so\"'''", 'it\'s "so"'),
        ("''", ""),
        ('"a # no comment"', "a # no comment"),
        ("'a;b,c]=d'", "a;b,c]=d"),
        (r'"\\ \" \' \n \t \x41"', "\\ \" ' \n \t A"),
        ("'joined \\\nline'", "joined line"),
        ("512", 512),
        ("0x200", 512),
        ("01000", 512),
        ("-3600", -3600),
        ("+5", 5),
        ("3f8", "3f8"),
        ("True", 1),
        ("False", 0),
        ("[]", ()),
        ("[ 'a', ]", ("a",)),
        ("['a',2,\"c\"]", ("a", 2, "c")),
        ("[\n 'a', # first\n\n 'b'\n , ]", ("a", "b")),
        ('[ [ "pnode=0", "size=512" ], [ ] ]', (("pnode=0", "size=512"), ())),
    ],
)
def test_a_literal_means_what_xl_and_xm_took_it_for(
    literal: str, expected: ConfigurationValue
) -> None:
    assert {"key": expected} == values_of(f"key = {literal}\n")
    assert {"key": expected} == values_of(f"\tkey={literal} # and a comment")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n\n# only a comment", {}),
        ("a = 1; b = 'x';; c=[2]", {"a": 1, "b": "x", "c": (2,)}),
        ("a = 1\r\nb = 2\r\n", {"a": 1, "b": 2}),
        ("a = \\\n  5\n", {"a": 5}),
        ("a = 1\na = 'last wins'\n", {"a": "last wins"}),
        ("a = 'x '\na += 'y'\na+='z'\n", {"a": "x yz"}),
        ("a = [1]\na += [2, 3]\n", {"a": (1, 2, 3)}),
        ("a += ['from nothing']\n", {"a": ("from nothing",)}),
        ("a = 'x'\na += 'y'\na = 'anew'\n", {"a": "anew"}),
    ],
)
def test_assignments_are_kept_as_the_toolstack_keeps_them(
    text: str, expected: dict[str, ConfigurationValue]
) -> None:
    assert expected == values_of(text)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = open('/etc/shadow')", 1, "found a call, open("),
        ("a = 1\nb = os.system ('x')", 2, "found a call, os.system ("),
        ("a = 'x' + 'y'", 1, "is code, and code is not run"),
        ("a = 5+3", 1, "is code, and code is not run"),
        ("a = 2*3", 1, "is code, and code is not run"),
        ("a = (1)", 1, "is code, and code is not run"),
        ("a = {}", 1, "is code, and code is not run"),
        ("a = 'x' % 'y'", 1, "is code, and code is not run"),
        ("a = b", 1, "the bare word b"),
        ("a = [ b ]", 1, "the bare word b"),
        ("import os", 1, "the bare word os after import"),
        ("\n\nif 1:\n  a = 2", 3, "where `=` was expected"),
        ("a = ['x' 'y']", 1, "the string 'y' in a list, where a comma or `]`"),
        ("a = 'x' 'y'", 1, "the string 'y' after the value of a"),
        ("a = 1 b = 2", 1, "the bare word b after the value of a"),
        ("a = [,]", 1, "a comma in a list, before any value"),
        ("a = ['x',,'y']", 1, "a comma in a list, before any value"),
        ("x = 1\na = [ 'x',\n 'y',\n", 2, "a list that is never closed"),
        ("a = 'x", 1, "a string that is not ended on its line"),
        ('a = """x\n', 1, "in triple quotes that is never ended"),
        ("a =", 1, "the end of the file, where a string"),
        ("a = \n1", 1, "the end of the line, where a string"),
        ("a", 1, "the end of the file after a"),
        ("= 5", 1, "`=`, where `key = value` begins"),
        ("[1]", 1, "`[`, where `key = value` begins"),
        ("'a' = 5", 1, "the string 'a', where `key = value` begins"),
        ("a = 1.5", 1, "found 1.5, which is no whole number"),
        ("a = 12345678901234567890123", 1, "a number of 23 digits"),
        (r"a = '\101'", 1, "xl and xm disagree"),
        (r"a = '\d'", 1, "xl and xm disagree"),
        ("a = 'x'\na += ['y']", 2, "only strings can be added to a string"),
        ("a = 1\na += 2", 2, "only strings can be added to a string"),
        ("a = '\0'", 1, "a NUL byte"),
        ("a = 1\x0c", 1, "which has no place outside a string"),
        ("a = " + "[" * 10_000, 1, "deeper than any key"),
    ],
)
def test_whatever_is_no_literal_is_refused_with_its_spot(text: str, line: int, words: str) -> None:
    problem = problem_of(text)
    assert problem.startswith(f"web.cfg:{line}: found ")
    assert words in problem


def test_a_line_is_counted_through_strings_lists_and_continuations() -> None:
    text = 'a = """1\n2\n3"""\nb = [ 1,\n2 ]\nc = \\\n 5\nd = 6\n'
    assert [("a", 1), ("b", 4), ("c", 6), ("d", 8)] == [
        (setting.key, setting.line) for setting in parse_settings(text, "f")
    ]


def test_the_text_of_a_number_is_kept_as_typed() -> None:
    (setting,) = parse_settings("name = 0755", "f")
    assert (493, "0755") == (setting.value, setting.text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        (" 0x1F ", 31),
        ("-7", -7),
        ("010", 8),
        ("0", 0),
        ("", None),
        ("09", None),
        ("1e5", None),
        ("--5", None),
        ("0b1", None),
        ("1_0", None),
        ("٣", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_are_read_as_strtol_reads_them(text: str, expected: int | None) -> None:
    assert expected == read_whole_number(text)


def test_a_file_of_ten_thousand_lines_is_read_whole() -> None:
    lines = [f"key_{number} = [ 'phy:/dev/vg/{number},xvda,w', # disk" for number in range(3000)]
    text = "\n".join(f"{line}\n   {number},\n]" for number, line in enumerate(lines))
    text += "\nextra = ''\n" + "extra += 'x'\n" * 2000
    found = values_of(text)
    assert 11_000 < text.count("\n")
    assert ("phy:/dev/vg/2999,xvda,w", 2999) == found["key_2999"]
    assert "x" * 2000 == found["extra"]


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "\\\\" * 500_000 + "'",
        "a = '" + "x" * 1_000_000,
        'a = """' + '"x' * 500_000,
        "a = '''" + "''\\'" * 300_000 + "'''",
        "a = [" + "1, " * 50_000 + "]",
        "# " + "#" * 1_000_000,
        " " * 1_000_000,
        "a" * 1_000_000,
        "\\\n" * 300_000,
    ],
)
def test_hostile_length_is_answered(text: str) -> None:
    try:
        parse_settings(text, "f")
    except ConfigurationError as error:
        assert len(error.problems[0]) < 200


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *("a", "=", " ", "+=", "'x'", '"y"', "'''z'''", "5", "0x1", "[", "]", ",", "\n"),
            *(
                ";",
                "#",
                "\\",
                "'",
                '"',
                "(",
                ")",
                "+",
                "-",
                ".",
                "True",
                "\r\n",
                "\\n",
                "é",
                "\0",
                "{",
                "\udcff",
            ),
        ]
    ),
    max_size=25,
).map("".join)


@given(text=FRAGMENTS | st.text(max_size=60))
@settings(max_examples=1500, deadline=None)
def test_any_text_is_read_or_refused_with_a_spot(text: str) -> None:
    try:
        found = parse_settings(text, "f")
    except ConfigurationError as error:
        assert re.match(r"f:\d+: found ", error.problems[0])
    else:
        assert all(setting.key.isidentifier() for setting in found)


def read_string_like_xl(quoted: str) -> str:
    """xl's own lexer rule for strings and its dequoting, escape by escape (libxlu_cfg.c)."""
    assert re.fullmatch(r'"([^"\\\n]|\\.)*"', quoted), "xl would not take this for one string"
    simple = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
    simple |= {'"': '"', "'": "'", "\\": "\\"}
    letters = iter(quoted[1:-1])
    return "".join(simple[next(letters)] if letter == "\\" else letter for letter in letters)


@given(text=st.text(alphabet=st.characters(exclude_characters="\0"), max_size=40))
@settings(max_examples=1000, deadline=None)
def test_a_written_string_comes_back_from_xl_and_from_here(text: str) -> None:
    if explain_unquotable(text):
        assert any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
        return
    quoted = quote_string(text)
    assert text == read_string_like_xl(quoted)
    assert {"a": text} == values_of(f"a = {quoted}\n")


def test_bytes_that_are_no_text_survive_and_half_a_surrogate_pair_does_not() -> None:
    assert "" == explain_unquotable(b"\xff".decode("utf-8", "surrogateescape"))
    assert "half a surrogate pair" in explain_unquotable("\ud800")
    assert "NUL" in explain_unquotable("a\0b")
