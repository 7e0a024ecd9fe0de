"""Folds torchvision's MobileNetV2 while it lives.

    python torch_mobilenet.py

Random weights and statistics: nothing is downloaded.
"""
import torch
from normfold.torch import fold_all_batch_norms
from torch import nn
from torchvision.models import mobilenet_v2


def main():
    torch.manual_seed(0)
    model = mobilenet_v2(weights=None)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
    model.eval()
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        before = model(x)
        pairs = fold_all_batch_norms(model, input_shapes=(1, 3, 224, 224))
        after = model(x)
    print(pairs.report)
    print(f"pairs: {len(pairs)}, the first: {pairs[0]}")
    print(f"largest difference of the outputs: {(before - after).abs().max() / before.abs().max():.1e} of the largest")
    return len(pairs), ((before - after).abs().max() / before.abs().max()).item()


if __name__ == "__main__":
    main()
