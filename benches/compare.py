#!/usr/bin/env python3
"""Runs normfold beside other tools on the same files, and judges what each of them wrote.

    cargo build --release
    python3 benches/compare.py [--resnet50 FILE] [--mobilenet FILE] [--tools A,B] [--models PART,PART] [--more FILE …] [--write]

Needs Linux, 20 GB of disk with the tools (their Python environments are made on first use outside the repository, see
environments.py; aimet-onnx alone brings 6 GB), and memory for what the tools take: each is ended when it takes longer than --timeout or more than
--memory, and the table says so. Models are as in run.py; --write puts the tables into docs/benchmarks.md.

Per tool and model, page cache warm: the time of the whole process; the time of load, fold and save within it (imports of
Python left out; for normfold from its trace); the largest RssAnon, as in run.py, but polled every 5 ms for the other tools so that it costs
them nothing; batch norms left in the output; and the largest difference of the outputs before and after, relative to
the largest output, in onnxruntime with its own optimizations off (judge.py). An output that does not run, or differs by
more than 1e-5 (2e-3 with f16), is wrong. The minimum of --runs runs counts for normfold and `cp`, that of up to 3 for
other tools, as many as take --patience seconds together.

The last table holds what normfold states against what is observed: every weight that a batch norm was folded into is
computed again in extended precision. --more names models for that table only.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import chain
import environments
import measure
import models
from measure import Model, Outcome, copy, emptied, fold, table, watched

RIVAL, JUDGE = (Path(__file__).with_name(n) for n in ("rival.py", "judge.py"))

# What is run, and the environment that has it.
TOOLS = {
    "onnxsim": "onnxsim",
    "onnxslim": "onnxslim",
    "onnxscript": "onnxscript",
    "onnxruntime-basic": "onnxruntime",
    "onnxruntime-extended": "onnxruntime",
    "aimet-onnx": "aimet-onnx",
}
NAMES = {"onnxslim": "OnnxSlim", "onnxruntime-basic": "onnxruntime, basic", "onnxruntime-extended": "onnxruntime, extended"}

# Models of tests/models that are not what tools expect.
AWKWARD = ("awkward", "dcgan_groups", "if_captures", "small_fp16", "external")


@dataclass
class Row:
    """A tool on a model."""

    tool: str
    seconds: float = 0.0
    inside: float = 0.0
    peak: float = 0.0
    left: int | None = None
    error: float | None = None
    wrong: str = ""  # what is wrong with the output
    failure: str = ""  # why there is none

    def cells(self):
        if self.failure:
            return self.tool, "–", "–", f"{self.peak:.0f} MB" if self.peak else "", "", "", self.failure
        figure = lambda x, form: "" if x is None else format(x, form)  # noqa: E731
        return (self.tool, f"{self.seconds:.3g} s", f"{self.inside:.3g} s" if self.inside else "", f"{self.peak:.0f} MB",
                figure(self.left, "d"), figure(self.error, ".1e"), f"wrong: {self.wrong}" if self.wrong else "")

    @property
    def right(self):
        return not self.failure and not self.wrong


def judged(args, what, original, output, other):
    """What judge.py finds; a row's `wrong` where it finds nothing."""
    outcome = watched([args.judge, JUDGE, what, original, output, other], timeout=600, pause=0.05)
    if outcome.failure:
        return {"wrong": f"not judged, {outcome.failure}"}
    return json.loads(measure.last_line(outcome.stdout))


def span(trace):
    """Seconds from the start of `open` to the end of `save` in a trace of normfold."""
    events = json.loads(trace.read_text())
    first = min(e["ts"] for e in events if e["name"] == "open" and e["ph"] == "B")
    return (max(e["ts"] for e in events if e["name"] == "save" and e["ph"] == "E") - first) / 1e6


def best(outcomes):
    return Outcome(min(o.seconds for o in outcomes), max(o.peak for o in outcomes), "", outcomes[0].stdout)


def normfold(args, model, work):
    """The row of normfold, and its report."""
    out, trace, report = work / "normfold", work / "trace.json", work / "report.json"
    command = fold(args.normfold, model, out)[0]
    outcomes, insides = [], []
    for _ in range(args.runs + 1):
        seconds = measure.timed(command, out)
        outcomes.append(Outcome(seconds, 0, "", ""))
    seconds = best(outcomes[1:]).seconds
    # What takes seconds need not be repeated to be known.
    again = 3 if seconds < 1 else 1
    for _ in range(again):
        emptied(out)
        subprocess.run([*map(str, command), "--trace", str(trace)], capture_output=True, check=True)
        insides.append(span(trace))
    row = Row("normfold", seconds, min(insides), measure.peak(command, out, again))
    row.inside = min(row.inside, row.seconds)
    emptied(out)
    subprocess.run([*map(str, command), "--report", str(report)], capture_output=True, check=True)
    return row, out / model.path.name, report


