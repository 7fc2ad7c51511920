"""Templates that were written to do harm, and those that were not."""

from __future__ import annotations

import pytest
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.text import sandbox, sizes
from fastmlx.daemon.text.template import ChatTemplate
from hypothesis import given
from hypothesis import strategies as st

ASKED = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_S", 0.2)


@pytest.fixture
def narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MAX_LENGTH", 1_000_000)
    monkeypatch.setattr(sizes, "MAX_ITEMS", 100_000)
    monkeypatch.setattr(sandbox, "MAX_SLOW", 100_000)


def render(source: str) -> str:
    return ChatTemplate(source).render(ASKED)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(60) }}",
        "{% for a in [[1]] recursive %}{{ loop([a, a]) }}{% endfor %}",
        "{% for a in messages %}{% for b in range(99999) if range(99999)|list|length == 1 %}"
        "{% endfor %}{% endfor %}",
    ],
)
def test_no_loop_goes_on_for_ever(source: str, hurried: None) -> None:
    with pytest.raises((BadRequest, ValueError), match=r"chat template|too long"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ ([0] * 10000000000)|length }}",
        "{{ 10 ** 10000000 }}",
        "{{ 2 ** 1000 ** 1000 }}",
        "{{ 'x'|center(10000000000) }}",
        "{{ 'x'|indent(10000000000) }}",
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x'.zfill(width=10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d'|format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10000000000) }}",
        "{{ [1]|batch(10000000000, 'x')|list }}",
        "{{ 1|round(10000000000) }}",
        "{{ messages|tojson(indent=10000000000) }}",
        "{{ lipsum(n=10000000000) }}",
        "{{ strftime_now('%10000000000Y') }}",
        "{% set s = 'x' * 30000 %}{{ s.replace('x', s) }}",
        "{% set s = 'x' * 30000 %}{{ s|replace('x', s) }}",
        "{% set s = 'x' * 30000 %}{{ s.join(s) }}",
        "{% set s = 'x' * 30000 %}{{ s|join(s) }}",
        "{{ 'x'.encode() * 10000000000 }}",
        "{{ ('x' * 900000).translate({120: 'x' * 900000}) }}",
        "{{ (1).to_bytes(10000000000, 'big') }}",
        "{{ ('f' * 900000)|int(base=16) }}",
        "{{ ('%9999d' * 150000) % 1 }}",
        "{{ ('{0:9999}' * 150000).format(1) }}",
        "{% set s = 'x' * 900000 %}{{ '%s%s' % (s, s) }}",
        "{% set s = 'x' * 900000 %}{{ '{0}{0}'.format(s) }}",
        "{% set s = 'x' * 900000 %}{{ '%s%s'|format(s, s) }}",
        "{% set s = 'x' * 900000 %}{{ [s, s]|string }}",
        "{% set s = 'x' * 900000 %}{{ [{'a': s}, {'a': s}]|join(attribute='a') }}",
        "{{ ([[0] * 1000] * 90000)|sum(start=[])|length }}",
        "{{ ('x ' * 400000)|wordwrap(1) }}",
        "{% set s = 'x' * 900000 %}{{ (s ~ 'a') in [s ~ 'b'] * 90000 }}",
        "{% set s = 'x' * 900000 %}{{ ([s ~ 'b'] * 90000).count(s ~ 'a') }}",
    ]
    + [
        "{% set ns = namespace(a=[0], b=[0]) %}{% for a in range(60) %}"
        "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}" + step
        for step in (
            "{{ ns.a }}",
            "{{ ns }}",
            "{{ ns.a ~ '' }}",
            "{{ ns.a|string }}",
            "{{ ns.a|tojson }}",
            "{{ '%s' % ns.a }}",
            "{{ '{}'.format(ns.a) }}",
            "{{ ns.a == ns.b }}",
            "{{ ns.a in [ns.b] }}",
            "{{ {'a': ns.a}.values() }}",
            "{{ raise_exception(ns.a) }}",
            "{{ [ns.a, ns.b]|sort }}",
            "{{ [ns.a, ns.b]|max }}",
            "{{ {'a': ns.a, 'b': ns.b}|dictsort(by='value')|length }}",
        )
    ]
    + [
        "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99) %}" + step + "{% endfor %}"
        for step in (
            "{% set ns.s = ns.s + ns.s %}",
            "{% set ns.s = ns.s ~ ns.s %}",
            "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}",
            "{% set ns.s = [ns.s, ns.s]|join %}",
            "{% set ns.s = ''.join([ns.s, ns.s]) %}",
            "{% set ns.s = ns.s|escape + ns.s %}",
            "{% set ns.s = ns.s|list|string %}",
            "{% set ns.s = (ns.s, ns.s) %}",
        )
    ],
)
def test_no_text_and_no_number_grows_without_end(source: str, narrowed: None) -> None:
    with pytest.raises(BadRequest, match="chat template"):
        render(source)


@pytest.mark.parametrize("grows", ["|list|string", "|pprint", "|tojson"])
def test_nothing_grows_while_a_template_is_compiled(
    grows: str, hurried: None, narrowed: None
) -> None:
    """Jinja computes at once what is constant."""
    assert render("{% if false %}{{ '\"'" + grows * 60 + " }}{% endif %}ok") == "ok"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'x' as x %}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ environment }}{{ environment.tick }}{{ x.y }}",
    ],
)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    try:
        said = render(source)
    except (BadRequest, ValueError):
        return
    assert "<" not in said
    assert "root:" not in said


def test_a_template_that_cannot_be_compiled_is_refused_in_a_sentence() -> None:
    for source in (
        "{% for a in b %}" * 50 + "{% endfor %}" * 50,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if %}",
        "{{ 1 }}" * 30_000,
    ):
        with pytest.raises(ValueError, match=r"line|compiled"):
            ChatTemplate(source)


def test_what_templates_do_is_as_before() -> None:
    assert render("{{ 'a' ~ 1 ~ none }}{{ 'b' + 'c' }}{{ 3 * 4 }}{{ 'd' * 3 }}{{ 2 ** 10 }}") == (
        "a1Nonebc12ddd1024"
    )
    assert render("{{ [1, 2]|join('-') }}{{ 'a-b'|replace('-', '+') }}{{ 'x'|center(3) }}|") == (
        "1-2a+b x |"
    )
    assert render("{{ '%s-%03d' % ('a', 7) }}{{ '{:>4}'.format(1) }}{{ 'a'.ljust(3) }}|") == (
        "a-007   1a  |"
    )
    assert render("{{ messages|map(attribute='role')|join(', ') }}{{ 'x'.join(['a', 'b']) }}") == (
        "useraxb"
    )
    assert render("{{ [{'n': 1}, {'n': 2}]|join(',', attribute='n') }}{{ 2.567|round(1) }}") == (
        "1,22.6"
    )
    assert render("{{ [[1], [2]] | sum(start=[]) | tojson(indent=1) }}") == "[\n 1,\n 2\n]"


@given(st.text(max_size=40), st.text(max_size=40))
def test_joining_is_that_of_jinja(first: str, second: str) -> None:
    template = ChatTemplate("{{ messages[0].content ~ '|' ~ messages[1].content }}")
    asked = [{"role": "user", "content": first}, {"role": "assistant", "content": second}]
    assert template.render(asked) == f"{first}|{second}"
