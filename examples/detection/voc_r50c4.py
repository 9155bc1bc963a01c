"""Faster R-CNN R50-C4 on PASCAL VOC, from an encoder that Admix exported: the detection transfer of MoCo (Table 6).

    admix export RUN --format torchvision -o r50.pth
    python voc_r50c4.py --weights r50.pth --root VOCdevkit --out detector.pth

ROOT has VOC2007/ and VOC2012/ as published. Settings are those of MoCo's detection recipe for Detectron2, where they
differ from torchvision's own Faster R-CNN a comment says so. One device: with 16 images on it, BatchNorm does what synchronised
BatchNorm does on eight. For fewer, halve --lr and --batch and double --steps, --milestones and --warmup.
"""

import argparse
import json
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn
from torchvision.models.detection import roi_heads
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou, roi_align

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()
# 53 convolutions, and 53 BatchNorms of four tensors each.
TENSORS_OF_R50 = 265
IOUS = [0.5 + 0.05 * step for step in range(10)]


def trunk(weights):
    """ResNet-50 with the weights of a file; every tensor must be there."""
    network = torchvision.models.resnet50(weights=None)
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    needed = {name for name in network.state_dict() if not name.startswith("fc.") and "num_batches" not in name}
    matched = {name for name in needed & set(state) if state[name].shape == network.state_dict()[name].shape}
    if matched != needed or len(matched) != TENSORS_OF_R50:
        missing = sorted(needed - matched)
        raise SystemExit(
            f"error: {weights} has {len(matched)} of the {TENSORS_OF_R50} tensors of a ResNet-50 trunk, without "
            f"{', '.join(missing[:3])}: write it with `admix export RUN --format torchvision` from a ResNet(depth: 50, stem: Large)"
        )
    network.load_state_dict({name: state[name] for name in matched}, strict=False)
    print(f"{len(matched)} of {TENSORS_OF_R50} tensors loaded from {weights}", flush=True)
    return network


class ToRes4(nn.Module):
    """The trunk to res4, stride 16. Nothing is frozen."""

    out_channels = 1024

    def __init__(self, network):
        super().__init__()
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.res = nn.Sequential(network.layer1, network.layer2, network.layer3)

    def forward(self, images):
        return self.res(self.stem(images))


class Pool(nn.Module):
    """RoIAlign of 14x14 with half-pixel-correct coordinates and adaptive sampling, which torchvision's own pool has not."""

    def forward(self, features, proposals, _sizes):
        return roi_align(features["0"], proposals, 14, spatial_scale=1 / 16, sampling_ratio=-1, aligned=True)


class Res5Head(nn.Module):
    """res5, then a BatchNorm without ReLU that has no source and starts fresh, then the mean over 7x7."""

    def __init__(self, network):
        super().__init__()
        self.res5, self.norm = network.layer4, nn.BatchNorm2d(2048)

    def forward(self, regions):
        return self.norm(self.res5(regions)).mean((2, 3))


class Predictor(nn.Module):
    """Classes with the background first, and boxes for each class. Those of the background are never learned."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.boxes = nn.Linear(2048, classes), nn.Linear(2048, 4 * classes)
        for layer, std in ((self.classes, 0.01), (self.boxes, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, features):
        return self.classes(features), self.boxes(features)


class Proposals(RegionProposalNetwork):
    """torchvision's, with L1 for boxes in place of its smooth form."""

    def compute_loss(self, objectness, deltas, labels, targets):
        positive, negative = (torch.cat(each).nonzero()[:, 0] for each in self.fg_bg_sampler(labels))
        sampled = torch.cat([positive, negative])
        objectness, labels, targets = objectness.flatten(), torch.cat(labels), torch.cat(targets)
        boxes = F.l1_loss(deltas[positive], targets[positive], reduction="sum") / sampled.numel()
        return F.binary_cross_entropy_with_logits(objectness[sampled], labels[sampled]), boxes