def other(args, tool, model, work):
    """The row of another tool."""
    row, out = Row(NAMES.get(tool, tool)), work / "other"
    python = environments.python(TOOLS[tool])
    if not python:
        row.failure = "could not be installed"
        return row, None
    command = [python, RIVAL, tool, model.path, out / model.path.name]
    outcomes = []
    while len(outcomes) < 3:
        emptied(out)
        outcome = watched(command, args.timeout, args.memory, pause=0.005)
        if not outcome.failure and not (out / model.path.name).exists():
            outcome.failure = f"wrote nothing: {measure.last_line(outcome.stdout)}"
        outcomes.append(outcome)
        if outcome.failure or sum(o.seconds for o in outcomes) + outcome.seconds > args.patience:
            break
    row.peak = max(o.peak for o in outcomes)
    row.failure = next((o.failure for o in outcomes if o.failure), "")
    if row.failure:
        return row, None
    row.seconds = min(o.seconds for o in outcomes)
    row.inside = min(json.loads(measure.last_line(o.stdout))["seconds"] for o in outcomes)
    return row, out / model.path.name


def copied(args, model, work):
    command, out = copy(model, work / "copy")
    seconds = [measure.timed(command, out) for _ in range(args.runs + 1)]
    emptied(out)
    return Row("`cp`", min(seconds[1:]))


def compared(args, model, work):
    """All rows of a model, and what normfold states of it."""
    kept = work / "kept.npz"
    kept.unlink(missing_ok=True)
    cp = copied(args, model, work)
    rows, output, report = [], None, None

    def add(row, output):
        if output:
            for key, value in judged(args, "outputs", model.path, output, kept).items():
                if hasattr(row, key):
                    setattr(row, key, value)
        # Where the files were is of no interest.
        row.wrong, row.failure = (shortened(t.replace(f"{work}/", "")) for t in (row.wrong, row.failure))
        rows.append(row)
        print(f"{model.name} | " + " | ".join(row.cells()), flush=True)

    row, output, report = normfold(args, model, work)
    add(row, output)
    stated = judged(args, "weights", model.path, output, report)
    emptied(work / "normfold")
    for tool in args.tools:
        add(*other(args, tool, model, work))
        emptied(work / "other")
    return cp, rows, stated


def each_model(args, work):
    """Name, model, and GB of disk that it takes with two outputs; each is there only while it is used."""
    yield "mobilenet_v2", lambda: models.known(work, "mobilenet_v2", args.mobilenet), 1
    yield "resnet50", lambda: models.known(work, "resnet50", args.resnet50), 1
    made = [
        ("chain of 10,000 blocks", chain.write, {"blocks": 10_000, "kind": "tapped"}, 1),
        ("1.5 GB, every weight folded", models.large, models.ALL, 5),
        ("1.5 GB, one weight in a hundred folded", models.large, models.SOME, 5),
        ("4 GB in a file beside it", models.large, models.EXTERNAL, 9),
    ]
    for name, write, kw, disk in made:
        yield name, lambda: models.model(work, name, write, **kw), disk  # noqa: B023: used before the next one
    for name in AWKWARD:
        yield name, lambda: beside(work, measure.ROOT / "tests" / "models" / f"{name}.onnx"), 1  # noqa: B023


@contextlib.contextmanager
def beside(work, path):
    """A copy of a model, and of the files beside it that are called after it."""
    directory = emptied(work / "model")
    for f in path.parent.glob(f"{path.stem}.*"):
        shutil.copyfile(f, directory / f.name)
    yield Model(path.stem, directory / path.name)
    shutil.rmtree(directory)


def shortened(text, most=160):
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def fewest(rows):
    """The fewest batch norms that another tool leaves in an output that is right, and which tool."""
    right = [r for r in rows[1:] if r.right and r.left is not None]
    return min(right, key=lambda r: r.left, default=None)


def summary(found):
    """One line per model: how much faster, and whether another tool leaves fewer batch norms."""
    rows = []
    for label, _, all_rows, stated in found:
        ours, answered = all_rows[0], [r for r in all_rows[1:] if not r.failure]
        fastest, few = min(answered, key=lambda r: r.seconds, default=None), fewest(all_rows)
        ratio = fastest and fastest.seconds / ours.seconds
        rows.append((
            label, f"{ratio:.0f} × ({fastest.tool})" if fastest else "no other tool answered",
            "yes" if not fastest or ratio >= 5 else "**no**", ours.left,
            f"{few.left} ({few.tool})" if few else "–", "yes" if not few or ours.left <= few.left else "**no**",
            "yes" if ours.right else "**no**"))
    return table(("model", "faster than the fastest other tool", "≥ 5 ×", "batch norms left", "fewest of others, output right",
                  "none fewer", "output right"), rows)


