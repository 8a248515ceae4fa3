"""What a reader sees of a run without code: its index.html, and the committed digest in outputs/gallery/."""
import base64
import contextlib
import hashlib
import html
import io
import json
import re

from . import claims, ledger, runs, workbook
from .errors import UserError
from .files import atomic, cache_dir
from .html import page
from .provenance import cells_version

KEYS = ("name", "value", "unit")
LINKS = (("notebook.html", "executed notebook"), ("notebook.ipynb", "as .ipynb"), ("run.json", "provenance"))


def number(value):
    """A record's value for reading: four significant digits, words for truth values, a dash for none."""
    if value is None or isinstance(value, bool):
        return "–" if value is None else str(value)
    return html.escape(_short(value))


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def records_table(records):
    """An HTML table of records; the columns after the unit are whatever the records were measured on."""
    where = list(dict.fromkeys(k for r in records for k in r if k not in KEYS))
    head = "".join(f"<th>{html.escape(k)}</th>" for k in (*KEYS, *where))
    rows = "".join(f"<tr><td>{html.escape(r['name'])}</td><td class='number'>{number(r['value'])}</td>"
                   + "".join(f"<td>{html.escape(_short(r.get(k, '')))}</td>" for k in ("unit", *where))
                   + "</tr>\n" for r in records)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"


def small(path, limit=300_000):
    """PNG bytes of a figure under `limit`: as saved, else with 256 colours, else halved as well. Made once: a
    page is written again after every notebook."""
    data = path.read_bytes()
    if len(data) <= limit:
        return data
    from PIL import Image

    kept = cache_dir() / "figures" / f"{hashlib.sha256(data).hexdigest()[:24]}-{limit}.png"
    if kept.exists():
        return kept.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    while len(data) > limit:
        stream = io.BytesIO()
        few = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(stream, "png", optimize=True)
        data, image = stream.getvalue(), image.reduce(2)
    with contextlib.suppress(OSError), atomic(kept) as stream:
        stream.write(data)
    return data


def write_index(folder):
    """Writes index.html of a run folder from what its notebooks left so far; images are inside the page."""
    parts = [(path.parent, runs.read_facts(path.parent)) for path in sorted(folder.glob("*/run.json"))]
    newest = max((facts for _, facts in parts), key=lambda f: f["started"], default={})
    contents = "".join(f"<tr><td><a href='#{html.escape(p.name)}'>{html.escape(_title(p.name))}</a></td>"
                       f"<td>{_status(f)}</td><td class='number'>{_seconds(f)}</td></tr>\n" for p, f in parts)
    body = [f"<h1>Run {html.escape(folder.name)}</h1>",
            f"<p class='quiet'>{html.escape(' · '.join(_origin(newest)))}</p>",
            _claims_html(folder), f"<table><tbody>\n{contents}</tbody></table>"]
    body += [_section(place, facts) for place, facts in parts]
    with atomic(folder / "index.html", "w") as stream:
        stream.write(page(f"ReStyle workbook: {folder.name}", "\n".join(body)))
    return folder / "index.html"


def _section(place, facts):
    figures = []
    for figure in runs.read_figures(place):
        file = html.escape(f"{place.name}/figures/{figure['name']}")
        data = base64.b64encode(small(place / "figures" / f"{figure['name']}.png", 250_000)).decode()
        figures.append(f"<figure><a href='{file}.png'><img alt='{html.escape(figure['alt'])}' "
                       f"src='data:image/png;base64,{data}'></a><figcaption>{html.escape(figure['caption'])} "
                       f"<a href='{file}.pdf'>PDF</a> <a href='{file}.csv'>data</a></figcaption></figure>")
    name = html.escape(place.name)
    links = [f"<a href='{name}/{file}'>{words}</a>" for file, words in LINKS if (place / file).exists()]
    told = {**facts["parameters"], **facts.get("sizes", {})}
    told = html.escape(", ".join(f"{k} {v}" for k, v in told.items() if v != ""))
    checks = "".join(f"<li>{html.escape(k)}: <b>{html.escape(str(v))}</b></li>"
                     for k, v in facts.get("checks", {}).items())
    records = runs.read_records(place)
    return "\n".join([
        f"<h2 id='{name}'>{html.escape(_title(place.name))}</h2>",
        f"<p class='quiet'>{_status(facts)} · {told} · {' · '.join(links)}</p>",
        f"<p class='failed'>{html.escape(facts['error'])}</p>" if facts.get("error") else "",
        *figures, f"<ul>{checks}</ul>" if checks else "",
        f"<details><summary>{len(records)} numbers</summary>{records_table(records)}</details>" if records
        else ""])


