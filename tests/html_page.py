"""The content of a page, as a parser of HTML sees it."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

VOID: Final = {"meta", "img", "br", "hr"}


@dataclass
class Page(HTMLParser):
    """Read a page. Raises ValueError for a tag that closes nothing or is left open."""

    source: str
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # tag, name, value
    texts: dict[str, list[str]] = field(default_factory=dict)  # of each element, by tag, in order of closing
    _open: list[tuple[str, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        if self._open:
            raise ValueError(f"left open: {[tag for tag, _ in self._open]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            raise ValueError(f"<{tag} /> closes nothing in HTML")

    def handle_endtag(self, tag: str) -> None:
        opened, parts = self._open.pop() if self._open else ("nothing", [])
        if opened != tag:
            raise ValueError(f"</{tag}> closes {opened}")
        self.texts.setdefault(tag, []).append("".join(parts))

    def handle_data(self, data: str) -> None:
        for _, parts in self._open:
            parts.append(data)

    def values(self, name: str) -> list[str]:
        """Return the values of an attribute, wherever it stands."""
        return [value for _, attribute, value in self.attributes if attribute == name]

    def dangers(self) -> list[str]:
        """Return tags, attributes and addresses that a page which is only looked at does not have."""
        active = {"script", "iframe", "object", "embed", "form", "base", "link", "svg"}
        found = [tag for tag in self.tags if tag in active] + ["style"] * (self.tags.count("style") - 1)
        found += [
            name for _, name, _ in self.attributes if name.startswith("on") or name in ("style", "srcset")
        ]
        for value in (*self.values("src"), *self.values("href")):
            if not re.match(r"data:image/(png|svg\+xml);base64,|#|(?![A-Za-z][A-Za-z0-9+.-]*:|[/\\])", value):
                found.append(value)
        return found
