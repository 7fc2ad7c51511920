"""What models write, as HTML: Markdown without HTML of its own, code in colours.

Nothing that the text says can become an element or an address that runs or loads: raw HTML is shown
as text, links with other schemes than http, https and mailto stay text, and images become links.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

MAX_COLOURED = 40_000  # characters of one block of code


def to_html(text: str, *, coloured: bool = True) -> Markup:
    """`text` of a model as HTML that is safe on a page. Without `coloured`: faster, for a text
    that is still being written."""
    return Markup(_renderer(coloured).render(text))  # noqa: S704 (see above)


@cache
def _renderer(coloured: bool) -> MarkdownIt:
    options = {"html": False, "highlight": _highlight if coloured else None}
    markdown = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    markdown.disable("image")
    markdown.validateLink = _is_harmless  # pyright: ignore[reportAttributeAccessIssue]
    markdown.add_render_rule("link_open", _open_link)
    return markdown


def _is_harmless(address: str) -> bool:
    return address.lower().startswith(("http://", "https://", "mailto:"))


def _open_link(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    if not tokens[index].attrGet("href"):  # `[text]()`, of which nobody asks whether it is harmless
        del tokens[index].attrs["href"]
        return self.renderToken(tokens, index, options, env)
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return self.renderToken(tokens, index, options, env)


def _highlight(code: str, language: str, attributes: str) -> str:
    """The block's content as HTML; "" leaves the escaping to the renderer."""
    if not language or len(code) > MAX_COLOURED:
        return ""
    # Imported late: it is not needed before somebody chats.
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code)
    return highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="hl-"))