def write_gallery(folder):
    """Writes outputs/gallery/RESULTS.md and its pictures from a run: the digest for a code host."""
    target = runs.outputs_dir() / "gallery"
    parts = [(p.parent, runs.read_facts(p.parent)) for p in sorted(folder.glob("*/run.json"))]
    parts = [(place, facts) for place, facts in parts if facts["status"] == "finished"]
    if not parts:
        raise UserError(f"run {folder.name} holds no finished notebook yet")
    newest = max((facts for _, facts in parts), key=lambda f: f["started"])
    lines = ["# Results", "", f"Measured by run `{folder.name}`: {_plain(' · '.join(_origin(newest)))}.", "",
             *_claims_markdown(folder)]
    for place, facts in parts:
        lines += [anchor(place.name), "", f"## {_plain(place.name)}: {_plain(_title(place.name))}", ""]
        figures = runs.read_figures(place)
        for figure in [f for f in figures if f["gallery"]] or figures[:1]:
            file = f"{place.name}_{figure['name']}.webp"
            with atomic(target / file) as stream:
                stream.write(_webp(small(place / "figures" / f"{figure['name']}.png")))
            lines += [f"![{_plain(figure['alt'])}]({file})", "", f"*{_plain(figure['caption'])}*", ""]
        lines += _records_markdown(runs.read_records(place))
        command = str(facts.get("command", "")).replace("`", "'").replace("<", "&lt;")
        cells = cells_version(place / "notebook.ipynb")
        told = [f"{_seconds(facts)}; `{command}`"] * bool(command) + [f"code cells `{cells}`"] * bool(cells)
        lines += ["; ".join(told), ""]
    with atomic(target / "RESULTS.md", "w") as stream:
        stream.write("\n".join(lines).rstrip() + "\n")
    return target / "RESULTS.md"


