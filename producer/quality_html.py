"""The data-quality report as one HTML file that needs no other: its plots are part of it."""

from collections.abc import Callable, Sequence
from io import StringIO
from typing import Final

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from producer.clean import FENCE
from producer.inspection import ROBUST_Z, ColumnReport, Report
from producer.quality_text import cells, facts

_INK: Final = "#2f5d8a"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data quality of {{ name }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px }
th, td { border: 1px solid #ddd; padding: .3rem .6rem; text-align: right }
th { background: #f4f6f8 } th:first-child, td:first-child, td:nth-child(2) { text-align: left }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } .plots svg { max-width: 100%; height: auto }
</style></head><body>
<h1>Data quality of {{ name }}</h1>
{% for report, plots in parts %}
<h2>{{ report.name }}, read as {{ report.format_name }}</h2>
<table>{% for title, value in facts(report) %}<tr><th>{{ title }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<table><tr>{% for title in titles %}<th>{{ title }}</th>{% endfor %}</tr>
{% for column in report.columns %}<tr>{% for cell in cells(column) %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table>
<p>Distinct values are estimated. Outliers: beyond {{ fence }} interquartile ranges / robust z above {{ robust_z }};
they are reported, never dropped. Histograms show what lies between the fences.</p>
{% for title, counts in (("Events", report.mix), ("Refused rows", report.refused)) %}{% if counts %}
<h3>{{ title }} of the first {{ "{:,}".format(report.rows_adapted) }} rows</h3>
<table>{% for key, count in counts.items() %}<tr><td>{{ key }}</td><td>{{ "{:,}".format(count) }}</td></tr>{% endfor %}
</table>{% endif %}{% endfor %}
<div class="plots">{% for plot in plots %}{{ plot }}{% endfor %}</div>
{% endfor %}
</body></html>
"""
_TITLES: Final = ("column", "kind", "missing", "misread", "distinct", "least", "median", "greatest", "outliers")


def page(name: str, reports: Sequence[Report]) -> str:
    """The page of a source: a section with tables and plots for each of its files."""
    template = Environment(autoescape=True).from_string(_PAGE)
    parts = [(report, _plots(report)) for report in reports]
    return template.render(
        name=name, parts=parts, facts=facts, cells=cells, titles=_TITLES, fence=FENCE, robust_z=ROBUST_Z
    )


def _plots(report: Report) -> list[Markup]:
    plots = [_svg("Rows per day", lambda axes: _over_time(axes, report))] if report.per_day else []
    plots.append(_svg("Missing cells, % of rows", lambda axes: _missing(axes, report)))
    for column in report.columns:
        if column.histogram is not None:
            plots.append(_svg(column.name, lambda axes, column=column: _histogram(axes, column)))  # type: ignore[misc]
        elif column.levels and column.distinct < column.present / 2:
            title = f"{column.name}: most frequent"
            plots.append(_svg(title, lambda axes, column=column: _levels(axes, column)))  # type: ignore[misc]
    return plots


def _svg(title: str, draw: Callable[[Axes], None]) -> Markup:
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(_plain(title), fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    written = StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    drawn = written.getvalue()
    return Markup(drawn[drawn.index("<svg") :])


def _over_time(axes: Axes, report: Report) -> None:
    days = np.array([day for day, _ in report.per_day], dtype="datetime64[D]")
    axes.plot(days, [count for _, count in report.per_day], color=_INK, linewidth=1)
    axes.tick_params(axis="x", rotation=30)


def _missing(axes: Axes, report: Report) -> None:
    shares = [100 * column.missing / max(1, column.present + column.missing) for column in report.columns]
    _bars(axes, [column.name for column in report.columns], shares)


def _histogram(axes: Axes, column: ColumnReport) -> None:
    if column.histogram is not None:
        edges, counts = column.histogram
        axes.stairs(counts, edges, fill=True, color=_INK)


def _levels(axes: Axes, column: ColumnReport) -> None:
    _bars(axes, [level[:30] for level, _ in column.levels], [count for _, count in column.levels])


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    axes.barh(range(len(values)), values, tick_label=[_plain(name) for name in names], color=_INK)
    axes.invert_yaxis()


def _plain(text: str) -> str:
    """Text without the signs that matplotlib reads as a formula."""
    return text.replace("$", r"\$")
