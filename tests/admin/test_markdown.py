"""What a model writes becomes HTML that is safe on a page, whatever it writes."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from fastmlx.admin.markdown import to_html
from hypothesis import given
from hypothesis import strategies as st

ALLOWED = {
    *("p", "em", "strong", "s", "code", "pre", "a", "ul", "ol", "li", "blockquote", "hr", "br"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span"),
}


class Reader(HTMLParser):
    """Collects elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def elements(text: str, *, coloured: bool = True) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(to_html(text, coloured=coloured))
    return reader.elements


def test_prose_tables_and_code_look_as_meant():
    html = to_html("# A\n\n*b* **c** ~~d~~\n\n|x|y|\n|-|-|\n|1|2|\n\n```python\ndef f(): pass\n```")
    assert "<h1>A</h1>" in html
    assert "<em>b</em> <strong>c</strong> <s>d</s>" in html
    assert "<td>1</td>" in html
    assert '<span class="hl-k">def</span>' in html


def test_a_fence_of_an_unknown_language_is_plain():
    assert "&lt;a&gt;" in to_html("```nosuch\n<a>\n```")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](data:text/html,x)",
        "[a](JaVaScRiPt:x)",
        "![a](https://elsewhere.example/x.png)",
        '```"><script>\nx\n```',
        '<https://x.example/"onclick=x>',
        "[x]: javascript:alert(1)\n\n[x]",
    ],
)
def test_nothing_in_it_runs_or_loads(text: str):
    check(elements(text))


@given(st.text(alphabet=st.sampled_from("<>\"'&`*_[]()!:/ \n#|-~ajscript=onerdt.x"), max_size=120))
def test_no_text_makes_an_element_that_is_not_allowed(text: str):
    check(elements(text))
    check(elements(text, coloured=False))


def check(found: list[tuple[str, dict[str, str | None]]]) -> None:
    for tag, attributes in found:
        assert tag in ALLOWED
        assert set(attributes) <= {"href", "title", "rel", "target", "class", "start"}
        address = attributes.get("href") or ""
        if tag == "a":
            assert address.lower().startswith(("http://", "https://", "mailto:"))
            assert attributes["rel"] == "noopener noreferrer nofollow"
