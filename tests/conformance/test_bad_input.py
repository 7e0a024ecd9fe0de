"""Hostile and broken input: one clear error that names the place, a documented exit code, no output, nothing left behind."""
import os
import re
import resource
import signal
import subprocess

import onnx
import pytest
from onnx import TensorProto, helper

import harness
from harness import MODELS

GOOD = MODELS / "resnet_tiny.onnx"


def listing(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


# Exit codes, as docs/cli.md has them.
USAGE, UNREADABLE, INVALID, UNWRITABLE = 2, 3, 4, 5


def refuse(tmp_path, src, *names, args=(), out=None, codes=(INVALID,), **kw):
    """Runs `opt` and demands a proper refusal whose message has every one of `names` (regular expressions)."""
    dst = out or tmp_path / "out.onnx"
    before = listing(tmp_path)
    done = harness.run("opt", src, "-o", dst, *args, **kw)
    assert done.returncode in codes, f"exit {done.returncode}\n{done.stderr}"
    assert "panicked" not in done.stderr and "RUST_BACKTRACE" not in done.stderr
    assert len(re.findall(r"^error\b", done.stderr, re.M)) == 1, done.stderr
    for name in names:
        assert re.search(name, done.stderr, re.I), f"no {name!r} in:\n{done.stderr}"
    assert not done.stdout.strip(), "an error belongs on stderr"
    assert listing(tmp_path) == before, "something was left behind"
    return done


# --- protobuf -------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def header(number, length):
    return varint(number << 3 | 2) + varint(length)


def test_truncated(tmp_path):
    data = GOOD.read_bytes()
    for i, keep in enumerate((1, len(data) // 3, len(data) - 1)):
        path = tmp_path / f"cut{i}.onnx"
        path.write_bytes(data[:keep])
        refuse(tmp_path, path, f"cut{i}.onnx", r"truncat|past the end|beyond|ends|runs out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", b"\xff" * 64, b"hello, world\n", b"\x00" * 100],
                         ids=["empty", "zip", "ff", "text", "zeros"])
def test_not_a_protobuf(tmp_path, content):
    path = tmp_path / "noise.onnx"
    path.write_bytes(content)
    refuse(tmp_path, path, "noise.onnx")


def test_missing_file(tmp_path):
    refuse(tmp_path, tmp_path / "absent.onnx", "absent.onnx", r"no such file|not found", codes=(UNREADABLE,))


def test_length_beyond_the_file(tmp_path):
    for i, length in enumerate((2**20, 2**32 + 5, 2**63 - 1, 2**64 - 1)):
        path = tmp_path / f"long{i}.onnx"
        path.write_bytes(b"\x08\x08" + header(7, length) + b"\x0a\x00")
        refuse(tmp_path, path, f"long{i}.onnx", r"byte|offset|at 0x|\b[0-9]+\b")


def test_nesting_10000_deep(tmp_path):
    """Graphs within If nodes within graphs: model(graph(node(attribute(graph(...)))))."""
    parts, size = [], 0
    for number in (6, 5, 1) * 10_000:  # from the inside out: AttributeProto.g, NodeProto.attribute, GraphProto.node
        extra = b"\x22\x02If" if number == 1 else b"\x0a\x01b\xa0\x01\x05" if number == 5 else b""
        # `extra` belongs to the message that the header opens, so it comes right behind it.
        head = header(number, size + len(extra)) + extra
        parts.append(head)
        size += len(head)
    data = b"\x08\x08" + header(7, size) + b"".join(reversed(parts)) + header(8, 2) + b"\x10\x11"
    path = tmp_path / "deep.onnx"
    path.write_bytes(data)
    refuse(tmp_path, path, "deep.onnx", r"nest|deep|depth")


# --- the graph ---------------------------------------------------------------------

def graph_model(nodes, imports=True):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if not imports:
        model.ClearField("opset_import")
    return model.SerializeToString()


def node(op, ins, outs):
    return helper.make_node(op, ins, outs, name=f"node_{outs[0]}")


@pytest.mark.parametrize("name, data, says", [
    ("cycle", graph_model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Neg", ["b"], ["y"])]), r"cycl|order|before|defin"),
    ("self", graph_model([node("Add", ["x", "y"], ["y"])]), r"cycl|order|before|defin"),
    ("twice", graph_model([node("Neg", ["x"], ["y"]), node("Relu", ["x"], ["y"])]), r"\by\b"),
    ("shadow", graph_model([node("Neg", ["y"], ["x"]), node("Relu", ["x"], ["y"])]), r"\b[xy]\b"),
    ("undefined", graph_model([node("Neg", ["nowhere"], ["y"])]), "nowhere"),
    ("no_output", graph_model([node("Neg", ["x"], ["z"])]), r"\by\b"),
    ("no_opset", graph_model([node("Neg", ["x"], ["y"])], imports=False), r"opset"),
])
def test_broken_graph(tmp_path, name, data, says):
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(data)
    refuse(tmp_path, path, f"{name}.onnx", says)


# --- external data -------------------------------------------------------------------

def external(tmp_path, location, offset=None, length=None):
    """The external-data model with its first weight pointing elsewhere, in a directory of its own."""
    home = tmp_path / "home"
    home.mkdir()
    for p in MODELS.glob("external*"):
        (home / p.name).write_bytes(p.read_bytes())
    model = onnx.load(home / "external.onnx", load_external_data=False)
    t = next(t for t in model.graph.initializer if t.name == "c1.weight")
    for e in t.external_data:
        e.value = {"location": location, "offset": offset or e.value, "length": length or e.value}[e.key]
    path = home / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location, offset, length, says", [
    ("absent.bin", None, None, r"absent\.bin"),
    ("external.bin", "1000000", None, r"external\.bin|c1\.weight"),
    ("external.bin", None, "99999999", r"external\.bin|c1\.weight"),
    ("external.bin", None, "4", r"external\.bin|c1\.weight"),
    ("external.bin", "-1", None, r"external\.bin|c1\.weight|offset"),
    ("external.bin", "18446744073709551615", None, r"external\.bin|c1\.weight|offset"),
    ("../secret.bin", None, None, r"\.\./secret\.bin"),
    ("sub/../../secret.bin", None, None, r"secret\.bin"),
    ("ABSOLUTE", None, None, r"secret\.bin"),
    ("", None, None, r"c1\.weight|location"),
    (".", None, None, r"c1\.weight|location"),
    ("link.bin", None, None, r"link\.bin"),
    ("linked/secret.bin", None, None, r"linked/secret\.bin|symlink|symbolic"),
], ids=["absent", "past_the_end", "too_long", "too_short_for_the_shape", "negative", "huge_offset", "parent", "parent_inside",
        "absolute", "empty", "directory", "symlink", "symlinked_directory"])
def test_external_data(tmp_path, location, offset, length, says):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(100_000))
    path = external(tmp_path, str(secret) if location == "ABSOLUTE" else location, offset, length)
    (path.parent / "link.bin").symlink_to(secret)
    (path.parent / "linked").symlink_to(tmp_path, target_is_directory=True)
    refuse(tmp_path, path, says, codes=(UNREADABLE, INVALID))


