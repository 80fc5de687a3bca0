"""Progress table and report of a soak."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from rokuga.devtools.soak import progress_table
from rokuga.devtools.soak.plan import SoakOptions
from rokuga.devtools.soak.plot import plot
from rokuga.devtools.soak.process_usage import Sample, loop_lag_ms, memory_trends
from rokuga.devtools.soak.report import html, summary
from rokuga.devtools.soak.results import Fault, SoakResults

SAMPLE = Sample(
    at_s=0.0,
    daemon=1,
    daemon_s=0.0,
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


def results(*resident_mb: float) -> SoakResults:
    """Return the results of a run with this memory in each of its minutes."""
    made = SoakResults(SoakOptions(publishers=20, seconds=60 * len(resident_mb)), "a machine", "a day")
    for second in range(60 * len(resident_mb)):
        at_s = float(second)
        sent = second * 1000
        made.samples.append(
            msgspec.structs.replace(
                SAMPLE,
                at_s=at_s,
                daemon_s=at_s,
                resident_mb=resident_mb[second // 60],
                packets=sent,
                dropped=sent // 50,
            )
        )
    made.seconds = 60.0 * len(resident_mb)
    return made


def test_memory_is_judged_after_five_minutes() -> None:
    """Earlier minutes do not count; one minute far from the mean is a fault."""
    (flat,) = memory_trends(results(50, 60, 70, 80, 90, 100, 101, 99, 102).samples)
    assert flat.is_flat
    assert (flat.minutes, flat.first_mb, flat.last_mb) == (4, 100, 102)
    (leak,) = memory_trends(results(50, 60, 70, 80, 90, 100, 104, 108, 112).samples)
    assert not leak.is_flat
    (slow_leak,) = memory_trends(results(50, 60, 70, 80, 90, 100, 102, 104, 106, 108).samples)
    assert slow_leak.deviation < 0.05, "no minute is far from the mean, but one cannot call it flat"
    assert not slow_leak.is_flat
    assert not list(memory_trends(results(50, 60, 70, 80, 90, 100).samples)), "one minute says nothing"


def test_each_daemon_is_judged_alone() -> None:
    samples = [
        msgspec.structs.replace(s, daemon=daemon) for daemon in (1, 2) for s in results(*[50.0 * daemon] * 8).samples
    ]
    assert [(trend.daemon, trend.mean_mb, trend.is_flat) for trend in memory_trends(samples)] == [
        (1, 50, True),
        (2, 100, True),
    ]


def test_the_report_is_one_file_with_verdict_summary_plots_and_faults() -> None:
    made = results(100, 100)
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


def test_the_summary_contains_cost_and_loss() -> None:
    found = summary(results(100, 100))
    assert found["CPU ms per publisher-second, median"] == 5.0
    assert found["datagrams lost on purpose"] == found["packets sent"] // 50
    assert summary(SoakResults(SoakOptions(publishers=1, seconds=1)))["files checked"] == 0


def test_the_lag_of_the_event_loop_is_read_from_the_metrics() -> None:
    assert loop_lag_ms("# TYPE x gauge\nrokuga_event_loop_lag_seconds 0.0015\nother 1\n") == 1.5
    with pytest.raises(ValueError, match="does not tell"):
        loop_lag_ms("other 1\n")


def test_table_and_line_show_the_last_second() -> None:
    made = results(100)
    assert len({len(row) for row in progress_table.rows(made)}) == 1, "columns are straight"
    assert "20 publishers" in progress_table.line(made)
    assert "RSS 100.0 MB" in progress_table.line(made)


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(second / 10, 1e6) for second in range(10_000)]])
def test_any_points_can_be_plotted(points: list[tuple[float, float]]) -> None:
    """None, zeros only, and more than a plot has room for."""
    text = plot("a plot", "unit", [("line", points)], 100.0)
    assert ElementTree.fromstring(re.findall(r"<svg.*?</svg>", text)[0]).tag == "svg"
    drawn = re.findall(r'points="(.*?)"', text)[0].split()
    assert len(drawn) <= 800
