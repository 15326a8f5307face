"""Without JavaScript a page with formulas says why they look as they do; everything else is there."""

SENTENCE = (
    '<noscript><p class="noscript">Formulas are drawn by JavaScript, which is off: they stand here as they were typed, '
    "in LaTeX.</p></noscript>"
)


def say(app, pagename, templatename, context, doctree):
    """Above the body of a page that has a formula."""
    body = context.get("body", "")
    if 'class="math' in body:
        context["body"] = SENTENCE + body


def setup(app):
    """Register."""
    app.connect("html-page-context", say)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
