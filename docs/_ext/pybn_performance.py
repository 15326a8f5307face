"""The picture at the head of the performance page, drawn from the table on that page: no number stands twice.

`.. performance-figure::` is an SVG in the colours of the page: a row for each shape, a dot for each operation, at our
time over PyTorch's, on a logarithmic axis.
"""

import math
import re
from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

OPERATIONS = {"training": "#D55E00", "gradient": "#0072B2", "inference": "#009E73"}
LEFT, RIGHT, TOP, ROW = 150, 470, 46, 17
LOWEST, HIGHEST = 0.004, 2.0
ROW_OF_TABLE = re.compile(r"^   \* - (\(.+?)\n((?:     - [\d./ ]+\n?){3})", re.MULTILINE)


def measured(page):
    """{shape: {operation: our time over PyTorch's}} from the text of performance.rst."""
    rows = {}
    for shape, cells in ROW_OF_TABLE.findall(page):
        ratios = [cell.split("/") for cell in re.findall(r"     - (.+)", cells)]
        rows[shape] = {name: float(each[1]) for name, each in zip(OPERATIONS, ratios, strict=True)}
    return rows


def position(ratio):
    """Where a ratio stands on the axis."""
    share = math.log(ratio / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + share * (RIGHT - LEFT)


def drawn(rows):
    """The figure as an SVG."""
    height = TOP + ROW * len(rows) + 34
    bottom = TOP + ROW * len(rows)
    parts = []
    for tick in (0.01, 0.03, 0.1, 0.3, 1):
        x = position(tick)
        style = 'stroke-width="1.5"' if tick == 1 else 'stroke-opacity="0.2"'
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{bottom}" stroke="currentColor" {style}/>')
        parts.append(f'<text x="{x:.0f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    for number, (shape, ratios) in enumerate(rows.items()):
        y = TOP + ROW * number + 6
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(shape)}</text>')
        for name, ratio in ratios.items():
            parts.append(
                f'<circle cx="{position(ratio):.1f}" cy="{y}" r="4.5" fill="{OPERATIONS[name]}">'
                f"<title>{escape(shape)}, {name}: {ratio:g}</title></circle>"
            )
    for number, (name, colour) in enumerate(OPERATIONS.items()):
        x = LEFT + 105 * number
        parts.append(f'<circle cx="{x}" cy="14" r="4.5" fill="{colour}"/><text x="{x + 10}" y="18">{name}</text>')
    parts.append(
        f'<text x="{(LEFT + RIGHT) / 2:.0f}" y="{height - 4}" text-anchor="middle">time over PyTorch\'s (log scale; '
        "left of 1 is faster)</text>"
    )
    return (
        f'<svg class="performance" viewBox="0 0 {RIGHT + 20} {height}" role="img" font-size="11.5" fill="currentColor" '
        f'aria-label="Time of the compiled implementation over PyTorch\'s, by shape">{"".join(parts)}</svg>'
    )


class PerformanceFigure(SphinxDirective):
    """`.. performance-figure::`"""

    def run(self):
        """Raw HTML; a table without rows is an error."""
        with open(self.env.doc2path(self.env.docname), encoding="utf-8") as file:
            rows = measured(file.read())
        if not rows:
            raise self.error("performance-figure: the page has no table of shapes, training, gradient and inference")
        return [nodes.raw("", drawn(rows), format="html")]


def setup(app):
    """Register."""
    app.add_directive("performance-figure", PerformanceFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
