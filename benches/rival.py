#!/usr/bin/env python3
"""Runs one other tool on one model, in the tool's own Python environment: compare.py starts it.

    python rival.py TOOL INPUT OUTPUT

Each tool is used through its Python interface as its own documentation or command line does, with what it has to have for
models above 2 GiB. The last line printed is a JSON object: `seconds` is the time of load, fold and save, imports left out.
"""
import contextlib
import json
import os
import sys
import time

# What protobuf cannot hold in one message, with room for what the tool adds.
MESSAGE = 2**31 - 2**24


def size(path):
    """Bytes of a model and of all files beside it: each model has a directory of its own."""
    return sum(e.stat().st_size for e in os.scandir(os.path.dirname(path) or ".") if e.is_file())


def save(onnx, model, path, large):
    """Saves a ModelProto, the weights in a file beside it if they were."""
    if large:
        onnx.save(model, path, save_as_external_data=True, location=os.path.basename(path) + ".data")
    else:
        onnx.save(model, path)


def onnxsim(source, target, large):
    import onnxsim as tool

    yield
    tool.simplify(source, output_path=target, external_data_threshold="2GB")


def onnxslim(source, target, large):
    import onnx
    import onnxslim as tool

    yield
    model = tool.slim(source)
    save(onnx, model, target, large)


def onnxscript(source, target, large):
    import onnx_ir
    from onnxscript import optimizer, rewriter

    yield
    model = onnx_ir.load(source)
    optimizer.optimize(model)
    model = rewriter.rewrite(model)
    onnx_ir.save(model, target, external_data=os.path.basename(target) + ".data" if large else None)


def onnxruntime(level):
    def run(source, target, large):
        import onnxruntime as tool

        yield
        options = tool.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(tool.GraphOptimizationLevel, level)
        options.optimized_model_filepath = target
        if large:
            name = "session.optimized_model_external_initializers_"
            options.add_session_config_entry(f"{name}file_name", os.path.basename(target) + ".data")
            options.add_session_config_entry(f"{name}min_size_in_bytes", "1024")
        tool.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return run


def aimet(source, target, large):
    import onnx
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight

    yield
    model = onnx.load(source)
    fold_all_batch_norms_to_weight(model)
    save(onnx, model, target, large)


TOOLS = {
    "onnxsim": onnxsim,
    "onnxslim": onnxslim,
    "onnxscript": onnxscript,
    "onnxruntime-basic": onnxruntime("ORT_ENABLE_BASIC"),
    "onnxruntime-extended": onnxruntime("ORT_ENABLE_EXTENDED"),
    "aimet-onnx": aimet,
}


def main():
    tool, source, target = sys.argv[1:]
    steps = TOOLS[tool](source, target, size(source) > MESSAGE)
    next(steps)
    start = time.perf_counter()
    with contextlib.suppress(StopIteration):
        next(steps)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
