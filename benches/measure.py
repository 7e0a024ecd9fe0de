"""Processes timed, their memory watched, and the page that the figures go to: what the scripts here have in common."""
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
BINARY = ROOT / "target" / "release" / "normfold"


@dataclass
class Model:
    """A model in a directory of its own, so that the data files beside it are known."""

    name: str
    path: Path

    @property
    def files(self):
        return sorted(f for f in self.path.parent.iterdir() if f.is_file())

    @property
    def bytes(self):
        return sum(f.stat().st_size for f in self.files)

    def label(self):
        n = self.bytes
        size = f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"
        return f"{self.name} ({size})"


@dataclass
class Outcome:
    """One process from start to end."""

    seconds: float
    peak: float  # MB of RssAnon, 0 where it was not watched
    failure: str  # empty, or what went wrong
    stdout: str


def emptied(directory):
    """The directory, with nothing in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def anonymous(pid):
    """RssAnon of a process now, in kB; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("RssAnon"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def watched(command, timeout=None, memory=None, pause=0.0, env=None):
    """Runs a process to its end, or until it takes longer (s) or more memory (MB) than it may; its peak of memory counts.

    With `pause` it is looked at only every so many seconds, so that watching costs the process nothing.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        peak, failure, start = 0, "", time.perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                 start_new_session=True, env=env)
        try:
            while child.poll() is None:
                peak = max(peak, anonymous(child.pid))
                if timeout and time.perf_counter() - start > timeout:
                    failure = f"no answer in {timeout:.0f} s"
                elif memory and peak * 1024 / 1e6 > memory:
                    failure = f"more than {memory / 1000:.0f} GB of memory"
                if failure:
                    break
                if pause:
                    # Ends with the process, so that its time is not rounded up.
                    try:
                        child.wait(pause)
                    except subprocess.TimeoutExpired:
                        pass
            seconds = time.perf_counter() - start
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        out.seek(0), err.seek(0)
        stdout, stderr = (f.read().decode(errors="replace") for f in (out, err))
    if not failure and child.returncode < 0:
        failure = f"killed by {signal.Signals(-child.returncode).name}"
    elif not failure and child.returncode:
        failure = f"exit code {child.returncode}"
    if failure:
        said = last_line(stderr) or last_line(stdout)
        failure += f": {said}" if said else ""
    return Outcome(seconds, peak * 1024 / 1e6, failure, stdout)


def timed(command, output, *others):
    """Seconds of one whole process; its directory of outputs, and others, are emptied first."""
    for directory in (output, *others):
        emptied(directory)
    start = time.perf_counter()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    seconds = time.perf_counter() - start
    if done.returncode or not any(output.iterdir()):
        sys.exit(f"error: {' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return seconds


def interleaved(runs, *sides):
    """The minimum of each (command, output directory), run in turn; one round before, uncounted, warms the cache.

    The outputs of all sides are removed before each run, so that each finds the same memory free (buffers.py shows what becomes
    of a copy beside another one). Every other round runs backwards: what a side leaves to be done (pages to be
    freed, blocks to be discarded) falls on itself as often as on another."""
    best = [float("inf")] * len(sides)
    for i in range(runs + 1):
        for j in range(len(sides)) if i % 2 else reversed(range(len(sides))):
            command, output = sides[j]
            seconds = timed(command, output, *(other for _, other in sides))
            if i:
                best[j] = min(best[j], seconds)
    for _, output in sides:
        emptied(output)
    return best


def fold(binary, model, output, *more):
    """The command that folds a model into a directory, and the directory."""
    return [binary, "opt", model.path, "-o", output / model.path.name, *more], output


def copy(model, output):
    """The command that copies a model's files into a directory, byte by byte, and the directory."""
    return ["cp", "--reflink=never", *model.files, output], output


def peak(command, output, runs):
    """The largest RssAnon of so many runs, in MB."""
    most = 0
    for _ in range(runs):
        emptied(output)
        outcome = watched(command)
        if outcome.failure:
            sys.exit(f"error: {' '.join(map(str, command))}: {outcome.failure}")
        most = max(most, outcome.peak)
    emptied(output)
    return most


def table(head, rows):
    """A table in Markdown, columns aligned."""
    rows = [[str(c).replace("|", "\\|") for c in r] for r in rows]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def machine():
    """What the figures were taken on, as far as they depend on it."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"Linux on {platform.machine()}, {os.cpu_count()} cores, {gigabytes:.0f} GB"


def version(binary):
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout.strip()


HEAD = """<!-- Written by benches/run.py and benches/compare.py with --write; do not edit. -->

# Benchmarks

Everything here is taken by two scripts that anyone can run, each of which writes its own sections; `--help` says how each figure is
taken.

    cargo build --release
    python3 benches/run.py --write
    python3 benches/compare.py --write
"""
SECTIONS = ("run.py", "compare.py")


def merged(old, new):
    """A script's part of the page with what `new` has of its sections, told apart by their headings."""
    heading = lambda s: s.split("\n", 1)[0] if s.startswith("## ") else ""  # noqa: E731
    split = lambda s: re.split(r"\n\n(?=## |Taken with )", s.strip())  # noqa: E731
    here = {heading(s): s for s in split(new)}
    kept = [here.pop(heading(s), s) for s in split(old)]
    return "\n\n".join([*kept, *(s for s in here.values() if s.startswith("## "))])


def write_section(name, text, part=False):
    """Puts a script's part into the page; the other's stays. With `part`, so do the sections that `text` has not."""
    old = PAGE.read_text() if PAGE.exists() else ""
    mark = lambda n: (f"<!-- begin {n} -->\n", f"<!-- end {n} -->\n")  # noqa: E731
    parts = []
    for section in SECTIONS:
        begin, end = mark(section)
        found = re.search(re.escape(begin) + "(.*?)" + re.escape(end), old, re.DOTALL)
        if section == name and part and found:
            text = merged(found[1], text)
        body = f"\n{text.strip()}\n\n" if section == name else found and found[1]
        if body:
            parts.append(begin + body + end)
    PAGE.write_text(HEAD + "\n" + "\n".join(parts))
