"""AMix with a ResNet-18 in plain PyTorch: python amix.py FOLDER trains on CIFAR-10, which it keeps in FOLDER."""

import copy
import sys

import torch
import torchvision
from torch import nn
from torchvision.transforms import v2

import admix


class Net(nn.Module):
    """A ResNet-18 for small images with two heads: one for clean images, one for mixes."""

    def __init__(self, classes):
        super().__init__()
        net = torchvision.models.resnet18()
        stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.early = nn.Sequential(stem, net.bn1, net.relu, net.layer1, net.layer2, net.layer3)
        self.late = nn.Sequential(net.layer4, net.avgpool, nn.Flatten())
        self.one, self.mix = nn.Linear(512, classes), nn.Linear(512, classes)

    def forward(self, images, head="mix"):
        return getattr(self, head)(self.late(self.early(images)))


def train(loader, epochs, classes=10, lr=0.1, momentum=0.999, device="cpu"):
    q = Net(classes).to(device)
    k = copy.deepcopy(q).requires_grad_(False)                    # follows q, and trains the mixer
    mixer = admix.Mixer("amix", alpha=2.0, channels=256, seed=0).to(device)
    mask_loss, cross_entropy = admix.Loss("mask"), nn.CrossEntropyLoss()
    optimiser = torch.optim.SGD([*q.parameters(), *mixer.parameters()], lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(loader))
    for step, (images, labels) in enumerate(batch for _ in range(epochs) for batch in loader):
        images, labels = images.to(device), labels.to(device)
        with torch.no_grad():
            features = k.early(images)                            # [N, 256, h, w]: stage 3
        attempt = mixer(images, features=features, draw="attempt", step=step)
        (attempt.loss(k(attempt.images), labels) + 0.1 * mask_loss(attempt)).backward()   # the mixer alone
        cross_entropy(q(images, "one"), labels).backward()
        lesson = mixer(images, features=features, draw="lesson", step=step, quiet=True)
        lesson.loss(q(lesson.images), labels).backward()          # q alone
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        mixer.after_step()
        with torch.no_grad():
            for own, theirs in zip(k.parameters(), q.parameters()):
                own.lerp_(theirs, 1 - momentum)
    return k, q, mixer


if __name__ == "__main__":
    looks = [v2.RandomCrop(32, 4, padding_mode="reflect"), v2.RandomHorizontalFlip(), v2.PILToTensor(),
             v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.491, 0.482, 0.447], [0.247, 0.243, 0.262])]
    data = torchvision.datasets.CIFAR10(sys.argv[1], transform=v2.Compose(looks), download=True)
    loader = torch.utils.data.DataLoader(data, 100, shuffle=True, drop_last=True, num_workers=4)
    torch.save(train(loader, 200, device="cuda")[0].state_dict(), "amix.pth")
