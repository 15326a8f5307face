"""The player of the lessons' animations without a network: its icons are characters, not a font from elsewhere."""

import re

_ICON_FONT = re.compile(r'<link rel="stylesheet"\s+href="https://[^"]*font-awesome[^"]*">')


def without_icon_font(app, docname, source):
    """Drop the link to the font that matplotlib writes into a player; pybn.css draws the buttons."""
    source[0] = _ICON_FONT.sub("", source[0])


def setup(app):
    """Look at each page before it is parsed."""
    app.connect("source-read", without_icon_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
