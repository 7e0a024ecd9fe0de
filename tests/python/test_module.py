"""Module, Pipeline and Report, which need numpy alone."""
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import normfold
import pytest


@pytest.fixture
def mobilenet(models):
    return models / "mobilenet_v2_x025.onnx"


def test_a_model_is_opened_run_and_saved(mobilenet, tmp_path):
    module = normfold.Module(mobilenet)
    assert module.report is None and module.name == str(mobilenet)
    report = module.run("fold-bn{direction=both},dce")
    assert (report.batch_norms.total, report.batch_norms.folded, report.batch_norms.kept) == (52, 52, 0)
    assert len(report.folded) == 52 and report.kept == []
    assert report.largest_error <= report.largest_bound
    assert "folded 52 of 52 batch norms" in str(report)
    out = tmp_path / "out.onnx"
    assert module.save(out) == [str(out)]
    assert module.to_bytes() == out.read_bytes()
    again = normfold.Module(out.read_bytes()).run()
    assert again.batch_norms.total == 0
    assert os.listdir(tmp_path) == ["out.onnx"]


def test_without_a_pass_the_bytes_are_the_same(mobilenet):
    data = mobilenet.read_bytes()
    assert normfold.Module(data).to_bytes() == data


def test_one_call_does_all(mobilenet, tmp_path):
    report = normfold.fold(mobilenet, tmp_path / "out.onnx", threads=2)
    assert report.batch_norms.folded == 52
    assert (tmp_path / "out.onnx").exists()


def test_it_is_what_the_program_does(mobilenet, models, tmp_path):
    for model in (mobilenet, models / "awkward.onnx", models / "keras" / "nested.keras", models / "torch" / "awkward.pt2"):
        ours, its = tmp_path / f"a{model.suffix}", tmp_path / f"b{model.suffix}"
        report = normfold.fold(model, ours)
        told = subprocess.run([sys.executable, "-m", "normfold", "opt", model, "-o", its, "--format=json"], capture_output=True, check=True)
        assert ours.read_bytes() == its.read_bytes()
        told = json.loads(told.stdout)
        assert [str(r) for r in report.remarks] == [str(normfold.Remark(r)) for r in told["remarks"]]
        assert report.to_dict()["batch_norms"] == told["batch_norms"]


def test_explain_changes_nothing(models):
    module = normfold.Module(models / "awkward.onnx")
    before = module.to_text()
    report = module.explain()
    assert report.batch_norms.folded == 9 and report.batch_norms.kept == 5
    assert report.batch_norms.reasons == {"multiple-consumers": 2, "padded-shift": 2, "activation-between": 1}
    for remark in report.kept:
        assert remark.unlock and remark.code in str(remark)
        assert normfold.reason(remark.code)
    assert module.to_text() == before and module.report is None


def test_text_is_read_again(mobilenet):
    module = normfold.Module(mobilenet)
    text = module.to_text("full")
    assert normfold.Module.from_text(text).to_text("full") == text
    assert "52" not in module.to_text("none")[:20]
    with pytest.raises(ValueError, match="hash, stats, full or none"):
        module.to_text("some")


def test_pipelines_are_checked():
    pipeline = normfold.Pipeline("fold-bn{direction=both}, dce")
    assert str(pipeline) == "fold-bn,dce" and pipeline == normfold.Pipeline("fold-bn,dce")
    assert repr(pipeline) == 'Pipeline("fold-bn,dce")' and hash(pipeline) == hash(normfold.Pipeline("fold-bn,dce"))
    with pytest.raises(normfold.PipelineError, match="fold-bm"):
        normfold.Pipeline("fold-bm")
    assert "fold-bn" in normfold.passes()


def test_errors_are_of_their_kind(models, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.onnx") as raised:
        normfold.Module(tmp_path / "nowhere.onnx")
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(IsADirectoryError):
        normfold.Module(tmp_path)
    with pytest.raises(normfold.InputError, match="text of no known format"):
        normfold.Module(b"hello, world")
    with pytest.raises(normfold.InputError, match="line 1"):
        normfold.Module.from_text("module @m {")
    module = normfold.Module(models / "opset7.onnx")
    with pytest.raises(OSError, match="nowhere"):
        module.save(tmp_path / "nowhere" / "out.onnx")
    with pytest.raises(ValueError, match="valid: keep, single, inline"):
        module.save(tmp_path / "out.onnx", external="some")
    with pytest.raises(ValueError, match="in bytes"):
        module.save(tmp_path / "out.onnx", external="above=some")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "external.bin").write_bytes(b"another file")
    with pytest.raises(normfold.OutputError, match='another directory; external="single" or "inline"'):
        normfold.Module(models / "external.onnx").save(tmp_path / "o" / "out.onnx")
    shutil.rmtree(tmp_path / "o")
    architecture = normfold.Module(models / "keras" / "nested.json")
    with pytest.raises(normfold.OutputError, match="no weights"):
        architecture.save(tmp_path / "out.json")
    with pytest.raises(TypeError):
        normfold.Module(b"", weights="w.h5")
    with pytest.raises(KeyError):
        normfold.reason("no-such-reason")
    assert issubclass(normfold.InputError, normfold.NormfoldError)
    assert os.listdir(tmp_path) == []