def l1_loss(logits, deltas, labels, targets):
    """The loss of regions: L1 for boxes, in place of torchvision's smooth form."""
    labels, targets = torch.cat(labels), torch.cat(targets)
    objects = (labels > 0).nonzero()[:, 0]
    deltas = deltas.reshape(len(labels), -1, 4)[objects, labels[objects]]
    boxes = F.l1_loss(deltas, targets[objects], reduction="sum") / labels.numel()
    return F.cross_entropy(logits, labels), boxes


def detector(network, args):
    roi_heads.fastrcnn_loss = l1_loss
    anchors = AnchorGenerator(sizes=((32, 64, 128, 256, 512),), aspect_ratios=((0.5, 1.0, 2.0),))
    proposals = Proposals(
        anchors, RPNHead(1024, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256, positive_fraction=0.5,
        pre_nms_top_n={"training": 12000, "testing": 6000}, post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )
    regions = roi_heads.RoIHeads(
        Pool(), Res5Head(network), Predictor(len(CLASSES) + 1),
        fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=args.regions, positive_fraction=0.25,
        bbox_reg_weights=(10.0, 10.0, 5.0, 5.0), score_thresh=0.05, nms_thresh=0.5, detections_per_img=100,
    )
    # Pixels in 0 to 1; the last size is that of testing.
    transform = GeneralizedRCNNTransform(args.sizes, args.longest, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return GeneralizedRCNN(ToRes4(network), proposals, regions, transform)


class Voc(torch.utils.data.Dataset):
    """Images of VOC with their boxes, such as `2007_trainval`."""

    def __init__(self, root, splits, flip):
        self.flip, self.images = flip, []
        for split in splits:
            year, name = split.split("_", 1)
            folder = root / f"VOC{year}"
            for image in (folder / "ImageSets/Main" / f"{name}.txt").read_text().split():
                self.images.append((folder, image))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        folder, name = self.images[index]
        image = Image.open(folder / "JPEGImages" / f"{name}.jpg").convert("RGB")
        image = torchvision.transforms.functional.to_tensor(image)
        boxes, labels, difficult = [], [], []
        for thing in ElementTree.parse(folder / "Annotations" / f"{name}.xml").findall("object"):
            box = [float(thing.find("bndbox").find(side).text) for side in ("xmin", "ymin", "xmax", "ymax")]
            # Pixels count from 1 and the last one is part of the box.
            boxes.append([box[0] - 1, box[1] - 1, box[2], box[3]])
            labels.append(1 + CLASSES.index(thing.find("name").text))
            difficult.append(thing.findtext("difficult") == "1")
        boxes = torch.tensor(boxes).reshape(-1, 4)
        if self.flip and random.random() < 0.5:
            image = image.flip(2)
            boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
        # Difficult ones are trained on, and not counted in testing.
        return image, {"boxes": boxes, "labels": torch.tensor(labels), "difficult": torch.tensor(difficult)}


def collate(batch):
    return tuple(zip(*batch))


def batches(data, size, workers, endless):
    options = dict(batch_size=size, num_workers=workers, collate_fn=collate)
    loader = torch.utils.data.DataLoader(data, shuffle=endless, drop_last=endless, **options)
    if endless and len(loader) == 0:
        raise SystemExit(f"error: {len(data)} training images are fewer than a batch of {size}: lower --batch")
    while True:
        yield from loader
        if not endless:
            return


def moved(images, targets, device):
    targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
    return [image.to(device) for image in images], targets


def solver(model, args):
    """SGD without weight decay of norms; the rate rises from a thousandth, and falls by ten at each milestone."""
    norms = [p for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) for p in m.parameters()]
    others = [p for p in model.parameters() if all(p is not norm for norm in norms)]
    groups = [{"params": others, "weight_decay": 1e-4}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=args.lr, momentum=0.9)

    def factor(step):
        share = min(1.0, step / args.warmup) if args.warmup else 1.0
        return (0.001 + 0.999 * share) * 0.1 ** sum(step >= milestone for milestone in args.milestones)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def precise_batch_norm(model, train, count, device):
    """Running values become plain averages over some batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(count):
            model(*moved(*next(train), device))


def average_precision(found, wanted, iou):
    """The eleven-point average precision of VOC 2007 of one class. `found`: image, score, box; `wanted`: boxes and which of
    them are difficult, by image."""
    total = sum(int((~difficult).sum()) for _, difficult in wanted.values())
    if total == 0:
        return None
    right, wrong = [], []
    taken = {image: torch.zeros(len(boxes), dtype=torch.bool) for image, (boxes, _) in wanted.items()}
    for image, _, box in sorted(found, key=lambda one: -one[1]):
        boxes, difficult = wanted.get(image, (torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)))
        overlap, at = box_iou(box[None], boxes)[0].max(0) if len(boxes) else (torch.tensor(0.0), None)
        hit = overlap.item() >= iou
        if hit and difficult[at]:
            continue
        right.append(float(hit and not taken[image][at]))
        wrong.append(1.0 - right[-1])
        if hit:
            taken[image][at] = True
    right, wrong = torch.tensor(right).cumsum(0), torch.tensor(wrong).cumsum(0)
    recall, precision = right / total, right / (right + wrong).clamp(min=1e-9)
    points = [precision[recall >= tenth / 10] for tenth in range(11)]
    return sum(point.max().item() if len(point) else 0.0 for point in points) / 11


@torch.no_grad()
def measured(model, data, args):
    """Mean over classes: AP over the ten thresholds, AP50 and AP75, in percent."""
    model.eval()
    found, wanted = [[] for _ in CLASSES], [{} for _ in CLASSES]
    for number, (images, targets) in enumerate(batches(data, 1, args.workers, False)):
        images, _ = moved(images, (), args.device)
        said, target = model(images)[0], targets[0]
        for at in range(len(CLASSES)):
            mine = target["labels"] == at + 1
            if mine.any():
                wanted[at][number] = target["boxes"][mine], target["difficult"][mine]
            for box, score in zip(*(said[part][said["labels"] == at + 1].cpu() for part in ("boxes", "scores"))):
                found[at].append((number, score.item(), box))
    by_iou = []
    for iou in IOUS:
        each = [average_precision(found[at], wanted[at], iou) for at in range(len(CLASSES))]
        each = [value for value in each if value is not None]
        by_iou.append(100 * sum(each) / max(1, len(each)))
    return {"AP": sum(by_iou) / len(by_iou), "AP50": by_iou[0], "AP75": by_iou[5]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="an export of ResNet(depth: 50, stem: Large)")
    parser.add_argument("--root", type=Path, required=True, help="the folder of VOC2007 and VOC2012")
    parser.add_argument("--train", nargs="+", default=["2007_trainval", "2012_trainval"])
    parser.add_argument("--test", nargs="+", default=["2007_test"])
    parser.add_argument("--steps", type=int, default=24000)
    parser.add_argument("--milestones", type=int, nargs="*", default=[18000, 22000])
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(480, 801, 32)), help="shorter sides, ascending")
    parser.add_argument("--longest", type=int, default=1333)
    parser.add_argument("--regions", type=int, default=512, help="regions of each image that are learned from")
    parser.add_argument("--precise", type=int, default=200, help="batches from which BatchNorms are estimated before testing")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="where the detector's state is saved")
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)

    model = detector(trunk(args.weights), args).to(args.device)
    optimizer, schedule = solver(model, args)
    train = batches(Voc(args.root, args.train, flip=True), args.batch, args.workers, True)
    model.train()
    for step in range(1, args.steps + 1):
        losses = model(*moved(*next(train), args.device))
        loss = sum(losses.values())
        if not torch.isfinite(loss):
            raise SystemExit(f"error: the loss is {loss.item()} at step {step}: lower --lr")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == args.steps:
            shown = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"step {step}/{args.steps}  {shown}", flush=True)
    precise_batch_norm(model, train, args.precise, args.device)
    print(json.dumps(measured(model, Voc(args.root, args.test, flip=False), args)), flush=True)
    if args.out:
        torch.save(model.state_dict(), args.out)


if __name__ == "__main__":
    main()
