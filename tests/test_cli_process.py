"""The command as a process: pipes, terminals, folders, Ctrl-C and `kill -9`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_calls import SPACE, command, good, process
from small_task import TASK, write_task

SLOW = TASK.replace("{ epochs = 1, batch = 40 }", "{ epochs = 15, batch = 40 }").replace(
    "epochs = 3\n", "epochs = 25\n"
)


def test_a_broken_pipe_is_quiet(tmp_path: Path) -> None:
    words = command("sample", SPACE, "-n", "2000")
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(timeout=60) == 141


def test_any_folder_and_paths_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "my space.fuse").write_text(SPACE.read_text())
    done = process("sample", "a b/my space.fuse", "--out", "c d", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = done.stdout.strip()
    assert process("cost", f"../{drawn}", cwd=folder).returncode == 0


def test_an_encoding_that_lacks_a_sign_is_no_traceback(tmp_path: Path) -> None:
    done = process("explain", "task", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stderr == ""


def on_a_terminal(*words: str | Path, **env: str) -> str:
    """What a command prints to a terminal of 100 columns."""
    script = "import pty, sys\npty.spawn(sys.argv[1:])\n"
    done = subprocess.run(
        [sys.executable, "-c", script, *command(*words)],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env},
    )
    return done.stdout.replace("\r\n", "\n")


@pytest.mark.skipif(not hasattr(pty, "spawn"), reason="needs pseudo-terminals")
def test_numbers_have_separators_on_a_terminal() -> None:
    assert on_a_terminal("count", SPACE) == "5,308,416\n"


@pytest.mark.skipif(not hasattr(pty, "spawn"), reason="needs pseudo-terminals")
def test_no_color_is_honoured() -> None:
    coloured = on_a_terminal("explain", "E601")
    assert "\x1b[" in coloured
    plain = on_a_terminal("explain", "E601", NO_COLOR="1")
    assert "\x1b[3" not in plain  # colours; bold and italics may stay


def _wait_for(events: Path, wanted: str, number: int, running: subprocess.Popen[bytes]) -> None:
    """Until the log of events has so many lines of a kind."""
    until = time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        if events.is_file() and events.read_text().count(f'"event": "{wanted}"') >= number:
            return
        time.sleep(0.002)
    raise AssertionError(f"no {number} {wanted}: ended with {running.poll()}")


def test_interrupted_and_killed_searches_end_as_one_that_was_not(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    task.write_text(SLOW)
    good("search", task, "--out", tmp_path / "whole", "-q")
    run = tmp_path / "in parts"
    events = run / "events.jsonl"

    def begun(*words: str) -> subprocess.Popen[bytes]:
        full = command("search", task, "--out", run, *words)
        return subprocess.Popen(full, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    first = begun()
    _wait_for(events, "TrialFinished", 3, first)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "interrupted; to go on: fusegraph search" in told.decode()
    assert "--resume --out" in told.decode()
    assert not (run / "results.json").exists()

    second = begun("--resume")
    _wait_for(events, "TrialFinished", 6, second)
    second.kill()
    second.communicate()
    third = begun("--resume")
    _wait_for(events, "EpochEnded", 35, third)  # in the second of the final trainings
    third.kill()
    third.communicate()

    good("search", task, "--out", run, "--resume", "-q")
    for name in ("results.json", "genotypes/best.fuse", "preprocessing.json"):
        assert (run / name).read_text() == (tmp_path / "whole" / name).read_text()
    for name in ("checkpoints/best.safetensors", "model.onnx"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for line in events.read_text().splitlines():
        json.loads(line)
