"""An executed notebook as one HTML page that needs no network: equations are pictures, no scripts."""
import base64
import html
import io
import re
from pathlib import Path

from .files import atomic
from .notebook_cells import BADGE

MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?![\s$])([^$\n]+?)(?<![\s\\])\$(?![\w$])", re.S)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body><main>
{body}
</main></body></html>
"""

CSS = """
body { margin: 0; background: #fff; color: #1b1b1b; font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.4rem; }
a { color: #0b5cad; }
img { max-width: 100%; height: auto; }
figure { margin: 1.2rem 0; }
figcaption { font-size: .92rem; color: #444; max-width: 60rem; margin-top: .3rem; }
blockquote { border-left: 3px solid #bbb; margin-left: 0; padding-left: 1rem; color: #444; }
pre { background: #f6f6f4; padding: .6rem .8rem; overflow-x: auto; font-size: .84rem; line-height: 1.4; }
code { font-family: ui-monospace, monospace; font-size: .88em; }
table { border-collapse: collapse; font-size: .88rem; margin: .8rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
.math { display: block; margin: .8rem auto; }
.prompt, .anchor-link { display: none; } .output_stderr, .ansi-red-fg { color: #a40000; }
.holds { color: #0b5394; } .fails { color: #a23c00; }
/* a phone: rows of claims become cards, wide tables scroll */
@media (max-width: 700px) {
  main { padding: 1rem; } table { display: block; overflow-x: auto; } .cards thead { display: none; }
  .cards, .cards tbody, .cards tr, .cards td { display: block; }
  .cards tr { padding: .6rem 0; border-bottom: 1px solid #bbb; } .cards td { border: 0; padding: 0; }
  .cards td::before { content: attr(data-of) ": "; color: #666; } .cards td:first-child { font-weight: 600; }
  .cards td.unknown:not([data-of=rendered]) { display: none; }
}
.failed { color: #a40000; font-weight: 600; } .quiet { color: #666; font-size: .88rem; }
"""


def page(title, body, css=""):
    """A whole HTML page around `body`."""
    return PAGE.format(title=html.escape(title), css=CSS + css, body=body)


def export(path):
    """Writes notebook.html beside an executed notebook.ipynb; cells tagged `hide-input` lose their code."""
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import TagRemovePreprocessor
    from pygments.formatters import HtmlFormatter

    if not path.exists():
        return None
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = offline_math(BADGE.sub("", cell.source))
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.register_preprocessor(TagRemovePreprocessor(remove_input_tags={"hide-input"}), enabled=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="../\1/notebook.html', body)
    body = body.replace('href="../README.md"', 'href="../index.html"')
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    target = Path(path).with_suffix(".html")
    with atomic(target, "w") as stream:
        stream.write(page(title, body, HtmlFormatter().get_style_defs(".highlight")))
    return target


def offline_math(text):
    """Markdown with every $...$ and $$...$$ outside code as an SVG picture; its alt text is the LaTeX."""
    parts = CODE.split(text)
    parts[::2] = [MATH.sub(lambda m: picture(m[1] or m[2], display=bool(m[1])), part) for part in parts[::2]]
    return "".join(parts)


def picture(latex, display=False):
    """One equation as an <img>, or as code where matplotlib's mathtext does not know a command."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    from .figures import style

    latex, stream = " ".join(latex.split()), io.BytesIO()
    try:
        with style():
            font = FontProperties(size=13 if display else 11.5)
            depth = math_to_image(f"${latex}$", stream, prop=font, format="svg")
    except ValueError:
        return f"<code>{html.escape(latex)}</code>"
    kind = 'class="math"' if display else f'class="inline" style="vertical-align: {-depth:.1f}pt"'
    data = base64.b64encode(re.sub(rb"<metadata>.*?</metadata>", b"", stream.getvalue(), flags=re.S)).decode()
    return f'<img {kind} alt="{html.escape(latex)}" src="data:image/svg+xml;base64,{data}">'