# --- the output ---------------------------------------------------------------------------

def test_output_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    refuse(tmp_path, GOOD, "file", out=tmp_path / "file" / "out.onnx", codes=(UNWRITABLE,))


def test_output_in_a_missing_directory(tmp_path):
    refuse(tmp_path, GOOD, "missing", out=tmp_path / "missing" / "out.onnx", codes=(UNWRITABLE,))


def test_output_is_a_directory(tmp_path):
    (tmp_path / "dir").mkdir()
    refuse(tmp_path, GOOD, "dir", out=tmp_path / "dir", codes=(UNWRITABLE,))


def test_output_directory_not_writable(tmp_path):
    """Mode bits stop everybody but root; root is stopped by a read-only mount, where mounting is allowed."""
    home = tmp_path / "locked"
    home.mkdir()
    if os.geteuid() != 0:
        home.chmod(0o555)
        refuse(tmp_path, GOOD, "locked", out=home / "out.onnx", codes=(UNWRITABLE,))
        return
    done = mounted(home, f"mount -t tmpfs -o ro tmpfs {home}", home / "out.onnx")
    expect_refusal(done, "locked")


def test_full_disk(tmp_path):
    """A disk of 16 KiB, where mounting is allowed."""
    home = tmp_path / "tiny"
    home.mkdir()
    done = mounted(home, f"mount -t tmpfs -o size=16k tmpfs {home}", home / "out.onnx", f"ls -A {home} >&2")
    expect_refusal(done, r"tiny|space|storage")
    assert not re.search(r"^\S*onnx\S*$", done.stderr, re.M), f"left on the full disk:\n{done.stderr}"


