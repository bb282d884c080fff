"""Markdown to one HTML page that needs nothing else: no network, no script, pictures inside.

It knows nothing of runs. What Markdown shows is shown; what a page could obey is not there to be obeyed: raw
HTML is text, addresses outside the page's folder are text, and a policy in the page forbids the rest.
"""

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from bench.reporting.html_layout import Contents, data_address, layout
from vsr_model.one_line import visible

SHORT: Final = 32
"""Characters of a table's cell that are not broken into lines: names of backends have hyphens."""

_ELSEWHERE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[/\\]")
"""How an address begins that leads out of the page's folder: with a scheme, or at a root."""

_Rule = Callable[[RendererHTML, Sequence[Token], int, OptionsDict, MutableMapping[str, Any]], str]


def render_html(markdown: str, *, title: str, images: Mapping[str, bytes]) -> str:
    """Return the page, ending in a newline; the same arguments give the same page, byte for byte.

    `images` has the SVG or PNG of each picture by its link target as the Markdown has it; a picture that is
    not there is named instead. Links stay links where they lead into the page or below or beside its folder;
    others become text with the address in brackets. Headings get the ids that repository sites give them.
    """
    parser = _parser(images)
    tokens = parser.parse(markdown)
    contents = _identified(tokens)
    for token in tokens:
        if token.children:
            token.children = _without_ways_out(token.children)
    _frame_figures(tokens)
    body = parser.renderer.render(tokens, parser.options, {})
    return layout(body, contents.entries, title=title)


def _parser(images: Mapping[str, bytes]) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
    pictures = {parser.normalizeLink(target): content for target, content in images.items()}
    rules: dict[str, _Rule] = {
        "image": lambda renderer, tokens, index, options, env: _picture(
            tokens[index], renderer.renderInlineAsText(tokens[index].children, options, env), pictures
        ),
        "table_open": lambda *_: '<div class="table" role="region" aria-label="table" tabindex="0"><table>\n',
        "table_close": lambda *_: "</table></div>\n",
        "th_open": _cell,
        "td_open": _cell,
    }
    for name, rule in rules.items():
        # The library calls a rule as a method of its renderer.
        parser.add_render_rule(name, rule)
    return parser


def _cell(
    _renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _env: MutableMapping[str, Any],
) -> str:
    tag = tokens[index].tag
    if "right" in str(tokens[index].attrGet("style") or ""):
        return f'<{tag} class="n">'
    return f'<{tag} class="s">' if len(tokens[index + 1].content) <= SHORT else f"<{tag}>"


def _picture(token: Token, alt: str, pictures: Mapping[str, bytes]) -> str:
    content = pictures.get(str(token.attrGet("src")))
    if content is None:
        return f"<em>(no picture: {escape(visible(alt))})</em>"
    picture = f'<img alt="{escape(visible(alt))}" src="{data_address(content)}">'
    caption = token.attrGet("title")
    return f"{picture}<figcaption>{escape(visible(str(caption)))}</figcaption>" if caption else picture


def _without_ways_out(tokens: Sequence[Token]) -> list[Token]:
    """Links that lead elsewhere as text: `words (https://...)`."""
    kept: list[Token] = []
    address: str | None = None
    begun = 0
    for token in tokens:
        if token.type == "link_open" and _ELSEWHERE.match(str(token.attrGet("href"))):
            address, begun = str(token.attrGet("href")), len(kept)
        elif token.type == "link_close" and address is not None:
            said = "".join(inner.content for inner in kept[begun:])
            if said != address:
                kept.append(Token("text", "", 0, content=f" ({visible(address)})"))
            address = None
        else:
            kept.append(token)
    return kept


def _frame_figures(tokens: Sequence[Token]) -> None:
    """Make a figure of a paragraph that is nothing but pictures."""
    for index, token in enumerate(tokens):
        inside = [child for child in token.children or () if child.type != "softbreak"]
        if token.type == "inline" and inside and all(child.type == "image" for child in inside):
            for frame in (tokens[index - 1], tokens[index + 1]):
                if frame.type.startswith("paragraph"):
                    frame.tag = "figure"


def _identified(tokens: Sequence[Token]) -> Contents:
    """Give each heading an id of its own; return them."""
    contents = Contents()
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            said = (child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            token.attrSet("id", contents.add(int(token.tag[1]), "".join(said)))
    return contents
