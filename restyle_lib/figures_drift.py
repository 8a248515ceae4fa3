"""The figure of drift: every record's way through the nights, in units of its tolerance."""
from .figures import COLOURS, new, style


def trend(rows, named=6):
    """Rows of a history CSV as lines over the runs, (value - blessed) / tolerance; within the band is no
    drift. Those that lie outside at the last run have names."""
    runs = list(dict.fromkeys((row["date"], row["run"]) for row in rows))
    series = {}
    for row in rows:
        values = [_number(row[key]) for key in ("value", "blessed", "tolerance")]
        if None not in values:
            apart = (values[0] - values[1]) / max(values[2], 1e-12)
            series.setdefault((row["notebook"], row["record"]), {})[row["date"], row["run"]] = apart
    last = sorted(series, key=lambda key: -abs(series[key].get(runs[-1], 0.0)))
    out = [key for key in last if abs(series[key].get(runs[-1], 0.0)) > 1][:named]
    with style():
        figure = new(6.5, 3.2, rows)
        axes = figure.add_axes((0.1, 0.2, 0.56, 0.7))
        axes.axhspan(-1, 1, color=COLOURS[2], alpha=0.12, lw=0)
        for key, points in series.items():
            colour = COLOURS[out.index(key) % len(COLOURS)] if key in out else "#999999"
            at = [i for i, run in enumerate(runs) if run in points]
            label = f"{key[0][:2]} {key[1]}"[:48] if key in out else None
            axes.plot(at, [points[runs[i]] for i in at], "o-", ms=2.5, lw=1.4 if key in out else 0.6,
                      color=colour, alpha=1 if key in out else 0.5, label=label)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylabel("from the blessed value, in tolerances")
        axes.set_xticks(range(len(runs))[-8:], [date[:10] for date, _ in runs][-8:], rotation=30, ha="right")
        axes.set_title(f"{len(series)} records over {len(runs)} runs")
        if out:
            figure.legend(loc="upper left", bbox_to_anchor=(0.67, 0.9), fontsize=6)
    return figure


def _number(value):
    try:
        return float({"True": 1, "False": 0}.get(str(value), value))
    except (TypeError, ValueError):
        return None
