"""The side of PyTorch and its libraries of `cargo xtask interop`.

write FOLDER [WORDS]   writes random networks: the state of each as NAME.safetensors and NAME.pth, images and logits as
                       NAME.io.safetensors, and one entry of networks.json. Weights are moved away from their initial values, where
                       zeros would hide layers. With words only the networks whose names have one of them.
read FOLDER            loads what is written here for these networks, NAME.ours.*, and compares the logits.
pictures FOLDER        draws a set of pictures of three classes.
events RUN             reads the event files of a run that was resumed, as TensorBoard does, and compares with `metrics.jsonl`.
score FOLDER FILE SAID names the class of each picture by an exported ResNet-18, and compares with what `admix predict` said.
"""
import io
import json
import os
import sys
import time

import numpy
import tensorboard
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

SIDE = 224
# Of logits, relative to the largest.
LIMIT = 1e-5
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
    save_file(state, os.path.join(folder, f"{entry['name']}.safetensors"))
    torch.save(network.state_dict(), os.path.join(folder, f"{entry['name']}.pth"))
    entry["parameters"] = learned(network)
    save_file({"images": images, "logits": logits}, os.path.join(folder, f"{entry['name']}.io.safetensors"))
    cases.append(entry)
    print(entry["name"], flush=True)


def learned(network):
    return sum(parameter.numel() for parameter in network.parameters())


def networks():
    """Each network: its entry, what makes it, and the height and width of its images."""
    for name, library, backbone, settings in NETWORKS:
        create = timm.create_model if library == "timm" else torchvision.models.get_model
        entry = {"name": f"{library}_{name}", "library": library, "backbone": backbone, "settings": settings}
        yield entry, (lambda create=create, name=name: create(name)), SIDE, SIDE
    for name, backbone, settings, (height, width), more in RESIZED:
        entry = {"name": f"timm_{name}_at_{height}x{width}", "library": "timm", "backbone": backbone, "settings": settings}
        yield entry, (lambda name=name, more=more: timm.create_model(name, **more)), height, width
    for name, library, backbone, settings, create in [
        ("wideresnet_28_2", "wideresnet-pytorch", "WideResNet", {"depth": 28, "width": 2}, lambda: WideResNet(28, 2)),
        ("preactresnet_18", "pytorch-cifar", "PreActResNet", {}, PreActResNet18),
    ]:
        yield {"name": name, "library": library, "backbone": backbone, "settings": settings}, create, 32, 32


def write_all(folder, *only):
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    cases = []
    for entry, create, height, width in networks():
        if not only or any(word in entry["name"] for word in only):
            write(folder, entry, create(), height, width, cases)
    with open(os.path.join(folder, "networks.json"), "w") as f:
        json.dump(cases, f, indent=1)


def read_all(folder):
    with open(os.path.join(folder, "networks.json")) as f:
        names = [entry["name"] for entry in json.load(f)]
    print("read there:\n| network | learned values | largest difference |\n|---|---|---|")
    failed = 0
    for entry, create, _, _ in networks():
        if entry["name"] not in names:
            continue
        stored = load_file(os.path.join(folder, f"{entry['name']}.ours.io.safetensors"))
        gaps = []
        for kind in ("safetensors", "pth"):
            path = os.path.join(folder, f"{entry['name']}.ours.{kind}")
            state = load_file(path) if kind == "safetensors" else torch.load(path)
            network = create().eval()
            network.load_state_dict(state)
            with torch.no_grad():
                logits = network(stored["images"])
            gaps.append(((logits - stored["logits"]).abs().max() / stored["logits"].abs().max()).item())
        fits = all(gap <= LIMIT for gap in gaps)
        failed += not fits
        print(f"| {entry['name']} | {learned(network)} | {max(gaps):.1e}{'' if fits else ' FAILED'} |", flush=True)
    if failed:
        sys.exit(f"error: {failed} networks give other logits than {LIMIT} allows")


def pictures(folder):
    """Stripes, discs and boards with noise. No picture is scaled before it is measured: libraries round differently."""
    random = torch.Generator().manual_seed(0)
    for split, count in (("train", 60), ("val", 40)):
        for label, name in enumerate(("board", "disc", "stripes")):
            os.makedirs(os.path.join(folder, split, name), exist_ok=True)
            for at in range(count):
                height = width = 64
                y, x = torch.meshgrid(torch.arange(height) / height - 0.5, torch.arange(width) / width - 0.5, indexing="ij")
                turn = torch.rand(3, generator=random)
                shape = [
                    torch.sin(25 * x + 6 * turn[0]) * torch.sin(25 * y + 6 * turn[1]),
                    0.2 - ((x - 0.3 * turn[0]) ** 2 + (y - 0.3 * turn[1]) ** 2).sqrt(),
                    torch.sin(40 * (x * turn[0] + y * turn[1]) + 6 * turn[2]),
                ][label]
                pixels = (shape > 0).float()[None] * torch.rand(3, 1, 1, generator=random)
                pixels = (pixels + 0.5 * torch.rand(3, height, width, generator=random)).clamp(0, 1)
                to_pil_image(pixels).save(os.path.join(folder, split, name, f"{at:03}.png"))


