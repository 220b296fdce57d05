"""The page of every report."""

from matplotlib.figure import Figure

from churn.report_page import Section, Table, render


def page() -> str:
    figure = Figure()
    figure.add_subplot().plot([1, 3, 2])
    inner = Section("Inside", ["a < b"])
    table = Table(["name", "share"], [["<script>", "12.5 %"], ["plain", "—"]], caption="Shares")
    return render("A title", "What it says.", [Section("First", ["Words."], [table], [figure, figure], [inner])])


def test_text_is_escaped_and_numbers_stand_right() -> None:
    html = page()
    assert "a &lt; b" in html
    assert "<td>&lt;script&gt;</td>" in html
    assert '<td class="number">12.5 %</td>' in html
    assert "<td>plain</td>" in html


def test_the_page_loads_nothing_and_holds_every_plot() -> None:
    html = page()
    assert html.count("<svg") == 2
    assert "<script" not in html
    assert "src=" not in html
    assert "@import" not in html


def test_the_same_report_has_the_same_bytes() -> None:
    assert page() == page()