def mounted(home, mount, out, after="true"):
    """Runs `opt` with `out` on a file system mounted in a namespace of its own; skips where that is not allowed."""
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False) if has_unshare() else None
    if probe is None or probe.returncode != 0:
        pytest.skip("mounting in a namespace is not allowed here")
    script = f'{mount} && "$1" opt "$2" -o "$3"; code=$?; {after}; exit $code'
    return subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", harness.binary(), str(GOOD), str(out)],
                          capture_output=True, text=True, timeout=60, check=False)


def has_unshare():
    return subprocess.run(["sh", "-c", "command -v unshare"], capture_output=True, check=False).returncode == 0


def expect_refusal(done, says):
    assert done.returncode == UNWRITABLE, done.stderr
    assert "panicked" not in done.stderr
    assert len(re.findall(r"^error\b", done.stderr, re.M)) == 1, done.stderr
    assert re.search(says, done.stderr, re.I), done.stderr


def test_file_size_limit(tmp_path):
    """The same failure without a mount: no file may grow beyond 16 KiB."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, 16 << 10))
    refuse(tmp_path, GOOD, r"out\.onnx|too large", preexec_fn=limit, codes=(UNWRITABLE,))


def test_refused_run_keeps_the_old_output(tmp_path):
    out, bad = tmp_path / "out.onnx", tmp_path / "bad.onnx"
    out.write_bytes(b"precious")
    bad.write_bytes(GOOD.read_bytes()[:5000])
    refuse(tmp_path, bad, "bad.onnx", out=out)
    assert out.read_bytes() == b"precious"


# --- the command line --------------------------------------------------------------------

@pytest.mark.parametrize("args, says", [
    (["--passes=fold-bm"], r"fold-bm"),
    (["--passes=fold-bn,,dce"], r"pass|empty|expected"),
    (["--passes=fold-bn{direction=up}"], r"up"),
    (["--passes=fold-bn{directoin=backward}"], r"directoin"),
    (["--passes=fold-bn{direction=backward"], r"}|clos|end|expected"),
    (["--passes=fold-bn)"], r"\)|expected"),
    (["--frobnicate"], r"frobnicate"),
    (["--remarks=some"], r"some"),
    (["--format=xml"], r"xml"),
    (["--threads=lots"], r"lots"),
])
def test_usage(tmp_path, args, says):
    refuse(tmp_path, GOOD, says, args=args, codes=(USAGE,))


def test_no_output_named(tmp_path):
    """Without -o the summary is all there is."""
    done = harness.run("opt", GOOD, cwd=tmp_path)
    assert done.returncode == 0 and "folded 8 of 8" in done.stdout and not listing(tmp_path)


def test_pipeline_errors_list_what_would_do(tmp_path):
    done = refuse(tmp_path, GOOD, args=["--passes=fold-bm,dce"], codes=(USAGE,))
    assert "fold-bn" in done.stderr and "dce" in done.stderr
