"""Why people fold first: a model quantized with onnxruntime's static quantizer as it is, and after folding.

    python onnx_quantize.py MODEL.onnx

Prints the signal-to-noise ratio of the outputs of both quantized models against the model in floats, and how many nodes run
in floats between the quantized ones. Inputs are random: what is compared is the arithmetic.
"""
import sys
import tempfile
from pathlib import Path

import normfold
import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Samples(CalibrationDataReader):
    """Random inputs, the same every time."""

    def __init__(self, model, count, seed):
        rng = np.random.default_rng(seed)
        i, = onnx.load(model).graph.input
        shape = [d.dim_value or 1 for d in i.type.tensor_type.shape.dim]
        self.all = [{i.name: rng.normal(0, 1, shape).astype(np.float32)} for _ in range(count)]
        self.left = iter(self.all)

    def get_next(self):
        return next(self.left, None)


def run(model, samples):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # What is quantized runs as it is written: an engine that fuses what is left hides what folding is for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, x)[0] for x in samples])


def ratio(signal, other):
    """The signal-to-noise ratio, in dB."""
    noise = np.square(signal.astype(np.float64) - other).sum()
    return 10 * np.log10(np.square(signal.astype(np.float64)).sum() / noise)


def main(model):
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        report = normfold.fold(model, here / "folded.onnx")
        print(report)
        test = Samples(model, 8, seed=1).all
        expected = run(model, test)
        print(f"folding alone: {ratio(expected, run(here / 'folded.onnx', test)):.1f} dB")
        found = {}
        for name, source in (("as it is", Path(model)), ("folded first", here / "folded.onnx")):
            quantized = here / "quantized.onnx"
            quantize_static(str(source), str(quantized), Samples(model, 16, seed=2), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            kinds = [n.op_type for n in onnx.load(quantized).graph.node]
            found[name] = ratio(expected, run(quantized, test)), kinds.count("BatchNormalization"), kinds.count("QuantizeLinear")
            decibel, norms, quantizers = found[name]
            print(f"quantized {name:13}: {decibel:5.1f} dB, {norms} batch norms left in floats, {quantizers} times to integers, {len(kinds)} nodes")
    return found


if __name__ == "__main__":
    main(sys.argv[1])
