"""The report of a soak: one self-contained HTML file, and a summary by name. Pure."""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any, Final

from rokuga.devtools.soak.plot import Points, plot
from rokuga.devtools.soak.results import SoakResults

MAX_FAULTS: Final = 200

STYLE: Final = """
:root { color-scheme: light dark; --fg: #222; --bg: #fff; --grid: #ddd; --a: #1668b8; --b: #c2570c; --bad: #b3261e;
  --good: #1a7f37 }
@media (prefers-color-scheme: dark) { :root { --fg: #ddd; --bg: #161616; --grid: #383838; --a: #6cb2f5; --b: #f0a15e;
  --bad: #f2746b; --good: #57c974 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 900px;
  margin: 2em auto; padding: 0 1em }
h1 { margin-bottom: 0 } h2 { margin-top: 1.6em; font-size: 1.2em }
table { border-collapse: collapse; width: 100% } td, th { padding: .25em 1.2em .25em 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--grid) } th { font-weight: 600 }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.verdict { font-size: 1.4em; font-weight: 600; margin: .4em 0 }
.good { color: var(--good) } .bad { color: var(--bad) }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(20em, 1fr)); gap: 0 2.5em; margin: 1.5em 0 }
.figures div { display: flex; justify-content: space-between; border-bottom: 1px solid var(--grid); padding: .2em 0 }
.figures dd { margin: 0; font-variant-numeric: tabular-nums }
figure { margin: 1.4em 0 } svg { width: 100%; height: auto } svg text { fill: var(--fg); font-size: 11px }
.end { text-anchor: end } .mid { text-anchor: middle } .grid { stroke: var(--grid) }
.kill { stroke: var(--bad); stroke-dasharray: 3 3 } .key-kill { color: var(--bad) }
polyline { fill: none; stroke-width: 1.3; stroke-linejoin: round }
.line0 { stroke: var(--a) } .line1 { stroke: var(--b) } .key0 { color: var(--a) } .key1 { color: var(--b) }
code { font-size: .9em }
"""


def html(results: SoakResults) -> str:
    """Return the report as HTML."""
    options = results.options
    verdict = "No faults." if results.is_clean else f"{len(results.faults)} faults."
    tone = "good" if results.is_clean else "bad"
    asked = (
        f"{options.publishers} publishers, {options.seconds / 60:g} minutes, "
        f"{'churn, ' if options.churn else ''}{options.loss:.1%} loss, "
        f"{f'parts of {options.split_s} s' if options.split_s else 'no parts'}, "
        f"{len(results.kills_s)} kills, seed {options.seed}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Rokuga soak: {escape(verdict)}</title>'
        f"<style>{STYLE}</style><h1>Rokuga soak</h1>"
        f'<p class="verdict {tone}">{escape(verdict)}</p><p>{escape(asked)}.<br>{escape(results.date)}, '
        f"{escape(results.machine)}</p>{_table(results)}{''.join(_plots(results))}{_memory(results)}{_faults(results)}"
        "</html>"
    )


def summary(results: SoakResults) -> dict[str, Any]:
    """Return the main figures by name."""
    audit = results.audit
    last = results.samples[-1] if results.samples else None
    return {
        "faults": len(results.faults),
        "minutes": round(results.seconds / 60, 1),
        "connections": results.connections,
        "recordings": results.recordings,
        "archives": results.archives,
        "files checked": audit.files,
        "of these recovered after a kill": audit.recovered_files,
        "frames checked": audit.units,
        "frames missing, all accounted for": audit.missing_units,
        "packets sent": last.packets if last else 0,
        "datagrams lost on purpose": last.dropped if last else 0,
        "packets sent again": last.retransmissions if last else 0,
        "packets not repaired": audit.unrepaired_packets,
        "datagrams dropped by the kernel": max((sample.kernel_drops for sample in results.samples), default=0),
        "worst sync, ms": round(audit.worst_sync_ms, 1),
        "worst sync in a publisher's first 3 s, ms": round(audit.worst_start_sync_ms, 1),
        "events": results.events,
        "deliveries": results.deliveries,
        "not accepted on purpose": results.failed_on_purpose,
        "repeats": results.repeats,
        "kills": len(results.kills_s),
        "CPU ms per publisher-second, median": round(results.median_of("cpu_ms"), 2),
        "RSS MB, median": round(results.median_of("resident_mb"), 1),
        "event-loop lag ms, median": round(results.median_of("lag_ms"), 1),
        "event-loop lag ms, 99 %": round(results.percentile_99_of("lag_ms"), 1),
        "answer of /metrics ms, median": round(results.median_of("answer_ms"), 1),
        "answer of /metrics ms, 99 %": round(results.percentile_99_of("answer_ms"), 1),
    }


def _table(results: SoakResults) -> str:
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value:,}</dd></div>" for name, value in summary(results).items()
    )
    return f'<dl class="figures">{rows}</dl>'


def _plots(results: SoakResults) -> Iterator[str]:
    samples, end_s, kills_s = results.samples, results.seconds, results.kills_s

    def line(name: str) -> Points:
        return [(sample.at_s, float(getattr(sample, name))) for sample in samples]

    yield plot("CPU of the daemon", "ms per publisher and second", [("CPU", line("cpu_ms"))], end_s, kills_s)
    yield plot("Memory of the daemon", "MB", [("RSS", line("resident_mb"))], end_s, kills_s)
    lag = [("event loop", line("lag_ms")), ("answer of /metrics", line("answer_ms"))]
    yield plot("Lag", "ms", lag, end_s, kills_s)
    lost = [(b.at_s, _share(b.dropped - a.dropped, b.packets - a.packets)) for a, b in pairwise(samples)]
    again = [
        (b.at_s, _share(b.retransmissions - a.retransmissions, b.packets - a.packets)) for a, b in pairwise(samples)
    ]
    yield plot("Loss", "% of the packets sent", [("lost on purpose", lost), ("sent again", again)], end_s, kills_s)
    yield plot("Publishers", "sending", [("publishers", line("publishers"))], end_s, kills_s)


def _share(part: int, whole: int) -> float:
    return 100 * part / whole if whole > 0 else 0.0


def _memory(results: SoakResults) -> str:
    rows = "".join(
        f'<tr><td>{trend.daemon}</td><td class="number">{trend.minutes}</td>'
        f'<td class="number">{trend.mean_mb:.1f}</td>'
        f'<td class="number">{trend.first_mb:.1f}</td><td class="number">{trend.last_mb:.1f}</td>'
        f'<td class="number">{trend.deviation:.1%}</td>'
        f'<td class="number">{trend.rise:+.1%}</td><td class="{"good" if trend.is_flat else "bad"}">'
        f"{'flat' if trend.is_flat else 'not flat'}</td></tr>"
        for trend in results.memory
    )
    names = ("minutes", "mean MB", "first", "last", "farthest from the mean", "rise")
    columns = "".join(f'<th class="number">{name}</th>' for name in names)
    head = f"<tr><th>daemon</th>{columns}<th></th></tr>"
    return f"<h2>Memory after the first five minutes</h2><table>{head}{rows}</table>" if rows else ""


def _faults(results: SoakResults) -> str:
    if results.is_clean:
        return ""
    rows = "".join(
        f'<tr><td class="number">{fault.at_s / 60:.1f} min</td><td><code>{escape(fault.where)}</code></td>'
        f"<td>{escape(fault.what)}</td></tr>"
        for fault in results.faults[:MAX_FAULTS]
    )
    return f"<h2>Faults</h2><table>{rows}</table>"