def score(folder, file, said):
    """One picture after the other: the same best class, and the same probability of it."""
    with open(said) as f:
        said = [json.loads(line) for line in f]
    images, weights = os.path.join(folder, "val"), torch.load(file)
    classes = sorted(os.listdir(os.path.join(folder, "train")))
    network = torchvision.models.resnet18(num_classes=len(classes))
    network.load_state_dict(weights)
    network.eval()
    prepare = transforms.Compose([
        transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    right = other = 0
    largest = 0.0
    for line in said:
        with torch.no_grad():
            shares = network(prepare(Image.open(line["path"]).convert("RGB"))[None]).softmax(1)[0]
        best = line["classes"][0]
        there = classes[int(shares.argmax())]
        right += there == os.path.basename(os.path.dirname(line["path"]))
        other += there != best["class"]
        largest = max(largest, abs(shares.max().item() - best["probability"]))
    total = sum(len(os.listdir(os.path.join(images, name))) for name in os.listdir(images))
    print(f"{len(said)} pictures, top-1 there {100 * right / len(said):.2f} %, other class {other}, largest difference of the "
          f"probability {largest:.1e}")
    if other or len(said) != total or not largest <= 1e-4:
        sys.exit("error: PyTorch says something else of a picture")


def curves(run):
    """The curves of a run, by `metrics.jsonl`: (step, value) by tag."""
    wanted = {}
    with open(os.path.join(run, "metrics.jsonl")) as f:
        for row in map(json.loads, f):
            if row["event"] == "train":
                groups = ("loss", "losses"), ("logged", "logged"), ("lr", "lr")
                values = {f"{tag}/{name}": value for tag, key in groups for name, value in row[key].items()}
                alone = ("momentum", "images_per_s", "data_wait", "skipped")
                values |= {f"train/{name}": row[name] for name in alone if row.get(name) is not None}
            else:
                values = {f"test/{what}/{head}": figures[what]
                          for head, figures in row["heads"].items() for what in ("top1", "top5", "loss")}
                values["report/top1"] = row["heads"]["one_q"]["top1"]
            for tag, value in values.items():
                wanted.setdefault(tag, []).append((row["step"], numpy.float32(value)))
    return wanted


def served(run):
    """The curves that the page gets from the data server of `tensorboard --logdir`, and its table of hyperparameters."""
    from tensorboard import context
    from tensorboard.data import provider, server_ingester
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
    from tensorboard.util import grpc_util

    server = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(), logdir=run, reload_interval=0,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL)
    server.start()
    data, ctx = server.data_provider, context.RequestContext()
    # It reads on its own time.
    deadline = time.monotonic() + 60
    tags = {}
    while "report/top1" not in tags and time.monotonic() < deadline:
        time.sleep(0.1)
        tags = data.list_scalars(ctx, experiment_id="", plugin_name="scalars").get("tensorboard", {})
    found = data.read_scalars(ctx, experiment_id="", plugin_name="scalars", downsample=10 ** 6,
                              run_tag_filter=provider.RunTagFilter(tags=list(tags)))
    scalars = {tag: [(datum.step, numpy.float32(datum.value)) for datum in values]
               for tag, values in found["tensorboard"].items()}
    page = backend_context.Context(base_plugin.TBContext(data_provider=data))
    hparams = page.hparams_metadata(ctx, "")
    experiment = page.experiment_from_metadata(ctx, "", True, hparams, [])
    columns = [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=10, col_params=columns, include_metrics=True,
        allowed_statuses=[api_pb2.STATUS_SUCCESS])
    handler = list_session_groups.Handler(request_context=ctx, backend_context=page, experiment_id="", request=request)
    return scalars, experiment, handler.run().session_groups


def events(run):
    """A run that was resumed: no step twice, none that was given up, and every value."""
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    everything = {kind: 0 for kind in (event_accumulator.SCALARS, event_accumulator.IMAGES, event_accumulator.TENSORS)}
    read = event_accumulator.EventAccumulator(os.path.join(run, "tensorboard"), size_guidance=everything)
    read.Reload()
    wanted = curves(run)
    steps = [step for step, _ in wanted["lr/net"]]
    assert steps == list(range(1, len(steps) + 1)), steps
    scalars = {tag: [(event.step, numpy.float32(event.value)) for event in read.Scalars(tag)]
               for tag in read.Tags()["scalars"]}
    assert scalars == wanted, (scalars, wanted)

    samples = read.Images("samples")
    drawn = sorted(os.listdir(os.path.join(run, "samples")))
    assert [event.step for event in samples] == [step for step, _ in wanted["report/top1"]], samples
    for event, name in zip(samples, drawn, strict=True):
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        picture.load()
        with open(os.path.join(run, "samples", name), "rb") as f:
            assert (picture.size, f.read()) == ((event.width, event.height), event.encoded_image_string), name
    for tag, file in ("recipe", "recipe.ron"), ("method", "method.rhai"):
        texts = [tensor_util.make_ndarray(event.tensor_proto).item().decode() for event in read.Tensors(tag)]
        with open(os.path.join(run, file)) as f:
            code = "".join(f"    {line}\n" for line in f.read().splitlines())
        assert texts == [code, code], (tag, texts)

    scalars, experiment, groups = served(run)
    assert scalars == wanted, (scalars, wanted)
    assert [info.name.tag for info in experiment.metric_infos] == ["report/top1"], experiment.metric_infos
    [group] = groups
    hparams = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
    assert (hparams["optimizer.lr"], hparams["epochs"], hparams["method"]) == (0.02, 2, "mixup"), hparams
    assert {info.name for info in experiment.hparam_infos} == set(hparams), experiment
    [metric] = group.metric_values
    assert (metric.training_step, numpy.float32(metric.value)) == wanted["report/top1"][-1], metric
    print(f"TensorBoard {tensorboard.__version__}, its reader and its data server: {len(wanted)} curves of {len(steps)} steps, "
          f"{len(samples)} pictures, {len(hparams)} hyperparameters with the metric {metric.value:.2f} %")


COMMANDS = {"write": write_all, "read": read_all, "pictures": pictures, "score": score, "events": events}
COMMANDS[sys.argv[1]](*sys.argv[2:])
