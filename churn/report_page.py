"""One self-contained HTML page for every report: headings, words, tables and plots, without script or download.

The quality report, the model report and the analyses look alike because they all come from here.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Rows of cells under their column names. Numbers are aligned to the right; format them before."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, and below it in this order: question, paragraphs (plain text), action, tables, plots, sections."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sections: Sequence["Section"] = ()
    question: str = ""
    action: str = ""


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page as HTML; all text is escaped, plots are inline SVG with the same bytes for the same figure."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    numbers = count()
    environment.filters["svg"] = lambda figure: _svg(figure, f"plot{next(numbers)}")
    environment.filters["is_number"] = lambda cell: bool(_NUMBER.fullmatch(str(cell)))
    return environment.from_string(_PAGE).render(title=title, lead=lead, sections=sections)


def _svg(figure: Any, name: str) -> Markup:
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = drawn.getvalue()
    return Markup(svg[svg.index("<svg") :])


_NUMBER: Final = re.compile(r"[-+]?[\d,]*\.?\d+( ?%| ?[A-Za-z]{1,4})?|—|")

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 16px/1.55 system-ui, sans-serif; color: #1d2733; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
  h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d8dee6; padding-bottom: .3rem; }
  .lead { font-size: 1.15rem; color: #46586c; } nav { columns: 2; font-size: .95rem; }
  table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; display: block; overflow-x: auto; }
  caption { text-align: left; color: #46586c; padding-bottom: .3rem; }
  th, td { padding: .25rem .8rem; border-bottom: 1px solid #e5e9ef; text-align: left; vertical-align: top; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } th { background: #f4f6f9; }
  .question { color: #46586c; font-style: italic; }
  .action { background: #f0f6f1; border-left: 4px solid #4f9a63; padding: .5rem .9rem; }
  @media (max-width: 40rem) { nav { columns: 1; } body { margin: 1rem auto; } h1 { font-size: 1.6rem; } }
  @media print { body { max-width: none; margin: 0; font-size: 11pt; } table { display: table; font-size: 8pt; }
    th, td { padding: .15rem .4rem; }
    svg, tr, .action { break-inside: avoid; } h2, h3 { break-after: avoid; } }
  svg { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if sections | length > 4 %}
<nav><ul>
{% for section in sections %}
<li><a href="#s{{ loop.index }}">{{ section.title }}</a></li>
{% endfor %}
</ul></nav>
{% endif %}
{% macro show(section, level, anchor) %}
<h{{ level }}{% if anchor %} id="{{ anchor }}"{% endif %}>{{ section.title }}</h{{ level }}>
{% if section.question %}
<p class="question">{{ section.question }}</p>
{% endif %}
{% for paragraph in section.paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% if section.action %}
<p class="action"><strong>What to do:</strong> {{ section.action }}</p>
{% endif %}
{% for table in section.tables %}
<table>
{% if table.caption %}<caption>{{ table.caption }}</caption>{% endif %}
<thead><tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td{% if cell | is_number %} class="number"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% endfor %}
{% for figure in section.figures %}
{{ figure | svg }}
{% endfor %}
{% for inner in section.sections %}
{{ show(inner, level + 1, "") }}
{% endfor %}
{% endmacro %}
{% for section in sections %}
{{ show(section, 2, "s" ~ loop.index) }}
{% endfor %}
</body>
</html>
"""
