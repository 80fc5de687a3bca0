"""Table and report: what a run has come to, in a terminal and in one file that needs no other."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from rokuga.devtools.soak import table
from rokuga.devtools.soak.figures import Fault, Figures
from rokuga.devtools.soak.plan import Options
from rokuga.devtools.soak.plot import plot
from rokuga.devtools.soak.report import html, summary
from rokuga.devtools.soak.watch import Sample, flatness, loop_lag_ms

SAMPLE = Sample(
    at_s=0.0,
    life=1,
    life_s=0.0,
    publishers=20,
    cpu_share=0.1,
    resident_mb=100.0,
    lag_ms=2.0,
    answer_ms=3.0,
    packets=0,
    dropped=0,
    retransmissions=0,
    kernel_drops=0,
)


def figures(*resident_mb: float) -> Figures:
    """Give a run whose memory was so much in each of its minutes."""
    made = Figures(Options(publishers=20, seconds=60 * len(resident_mb)), "a machine", "a day")
    for second in range(60 * len(resident_mb)):
        at_s = float(second)
        sent = second * 1000
        made.samples.append(
            replace(
                SAMPLE,
                at_s=at_s,
                life_s=at_s,
                resident_mb=resident_mb[second // 60],
                packets=sent,
                dropped=sent // 50,
            )
        )
    made.seconds = 60.0 * len(resident_mb)
    return made


def test_memory_is_flat_or_not_after_five_minutes() -> None:
    """What happens before is of no matter; one minute that is far from the mean is enough."""
    (flat,) = flatness(figures(50, 60, 70, 80, 90, 100, 101, 99, 102).samples)
    assert flat.is_flat
    assert (flat.minutes, flat.first_mb, flat.last_mb) == (4, 100, 102)
    (leak,) = flatness(figures(50, 60, 70, 80, 90, 100, 104, 108, 112).samples)
    assert not leak.is_flat
    (slow_leak,) = flatness(figures(50, 60, 70, 80, 90, 100, 102, 104, 106, 108).samples)
    assert slow_leak.deviation < 0.05, "no minute is far from the mean, but one cannot call it flat"
    assert not slow_leak.is_flat
    assert not list(flatness(figures(50, 60, 70, 80, 90, 100).samples)), "one minute says nothing"


def test_each_daemon_is_judged_alone() -> None:
    lives = [replace(s, life=life) for life in (1, 2) for s in figures(*[50.0 * life] * 8).samples]
    assert [(life.life, life.mean_mb, life.is_flat) for life in flatness(lives)] == [(1, 50, True), (2, 100, True)]


def test_the_report_is_one_file_with_verdict_figures_plots_and_faults() -> None:
    made = figures(100, 100)
    assert "No faults." in html(made)
    made.faults.append(Fault(3.0, "archive-<x>.webm", "video & audio"))
    made.kills_s.append(60.0)
    text = html(made)
    assert "1 faults." in text
    assert "archive-&lt;x&gt;.webm" in text
    assert "video &amp; audio" in text
    assert not re.search(r"(src|href)=|@import|url\(", text)
    drawings = re.findall(r"<svg.*?</svg>", text)
    assert len(drawings) == 5
    assert all(ElementTree.fromstring(drawing).tag == "svg" for drawing in drawings)
    assert all('class="kill"' in drawing for drawing in drawings)


def test_the_summary_tells_cost_and_loss() -> None:
    told = summary(figures(100, 100))
    assert told["CPU ms per publisher-second, median"] == 5.0
    assert told["datagrams lost on purpose"] == told["packets sent"] // 50
    assert summary(Figures(Options(publishers=1, seconds=1)))["files checked"] == 0


def test_the_loops_lag_is_read_from_the_metrics() -> None:
    assert loop_lag_ms("# TYPE x gauge\nrokuga_event_loop_lag_seconds 0.0015\nother 1\n") == 1.5
    with pytest.raises(ValueError, match="does not tell"):
        loop_lag_ms("other 1\n")


def test_table_and_line_tell_the_last_second() -> None:
    made = figures(100)
    assert len({len(row) for row in table.rows(made)}) == 1, "columns are straight"
    assert "20 publishers" in table.line(made)
    assert "RSS 100.0 MB" in table.line(made)


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(second / 10, 1e6) for second in range(10_000)]])
def test_any_points_can_be_drawn(points: list[tuple[float, float]]) -> None:
    """None, nothing but zero, many: thinned, and the highest of them is kept."""
    text = plot("a plot", "unit", [("line", points)], 100.0)
    assert ElementTree.fromstring(re.findall(r"<svg.*?</svg>", text)[0]).tag == "svg"
    drawn = re.findall(r'points="(.*?)"', text)[0].split()
    assert len(drawn) <= 800