def _webp(png, width=1280):
    """The smaller of two: the same picture without loss (flat colours), or narrower and almost the same
    (shades). A repository keeps every version of it."""
    from PIL import Image

    def encoded(image, **options):
        stream = io.BytesIO()
        image.save(stream, "webp", **options)
        return stream.getvalue()

    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    narrow = image if image.width <= width else image.resize(
        (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    return min(encoded(image, lossless=True, quality=50, method=2),
               encoded(narrow, quality=80, method=6), key=len)


def anchor(name):
    """What a link to RESULTS.md#NAME finds, whatever the heading below it says."""
    return f'<a id="{html.escape(name)}"></a>'


def _records_markdown(records):
    rows = []
    for r in records:
        where = _plain(", ".join(f"{k} {_short(v)}" for k, v in r.items() if k not in KEYS))
        rows.append(f"| {_plain(r['name'])} | {number(r['value'])} {_plain(r['unit'])} | {where} |")
    return ["| number | value | measured on |", "|---|---|---|", *rows, ""] if rows else []


def _plain(text):
    """Text that is neither HTML nor a table's border in Markdown."""
    return html.escape(str(text), quote=False).replace("|", "\\|")


def _claims(folder):
    """(rows, sentence): those of 90_claims/claims.json, the claims notebook's own file, unless something was
    recorded since; else of what is recorded; none, and why, if the claims cannot be read."""
    kept, rows = folder / "90_claims" / "claims.json", []
    newest = max((p.stat().st_mtime for p in folder.glob("*/records.jsonl") if p.parent != kept.parent),
                 default=0)
    try:
        if kept.exists() and kept.stat().st_mtime >= newest:
            rows = json.loads(kept.read_text(encoding="utf-8"))
        rows = rows or ledger.columns(ledger.read(folder), measured=True)
        absent = [c for c in claims.load() if c not in {row["claim"] for row in rows}] if rows else []
    except (UserError, ValueError) as error:
        return [], f"The claims are not shown: {error}."
    hardware, told = {row.get("hardware") for row in rows} - {None, ""}, []
    if len(hardware) == 1:                                # the same for all: a sentence instead of a column
        rows = [{key: text for key, text in row.items() if key != "hardware"} for row in rows]
        told = [f"Measured on {hardware.pop()}."]
    if rows:
        verdicts = [_verdict(line) for row in rows for world in claims.WORLDS
                    for line in str(row.get(world, "")).split("\n")]
        told.insert(0, f"{verdicts.count('holds')} hold and {verdicts.count('fails')} do not, counted once "
                       "for each world and domain; the paper's column says where it shows them.")
    return rows, " ".join(told + [f"Not measured: {', '.join(absent)}."] * bool(absent))


def _claims_html(folder):
    rows, sentence = _claims(folder)
    if not rows and not sentence:
        return ""
    head = "".join(f"<th>{html.escape(k)}</th>" for k in (rows[0] if rows else ()))
    cells = "".join("<tr>" + "".join(_claim_cell(*pair) for pair in r.items()) + "</tr>\n" for r in rows)
    return (f"<h2>Claims</h2><p class='quiet'>{html.escape(sentence)}</p>"
            f"<table class='cards'><thead><tr>{head}</tr></thead><tbody>\n{cells}</tbody></table>")


def _claim_cell(column, text):
    """A cell; in the columns of the worlds its lines have the colour of the verdicts, which they also say."""
    lines = map(html.escape, str(text).split("\n"))
    if column in claims.WORLDS:
        lines = (f"<span class='{_verdict(line)}'>{line}</span>" for line in lines)
    told = " class='unknown'" if text == claims.UNKNOWN else ""
    return f"<td data-of='{html.escape(column)}'{told}>{'<br>'.join(lines)}</td>"


def _verdict(line):
    """The class of a line such as "avatars: does not hold, ..."."""
    told = re.match(rf"(?:[^:,]*: )?({claims.FAILS}|{claims.HOLDS}|{claims.UNKNOWN})\b", line)
    return {claims.FAILS: "fails", claims.HOLDS: "holds", claims.UNKNOWN: "quiet"}[told[1]] if told else ""


def _claims_markdown(folder):
    rows, sentence = _claims(folder)
    if not rows and not sentence:
        return []
    line = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"] if rows else []
    cells = ("| " + " | ".join(str(v).replace("|", "\\|").replace("\n", "<br>") for v in r.values()) + " |"
             for r in rows)
    return ["## Claims", "", sentence, "", *line, *cells, ""]


def _title(name):
    try:
        return workbook.title(name)[0]
    except (OSError, UserError, IndexError):
        return name


def _origin(facts):
    commit = (facts.get("commit") or "no commit")[:10] + (" with changes" if facts.get("dirty") else "")
    profile = facts.get("parameters", {}).get("profile", "")
    words = (f"profile {profile}", f"commit {commit}", facts.get("hardware"), facts.get("started", "")[:10],
             facts.get("asked") or facts.get("command"))
    return [word for word in words if word]


def _status(facts):
    status = html.escape(str(facts["status"]))
    return f"<span class='{status}'>{status}</span>"


def _seconds(facts):
    seconds = facts.get("seconds_with_kernel") or facts.get("seconds")
    return f"{seconds:.0f} s" if isinstance(seconds, (int, float)) else ""
