"""The generated legality corpus: one small model per operator, type, opset and obstacle, with its verdict."""
import onnx
import pytest

import builder
import cases
import harness


@pytest.mark.parametrize("point", cases.all_cases(), ids=lambda p: p[0].name)
def test_verdict(point, tmp_path):
    case, opset, dtype = point
    src, dst, again, same = (tmp_path / f"{n}.onnx" for n in ("in", "out", "again", "same"))
    builder.save(cases.build(case, opset, dtype), src)

    report = harness.opt(src, dst, *case.args)
    for counts, folded, kept in ((report.norms, case.folded, case.kept), (report.chains, case.chains, case.kept_chains)):
        assert folded is None or counts["folded"] == folded, verdicts(report)
        assert kept is None or harness.agree(counts["reasons"], kept), verdicts(report)
    if report.folded + report.chains["folded"] == 0:
        assert dst.read_bytes() == src.read_bytes(), "nothing folded, yet the file differs"

    complaint = harness.check(src)
    assert complaint or not harness.check(dst), harness.check(dst)
    assert not harness.untouched(onnx.load(src), onnx.load(dst))
    if case.judged:
        worst, engine = harness.compare(src, dst)
        assert worst <= (case.tolerance or harness.tolerance(src, engine)), f"{worst:.1e} by {engine}"

    second = harness.opt(dst, again, *case.args)
    assert second.folded + second.chains["folded"] == 0 and again.read_bytes() == dst.read_bytes(), "a second run changed something"
    harness.copy(src, same)
    assert same.read_bytes() == src.read_bytes(), "a run without passes changed something"


def verdicts(report):
    """What the run said, for the failure message."""
    lines = [f"{r['kind']} {r['op']} {r.get('code')}: {r['message']}" for r in report.remarks]
    return "\n".join([str(report.norms), str(report.chains), *lines])


def test_names_are_unique():
    names = [c.name for c, *_ in cases.all_cases()]
    assert len(names) == len(set(names)) > 1100
