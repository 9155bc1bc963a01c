"""Writes random networks of PyTorch libraries: FOLDER, then the names of some networks, or none for all.

Run by `cargo xtask interop`. For each network: its state as NAME.safetensors, images and logits as NAME.io.safetensors,
and one entry of networks.json. Weights are moved away from their initial values, where zeros would hide layers.
"""
import json
import os
import sys

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

SIDE = 224
LARGE = {"stem": "Large"}

# The library's name, the library, the backbone here, its settings.
NETWORKS = [
    *[(f"resnet{d}", lib, "ResNet", {"depth": d, **LARGE}) for d in (18, 34, 50, 101) for lib in ("torchvision", "timm")],
    ("resnext50_32x4d", "torchvision", "ResNeXt", {"depth": 50, **LARGE}),
    ("resnext50_32x4d", "timm", "ResNeXt", {"depth": 50, **LARGE}),
    ("resnext101_32x4d", "timm", "ResNeXt", {"depth": 101, **LARGE}),
    ("resnext101_32x8d", "torchvision", "ResNeXt", {"depth": 101, "group_width": 8, **LARGE}),
    ("resnext101_64x4d", "torchvision", "ResNeXt", {"depth": 101, "groups": 64, **LARGE}),
    ("vit_b_16", "torchvision", "ViT", {"size": "Base", "patch": 16, "image": 224}),
    ("vit_tiny_patch16_224", "timm", "ViT", {"size": "Tiny", "patch": 16, "image": 224}),
    ("vit_small_patch16_224", "timm", "ViT", {"size": "Small", "patch": 16, "image": 224}),
    ("deit_tiny_patch16_224", "timm", "ViT", {"size": "Tiny", "patch": 16, "image": 224}),
    ("deit_small_patch16_224", "timm", "ViT", {"size": "Small", "patch": 16, "image": 224}),
    ("convnext_tiny", "torchvision", "ConvNeXt", {"size": "Tiny"}),
    ("convnext_tiny", "timm", "ConvNeXt", {"size": "Tiny"}),
    ("convnext_small", "torchvision", "ConvNeXt", {"size": "Small"}),
    ("convnext_base", "timm", "ConvNeXt", {"size": "Base"}),
    ("swin_t", "torchvision", "Swin", {"size": "Tiny"}),
    ("swin_tiny_patch4_window7_224", "timm", "Swin", {"size": "Tiny"}),
]
# Networks at other sizes than their own: height, width, what timm is told.
RESIZED = [
    ("vit_small_patch16_224", "ViT", {"size": "Small", "patch": 16, "image": 224}, (160, 250),
     {"dynamic_img_size": True, "dynamic_img_pad": True}),
    ("vit_tiny_patch16_224", "ViT", {"size": "Tiny", "patch": 4, "image": 32}, (48, 40),
     {"dynamic_img_size": True, "img_size": 32, "patch_size": 4}),
    ("convnext_tiny", "ConvNeXt", {"size": "Tiny"}, (60, 100), {}),
]


class PreActBlock(nn.Module):
    """As in kuangliu/pytorch-cifar."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x):
        out = torch.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        return self.conv2(torch.relu(self.bn2(self.conv1(out)))) + shortcut


class PreActResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        inputs = 64
        for i, outputs in enumerate((64, 128, 256, 512)):
            stride = 1 if i == 0 else 2
            blocks = PreActBlock(inputs, outputs, stride), PreActBlock(outputs, outputs, 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.linear = nn.Linear(512, 10)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    """As in xternalz/WideResNet-pytorch."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.equalInOut = inputs == outputs
        self.convShortcut = None if self.equalInOut else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        if not self.equalInOut:
            x = torch.relu(self.bn1(x))
        else:
            out = torch.relu(self.bn1(x))
        out = torch.relu(self.bn2(self.conv1(out if self.equalInOut else x)))
        out = self.conv2(out)
        return torch.add(x if self.equalInOut else self.convShortcut(x), out)


class Layer(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        inputs = 16
        for i, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            first = WideBlock(inputs, outputs, 1 if i == 0 else 2)
            rest = [WideBlock(outputs, outputs, 1) for _ in range((depth - 4) // 6 - 1)]
            setattr(self, f"block{i + 1}", Layer(first, *rest))
            inputs = outputs
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


def scattered(network):
    """Moves vectors away from 0 and 1, and leaves the values of maps near 1 in size."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point() or tensor.dim() > 1 and "layer_scale" not in name:
                continue
            noise = torch.randn(tensor.shape) * 0.1
            if name.endswith("running_var"):
                tensor.copy_(1 + noise.abs())
            elif name.endswith("gamma") or "layer_scale" in name:
                tensor.copy_(0.3 + noise)
            elif name.endswith("weight"):
                tensor.copy_(0.8 + noise)
            else:
                tensor.copy_(noise)
    return network.eval()


def write(folder, entry, network, height, width, cases):
    network = scattered(network)
    images = torch.randn(2, 3, height, width)
    with torch.no_grad():
        logits = network(images)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # Positions within a window follow from its size; torchvision stores them.
    state = {name: tensor for name, tensor in state.items() if "relative_position_index" not in name}
    save_file(state, os.path.join(folder, f"{entry['name']}.safetensors"))
    save_file({"images": images, "logits": logits}, os.path.join(folder, f"{entry['name']}.io.safetensors"))
    cases.append(entry)
    print(entry["name"], flush=True)


def main():
    folder, only = sys.argv[1], sys.argv[2:]
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    cases = []

    def wanted(name):
        return not only or any(word in name for word in only)

    for name, library, backbone, settings in NETWORKS:
        entry = {"name": f"{library}_{name}", "library": library, "backbone": backbone, "settings": settings}
        if wanted(entry["name"]):
            create = timm.create_model if library == "timm" else torchvision.models.get_model
            write(folder, entry, create(name), SIDE, SIDE, cases)
    for name, backbone, settings, (height, width), more in RESIZED:
        title = f"timm_{name}_at_{height}x{width}"
        entry = {"name": title, "library": "timm", "backbone": backbone, "settings": settings}
        if wanted(title):
            write(folder, entry, timm.create_model(name, **more), height, width, cases)
    small = [
        ("wideresnet_28_2", "WideResNet", {"depth": 28, "width": 2}, "fc", lambda: WideResNet(28, 2)),
        ("preactresnet_18", "PreActResNet", {}, "linear", PreActResNet18),
    ]
    for name, backbone, settings, classifier, create in small:
        entry = {"name": name, "library": "none", "backbone": backbone, "settings": settings, "classifier": classifier}
        if wanted(name):
            write(folder, entry, create(), 32, 32, cases)
    with open(os.path.join(folder, "networks.json"), "w") as f:
        json.dump(cases, f, indent=1)


main()
