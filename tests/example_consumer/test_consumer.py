"""Tests of a consumer, with the fixture of the pytest plugin and with simulated scenarios."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_a_recording_is_listed_once_it_is_complete(rokuga_recorder, index):
    started = rokuga_recorder.start_recording("lesson")
    rokuga_recorder.publish_in_background("lesson")  # this publisher is still sending at the stop
    rokuga_recorder.wait_for_event("archive.started", channel_id="lesson")
    rokuga_recorder.publish("lesson", seconds=1.5)
    rokuga_recorder.stop_recording("lesson")
    report = rokuga_recorder.wait_for_event("recording.report", channel_id="lesson")
    assert index.complete == {started["recording_id"]}
    sizes = {archive["file_path"]: archive["size"] for archive in report["data"]["archives"]}
    assert len(sizes) == 2
    assert {file: Path(file).stat().st_size for file in index.files} == sizes


@pytest.mark.parametrize(
    ("scenario", "files"), [("three-connections", 3), ("duplicate-delivery", 3), ("crash-and-recovery", 7)]
)
def test_files_are_listed_once_after_repeats_and_after_a_crash(index, tmp_path, scenario, files):
    command = [sys.executable, "-m", "rokuga", "simulate", scenario, "--url", index.url, "--speed", "inf"]
    subprocess.run([*command, "--archive-dir", str(tmp_path)], check=True)
    assert len(index.files) == len(set(index.files)) == files
    assert all(Path(file).exists() for file in index.files)
    assert len(index.complete) == 1
