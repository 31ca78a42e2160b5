"""The page of a report: one file of HTML that fetches nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .run_facts import readable_time
from .score_names import score_name, written

# Control characters, which names may hold and HTML may not.
_NO_HTML: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\ufffd")
_TEMPLATES: Final = resources.files(__package__).joinpath("templates")


def rendered_page(**content: Any) -> str:
    """Return the HTML of a report.

    All text is escaped. The page's Content-Security-Policy allows pictures inside the page, its own style and the one
    script whose digest it names; a browser refuses everything else, and so every address of a network.

    Args:
        content: What `templates/report.html.j2` shows; a name that it misses is an error.
    """
    environment = Environment(
        loader=PackageLoader("pipeline" if __package__ is None else __package__.partition(".")[0], "reports/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"written": written, "score_name": score_name, "readable_time": readable_time}
    script = _TEMPLATES.joinpath("report.js").read_text(encoding="utf-8")
    style = _TEMPLATES.joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("report.html.j2")
    page = template.render(policy=policy, script=Markup(script), style=Markup(style), **content)
    return page.translate(_NO_HTML)