def test_weights_of_an_architecture(models, tmp_path):
    module = normfold.Module(models / "keras" / "nested.json", weights=models / "keras" / "nested.weights.h5")
    assert module.run().batch_norms.folded == 2
    files = module.save(tmp_path / "out.json", weights=tmp_path / "w.h5")
    assert files == [str(tmp_path / "out.json"), str(tmp_path / "w.h5")]


OVERFLOWING = """module @overflow {
  graph @main(%x: tensor<1x1xf16>) -> (%y: tensor<1x1xf16>) {
    %w = constant dense<[40000.0]> : tensor<1x1xf16>
    %gamma = constant dense<[1.0]> : tensor<1xf16>
    %zero = constant dense<[0.0]> : tensor<1xf16>
    %var = constant dense<[0.0625]> : tensor<1xf16>
    %a = linear %x, %w "fc" : tensor<1x1xf16>
    %y = batch_norm %a, %gamma, %zero, %zero, %var {eps = 0.0} "bn" : tensor<1x1xf16>
    return %y
  }
}
"""


def test_what_would_overflow_is_kept():
    module = normfold.Module.from_text(OVERFLOWING)
    report = module.run()
    assert report.batch_norms.reasons == {"overflow": 1}
    assert b"batch_norm" in module.to_bytes()


def test_reports_read_well(models):
    report = normfold.Module(models / "awkward.onnx").run()
    html = report._repr_html_()
    assert html.count("<tr>") == 15 and "padded-shift" in html and "to unlock" in html
    assert html.index("padded-shift") < html.index(">folded<")
    assert report.to_dict() == json.loads(report.to_json())
    assert repr(report) == "<Report: folded 9 of 14, kept 5>"
    hostile = normfold.Module.from_text(OVERFLOWING.replace('"bn"', '"<script>"')).explain()
    assert "<script>" not in hostile._repr_html_()
    module = normfold.Module(models / "awkward.onnx")
    assert module._repr_html_() is None
    module.run()
    assert module._repr_html_() == html
    ranges = normfold.Module(models / "awkward.onnx").run(ranges=True).to_dict()["layers"]
    assert ranges and all(len(layer["before"]["w_max"]) == layer["channels"] for layer in ranges)


def test_the_program_is_the_program(models, tmp_path):
    run = [sys.executable, "-m", "normfold"]
    help_ = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True).stdout
    assert "explain" in help_
    wrong = subprocess.run([*run, "opt", tmp_path / "nowhere.onnx"], capture_output=True, text=True)
    assert wrong.returncode == 3 and "nowhere.onnx" in wrong.stderr
    model, out = models / "mobilenet_v2_x025.onnx", tmp_path / "out.onnx"
    verified = subprocess.run([*run, "opt", model, "-o", out, "--verify"], capture_output=True, text=True)
    assert verified.returncode == 0 and "verified in rten" in verified.stdout, verified


def heed():
    """A child that was started to ignore SIGINT, as in the background of a shell, heeds it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# A chain that takes some seconds to fold.
LONG = """
import normfold, sys
n = 60_000
lines = ["module @chain {", "  graph @main(%x0: tensor<1x4xf32>) -> (%x{}: tensor<1x4xf32>) {{".format(n)]
lines += ["    %w = constant splat<0.25> : tensor<4x4xf32>", "    %v = constant splat<1.0> : tensor<4xf32>"]
for i in range(n):
    lines.append(f'    %c{i} = linear %x{i}, %w "fc{i}" : tensor<1x4xf32>')
    lines.append(f'    %b{i} = batch_norm %c{i}, %v, %v, %v, %v "bn{i}" : tensor<1x4xf32>')
    lines.append(f'    %x{i + 1} = relu %b{i} : tensor<1x4xf32>')
module = normfold.Module.from_text("\\n".join([*lines, f"    return %x{n}", "  }", "}", ""]))
"""


def test_long_calls_let_others_run_and_end_on_ctrl_c(tmp_path):
    script = LONG + """
import threading, time
ticks, stop = [0], False
def tick():
    while not stop:
        ticks[0] += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
before = module.to_text("none")
print("ready", flush=True)
try:
    while True:
        module.run("fixpoint{max=1000000}(fold-bn,cse)")
        module = normfold.Module.from_text(before)
except KeyboardInterrupt:
    stop = True
    module.explain("dce")
    assert ticks[0] > 20, ticks
    print("interrupted", ticks[0] > 0)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert out == "interrupted True\n" and child.returncode == 0, (out, err)
    # Far from what all of it takes; no more is promised here.
    assert time.monotonic() - started < 30


def test_the_program_ends_by_ctrl_c(tmp_path):
    big, out = tmp_path / "big.nf", tmp_path / "out.nf"
    subprocess.run([sys.executable, "-c", LONG + f"open({str(big)!r}, 'w').write(module.to_text('full'))"], check=True)
    child = subprocess.Popen([sys.executable, "-m", "normfold", "opt", big, "-o", out, "--passes=fixpoint{max=100000}(fold-bn,cse)"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=heed)
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert child.returncode == -signal.SIGINT and b"Traceback" not in err, err
    assert os.listdir(tmp_path) == ["big.nf"]


def test_modules_may_run_in_threads(models):
    reports = {}

    def work(i):
        module = normfold.Module(models / "mobilenet_v2_x025.onnx")
        module.run()
        reports[i] = module.to_bytes()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(reports) == 4 and len(set(reports.values())) == 1
