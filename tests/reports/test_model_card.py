"""Model cards: what bundles say, as HTML that fetches and runs nothing."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, MissingFileError
from pipeline.reports.model_card import ModelCard, markdown_html

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir())


class Elements(HTMLParser):
    """Collects elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_bundles_of_the_project_tell_all(bundle: Path) -> None:
    card = ModelCard.read(bundle)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert card.intended_use == metadata["intended_use"]
    assert "Not a medical device" in card.intended_use
    assert card.references == tuple(metadata["references"])
    assert metadata["label_classes"] in dict(card.told).values()
    assert card.text is not None
    page = Elements(card.text)
    tags = {tag for tag, _ in page.elements}
    assert {"h3", "table", "pre", "ul"} <= tags
    assert not tags & {"h1", "h2", "img", "script"}
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert all(link is not None and link.startswith("https://") for link in links)
    levels = [2, *(int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag))]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    headings = re.findall(r"^#+ (.+)$", (bundle / "docs" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert all(heading.replace("`", "") in page.text for heading in headings)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=https://example.org/a.png onerror=alert(1)>",
        "![a](https://example.org/a.png)",
        "[a](javascript:alert(1))",
        "[a](file:///etc/passwd)",
        "[a](data:text/html,<script>alert(1)</script>)",
        '<https://example.org/"onclick=alert(1)>',
        "[![a](https://example.org/a.png)](https://example.org)",
        "[![a](https://example.org/a.png)](local.html)",
        "```html\n</code></pre><script>alert(1)</script>\n```",
    ],
)
def test_nothing_in_a_card_is_fetched_or_run(text: str) -> None:
    page = Elements(markdown_html(text))
    assert {tag for tag, _ in page.elements} <= {"p", "a", "pre", "code"}
    for _, attributes in page.elements:
        assert set(attributes) <= {"href", "rel", "class"}
        assert (attributes.get("href") or "https://").startswith("https://")


def test_a_bundle_without_the_statement_or_the_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text('{"name": "a", "version": "1.0.0"}', encoding="utf-8")
    card = ModelCard.read(tmp_path)
    assert (card.intended_use, card.text, card.told, card.references) == (None, None, (), ())


@pytest.mark.parametrize("content", ["", "[]", '{"name": "a"}', '{"name": 3, "version": "1"}'])
def test_metadata_that_name_no_bundle_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"metadata\.json"):
        ModelCard.read(tmp_path)


def test_a_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    shutil.copytree(BUNDLES[0] / "configs", tmp_path / "configs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_bytes(b"# Gr\xf6\xdfe")
    with pytest.raises(ConfigError, match=r"README\.md cannot be read as UTF-8"):
        ModelCard.read(tmp_path)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    shutil.copytree(BUNDLES[0] / "docs", tmp_path / "docs")
    with pytest.raises(MissingFileError, match="give the folder of a bundle"):
        ModelCard.read(tmp_path)
