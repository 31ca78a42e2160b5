"""What a bundle says of itself: its `metadata.json`, and its `docs/README.md` as HTML that fetches and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from ..errors import ConfigError, MissingFileError

_TOLD: Final = (
    ("task", "Task"),
    ("description", "Description"),
    ("data_source", "Data"),
    ("data_type", "Files"),
    ("image_classes", "Input"),
    ("label_classes", "Labels"),
    ("pred_classes", "Output"),
    ("authors", "Authors"),
    ("copyright", "Copyright"),
)


@dataclass(frozen=True)
class ModelCard:
    """What a bundle says of itself.

    Attributes:
        name: Name of the bundle.
        version: Its version.
        intended_use: What the model is for and what it is not for; None where the bundle does not say.
        told: Headings and texts of `metadata.json`.
        references: What it cites.
        text: `docs/README.md` as HTML; None where the bundle has none.
    """

    name: str
    version: str
    intended_use: str | None
    told: tuple[tuple[str, str], ...]
    references: tuple[str, ...]
    text: Markup | None

    @classmethod
    def read(cls, bundle: str | Path) -> ModelCard:
        """Read the model card of a bundle.

        Raises:
            MissingFileError: If the folder has no `configs/metadata.json`.
            ConfigError: If that is not JSON, or lacks name or version; if `docs/README.md` cannot be read as UTF-8.
        """
        path, readme = Path(bundle) / "configs" / "metadata.json", Path(bundle) / "docs" / "README.md"
        if not path.is_file():
            raise MissingFileError(f"bundle {bundle} has no configs/metadata.json; give the folder of a bundle")
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is not valid JSON; correct it there") from error
        if not isinstance(metadata, dict) or not all(_text(metadata, key) for key in ("name", "version")):
            raise ConfigError(f"{path} does not say name and version of the bundle as texts; add them there")
        references = metadata.get("references", [])
        return cls(
            metadata["name"],
            metadata["version"],
            _text(metadata, "intended_use"),
            tuple((heading, text) for key, heading in _TOLD if (text := _text(metadata, key)) is not None),
            tuple(str(reference) for reference in references) if isinstance(references, list) else (),
            _card_text(readme) if readme.is_file() else None,
        )


def _card_text(readme: Path) -> Markup:
    try:
        return markdown_html(readme.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model card {readme} cannot be read as UTF-8; correct it there") from error


def markdown_html(text: str) -> Markup:
    """Return Markdown as HTML for the inside of a page.

    HTML in it is shown as text. Pictures, which would be fetched, become their descriptions; links that do not lead to
    the web lose their target, because the files that they lead to do not come along. Headings go down by two
    levels or more, so that none is left out.

    Examples:
        >>> str(markdown_html("# A <b>\\n![cell](https://example.org/a.png) [licence](data_license.txt)")).strip()
        '<h3>A &lt;b&gt;</h3>\\n<p>cell licence</p>'
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    level = 2
    for token in tokens:
        if token.type == "heading_open":
            level = min(6, level + 1, int(token.tag[1]) + 2)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{level}"
        if token.children is not None:
            token.children = _without_fetches(token.children)
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _without_fetches(tokens: list[Token]) -> list[Token]:
    kept, is_dead = [], False
    for token in tokens:
        if token.type == "link_open":
            is_dead = not str(token.attrGet("href")).startswith(("https://", "http://"))
            if is_dead:
                continue
            token.attrSet("rel", "noreferrer")
        elif token.type == "link_close" and is_dead:
            is_dead = False
            continue
        elif token.type == "image":
            token = Token("text", "", 0, content=token.content)
        kept.append(token)
    return kept


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) and value else None
