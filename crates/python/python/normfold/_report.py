"""What a run did: counts, a verdict for every batch norm, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What a batch norm, and a chain of arithmetic that does the same, is called by remarks of the pass that folds.
_FOLD = "fold-bn"
_NORM = "batch_norm"


class Counts:
    """What became of the batch norms of a model, or of its affine chains."""

    __slots__ = ("total", "folded", "kept", "removed", "reasons")

    def __init__(self, data: Mapping[str, Any]):
        #: How many there were before the first pass.
        self.total: int = data["total"]
        #: Those that were folded.
        self.folded: int = data["folded"]
        #: Those that are left.
        self.kept: int = data["kept"]
        #: Those that were gone before a fold was tried: nothing read them, or they computed what another one did.
        self.removed: int = data["removed"]
        #: How many are left for which reason, the most frequent first.
        self.reasons: dict[str, int] = dict(data["reasons"])

    def __repr__(self) -> str:
        return f"Counts(total={self.total}, folded={self.folded}, kept={self.kept}, removed={self.removed}, reasons={self.reasons})"


class Remark:
    """What a pass says about one op."""

    __slots__ = ("kind", "pass_name", "graph", "op", "name", "code", "message", "args")

    def __init__(self, data: Mapping[str, Any]):
        #: ``passed``, ``missed``, ``failure`` or ``analysis``.
        self.kind: str = data["kind"]
        #: The pass.
        self.pass_name: str = data["pass"]
        #: The graph that the op is in.
        self.graph: str = data["graph"]
        #: What the op is: ``batch_norm``, ``mul``, …
        self.op: str = data["op"]
        #: Its name in the model.
        self.name: str = data["location"]
        #: ``folded``, or the reason why it is kept; ``normfold.reason(code)`` explains it.
        self.code: str = data["code"]
        #: The same for people.
        self.message: str = data["message"]
        #: What else is known; docs/cli.md lists the fields.
        self.args: dict[str, Any] = dict(data["args"])

    @property
    def folded(self) -> bool:
        """Whether it says that a batch norm or a chain was folded."""
        return self.kind == "passed" and self.pass_name == _FOLD

    @property
    def unlock(self) -> str | None:
        """What would let it fold, of one that is kept."""
        return self.args.get("unlock")

    def __str__(self) -> str:
        return f'{self.pass_name}: {self.op} "{self.name}": {self.code}: {self.message}'

    def __repr__(self) -> str:
        return f"<Remark {self}>"


class Report:
    """What a run did. ``str()`` is a summary; in a notebook it is a table."""

    def __init__(self, json_text: str):
        import json

        self._data: dict[str, Any] = json.loads(json_text)
        #: The pipeline that ran, in its normal form.
        self.pipeline: str = self._data["pipeline"]
        #: What became of the batch norms.
        self.batch_norms = Counts(self._data["batch_norms"])
        #: What became of chains of arithmetic that scale per channel.
        self.affine_chains = Counts(self._data["affine_chains"])
        #: Every remark of every pass.
        self.remarks: list[Remark] = [Remark(r) for r in self._data["remarks"]]
        #: The largest relative error that the certificate of a fold measured; ``None`` without a fold.
        self.largest_error: float | None = _number(self._data.get("largest_error"))
        #: The largest that one allows.
        self.largest_bound: float | None = _number(self._data.get("largest_bound"))
        #: What the output has not, or under another name.
        self.notes: list[str] = list(self._data.get("notes", ()))

    @property
    def verdicts(self) -> list[Remark]:
        """One remark for every batch norm and chain that the fold looked at."""
        return [r for r in self.remarks if r.pass_name == _FOLD and r.kind in ("passed", "missed")]

    @property
    def folded(self) -> list[Remark]:
        """The verdicts about batch norms that were folded."""
        return [r for r in self.verdicts if r.op == _NORM and r.folded]

    @property
    def kept(self) -> list[Remark]:
        """The verdicts about batch norms that are left, with their reasons."""
        return [r for r in self.verdicts if r.op == _NORM and not r.folded]

    def to_dict(self) -> dict[str, Any]:
        """The report as the command line's ``--format=json`` has it; docs/cli.md has the schema."""
        import copy

        return copy.deepcopy(self._data)

    def to_json(self, indent: int | None = None) -> str:
        """``to_dict()`` as text."""
        import json

        return json.dumps(self._data, indent=indent, ensure_ascii=False)

    def _lines(self) -> Iterator[str]:
        for counts, noun in ((self.batch_norms, "batch norm"), (self.affine_chains, "affine chain")):
            if noun == "batch norm" or counts.total:
                yield f"folded {counts.folded} of {counts.total} {noun}{'' if counts.total == 1 else 's'}"
                if counts.kept:
                    reasons = ", ".join(f"{code} {n}" for code, n in counts.reasons.items())
                    yield f"  kept {counts.kept}: {reasons}"
                if counts.removed:
                    yield f"  {counts.removed} went before the fold: read by nothing, or the same as another one"
        if self.largest_error is not None and self.largest_bound is not None:
            yield f"  largest certified error {self.largest_error:.1e}, bound {self.largest_bound:.1e}"
        for note in self.notes:
            yield f"  note: {note}"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        norms = self.batch_norms
        return f"<Report: folded {norms.folded} of {norms.total}, kept {norms.kept}>"

    def _repr_html_(self) -> str:
        from html import escape

        def row(r: Remark) -> str:
            verdict = "folded" if r.folded else "kept"
            how = r.args.get("direction", "") if r.folded else r.code
            unlock = f"<br><small>to unlock: {escape(r.unlock)}</small>" if r.unlock else ""
            cells = (f"<code>{escape(r.name)}</code>", verdict, escape(str(how)), escape(r.message) + unlock)
            return "<tr>" + "".join(f"<td style='text-align:left'>{c}</td>" for c in cells) + "</tr>"

        # What is kept is what a reader looks for.
        verdicts = sorted(self.verdicts, key=lambda r: r.folded)
        shown, more = verdicts[:200], len(verdicts) - 200
        head = "".join(f"<th style='text-align:left'>{h}</th>" for h in ("name", "verdict", "way or reason", "where to, or why"))
        rest = f"<p>{more} more: see <code>report.verdicts</code></p>" if more > 0 else ""
        table = f"<details><summary>verdicts</summary><table><tr>{head}</tr>{''.join(map(row, shown))}</table>{rest}</details>"
        return f"<pre>{escape(str(self))}</pre>{table if shown else ''}"


class Pairs(list[tuple[Any, Any]]):
    """Pairs of a layer and the batch norm that was folded into it: a list, with the report beside it."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = (), report: Report | None = None):
        super().__init__(pairs)
        #: What became of every batch norm, those that are kept included.
        self.report = report


def _number(value: Any) -> float | None:
    # What is not finite is a word in JSON.
    return None if value is None else float(value)
