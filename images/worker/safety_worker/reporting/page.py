"""``report.html`` from the report: one file that loads nothing.

Model and data-set text is hostile: Jinja escapes it, control and direction characters are made visible, and
the page's own policy allows its one style sheet and its one script, by their digests, and no request. Without
the script everything can be read; it adds sorting, filtering and the choice of colours.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from safety_records.report import Report
from safety_worker.judging.phrases.quality import quality_text
from safety_worker.reporting.view import view
from safety_worker.reporting.wording import (
    markdown_text,
    p_value,
    percent,
    short_digest,
    signed,
    to_yaml,
    visible,
)

FOLDER = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The page of a report."""
    return (
        build_templates()
        .get_template("report.html.jinja")
        .render(report=report, **assets("report.css"), **view(report))
    )


def assets(*styles: str) -> dict[str, str]:
    """The style sheets and the script of a page, and the digests by which its policy names them."""
    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in styles)
    texts = {
        "style": Markup(style),  # noqa: S704 - our own files
        "script": Markup((FOLDER / "report.js").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    }
    return texts | {f"{name}_digest": source_digest(f"\n{text}\n") for name, text in texts.items()}


def source_digest(text: str) -> str:
    """How a Content-Security-Policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def build_templates() -> Environment:
    """Jinja with everything that the templates use."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "dotted": dotted,
        "percent": percent,
        "visible": visible,
        "short": short_digest,
        "p": p_value,
        "signed": signed,
        "yaml": to_yaml,
        "md": markdown_text,
        "quality": quality_text,
    }
    environment.globals |= {"x": position, "delta_x": delta_position}
    return environment


def dotted(name: str) -> Markup:
    """A name such as ``dan.Dan_11_0`` that may be broken after its dots, and escaped."""
    return Markup(".<wbr>").join(name.split("."))


def position(share: float, width: float = 200.0, margin: float = 8.0) -> str:
    """Horizontal place of a share in an interval plot."""
    return f"{margin + min(max(share, 0.0), 1.0) * width:.1f}"


def delta_position(difference: float, reach: float, width: float = 200.0, margin: float = 8.0) -> str:
    """Horizontal place of a difference in a plot from ``-reach`` to ``reach``."""
    return f"{margin + (min(max(difference / reach, -1.0), 1.0) + 1) / 2 * width:.1f}"