def bounds(found):
    """What normfold states beside what is observed."""
    rows = []
    for label, _, all_rows, stated in found:
        if "checked" not in stated:
            rows.append((label, *[""] * 5, stated.get("wrong", "")))
            continue
        figure = lambda x: "–" if x is None else f"{x:.2e}"  # noqa: E731
        error = all_rows[0].error if all_rows else None
        rows.append((label, stated["folded"], figure(stated["certified"]), figure(stated["stated"]), stated["checked"],
                     figure(stated["observed"]) if stated["checked"] else "–", ("yes" if stated["holds"] else "**no**") if stated["checked"] else "", figure(error)))
    return table(("model", "folds", "largest certified error", "largest rounding stated", "weights computed again", "largest rounding observed",
                  "observed ≤ stated", "outputs differ by"), rows)


def sizes(args):
    """How much each tool is on disk."""
    rows = [("normfold", measure.version(args.normfold).split()[-1], f"{args.normfold.stat().st_size / 1e6:.0f} MB", "one program")]
    for name in dict.fromkeys(TOOLS[t] for t in args.tools):
        if environments.environment(name):
            package, _, version = environments.TOOLS[name][0].partition("==")
            rows.append((NAMES.get(package, package), version, f"{environments.installed(name) / 1e6:,.0f} MB", "with what it depends on, Python left out"))
    return table(("tool", "version", "installed", ""), rows)


def page(args, found, more):
    tables = []
    for label, cp, rows, _ in found:
        head = ("tool", "process", "load, fold, save", "anonymous memory", "batch norms left", "largest error", "")
        tables.append(f"### {label}\n\n" + table(head, [cp.cells()[:2] + ("",) * 5, *(r.cells() for r in rows)]))
    return "\n\n".join([
        "## Beside other tools",
        f"Each tool had {args.timeout:.0f} s and {args.memory / 1000:.0f} GB. Aimed at: whole process at least 5 times as fast as the fastest "
        "other tool that answers, and never more batch norms left than by a tool whose output is right.",
        summary(found), *tables, "### Installed size", sizes(args), "### Stated and observed",
        "`largest certified error` is what the certificates of all folds measured, relative to the magnitudes summed; `largest rounding stated` "
        "bounds what a stored weight is off by, relative to the largest of its channel, and the weights of plain folds were computed "
        "again in extended precision to see whether it does.",
        bounds([*found, *more]),
        f"Taken with {measure.version(args.normfold)}, {measure.machine()}; {args.runs} runs of normfold and `cp`."])


def main():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--normfold", type=Path, default=measure.BINARY, metavar="BINARY")
    ap.add_argument("--resnet50", type=Path, metavar="FILE")
    ap.add_argument("--mobilenet", type=Path, metavar="FILE")
    ap.add_argument("--tools", type=lambda s: s.split(","), default=list(TOOLS), help=f"some of {','.join(TOOLS)}")
    ap.add_argument("--models", type=lambda s: s.split(","), default=[""], help="parts of the names of the models to run")
    ap.add_argument("--more", type=Path, nargs="*", default=[], metavar="FILE", help="models to check the stated rounding of")
    ap.add_argument("--runs", type=int, default=7)
    ap.add_argument("--timeout", type=float, default=180, help="seconds (default: 180)")
    ap.add_argument("--memory", type=float, default=0.8 * memory, help="MB (default: 80 %% of the machine's)")
    ap.add_argument("--patience", type=float, default=4, help="seconds to repeat another tool's runs in (default: 4)")
    ap.add_argument("--work", type=Path, help="where the files go (default: a temporary directory)")
    ap.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = ap.parse_args()
    if not args.normfold.exists():
        ap.error(f"{args.normfold} does not exist; run 'cargo build --release'")
    if not set(args.tools) <= TOOLS.keys():
        ap.error(f"--tools is some of {','.join(TOOLS)}")
    args.normfold = args.normfold.resolve()
    args.judge = environments.python("judge") or sys.exit("error: no environment for the judge")
    for tool in args.tools:
        environments.python(TOOLS[tool])
    found, more = [], []
    with tempfile.TemporaryDirectory(dir=args.work) as directory:
        work = Path(directory)
        for name, made, disk in each_model(args, work):
            if any(part in name for part in args.models):
                models.room(work, disk)
                with made() as model:
                    found.append((model.label(), *compared(args, model, work)))
        for path in args.more:
            out, report = emptied(work / "normfold") / path.name, work / "report.json"
            subprocess.run([args.normfold, "opt", path, "-o", out, "--report", report], capture_output=True, check=True)
            more.append((path.stem, None, [], judged(args, "weights", path, out, report)))
    text = page(args, found, more)
    print("\n" + text)
    if args.write:
        measure.write_section("compare.py", text)


if __name__ == "__main__":
    main()
