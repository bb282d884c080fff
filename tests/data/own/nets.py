"""Networks that know nothing of this project, as a repository has them; they enlarge frames by two."""

import sys

import torch
import torch.nn.functional as F
from torch import nn

print("nets is imported")


class Net(nn.Module):
    """A trunk with batch normalisation, and an upsampling by pixel shuffle over an enlarged frame."""

    def __init__(self, num_feat=4):
        super().__init__()
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(2)))
        self.norm = nn.BatchNorm2d(num_feat)
        self.upconv = nn.Conv2d(num_feat, 12, 3, padding=1)

    def enlarge(self, frame):
        features = self.norm(self.body(self.head(frame)))
        return F.pixel_shuffle(self.upconv(features), 2) + F.interpolate(frame, scale_factor=2)


class Frame(Net):
    def forward(self, frame):
        return self.enlarge(frame)


class Clip(Net):
    def forward(self, clip):
        return torch.stack([self.enlarge(frame) for frame in clip.unbind(1)], 1)


class Window(Net):
    def forward(self, window):
        return {"sr": self.enlarge(window.mean(1)), "middle": window[:, window.shape[1] // 2]}


class Shared(Net):
    """Calls the same convolution before the trunk and, within the upsampling, after it."""

    def __init__(self):
        super().__init__()
        self.tail = nn.Sequential(self.body[0], self.upconv)

    def forward(self, frame):
        features = self.body[0](self.head(frame))
        return F.pixel_shuffle(self.tail(features), 2)


class Reads(Frame):
    """Reads a value, which the meta device does not have."""

    def forward(self, frame):
        return super().forward(frame if frame.mean().item() < 2 else frame / 255)


class Pairs(Clip):
    """Calls `flow` where there are two frames at least."""

    def __init__(self):
        super().__init__()
        self.flow = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, clip):
        for first, second in zip(clip[:, :-1].unbind(1), clip[:, 1:].unbind(1), strict=True):
            self.flow(torch.cat((first, second), 1))
        return super().forward(clip)


class Idle(Frame):
    def __init__(self):
        super().__init__()
        self.unused = nn.Conv2d(3, 3, 1)


class Leaves(Frame):
    def __init__(self):
        super().__init__()
        sys.exit(3)


class CallsItself(nn.Conv2d):
    def __call__(self, features):
        return self.forward(features)


class Unhooked(Frame):
    """Has a body whose hooks never fire, for the reason that is asked for."""

    def __init__(self, why):
        super().__init__()
        conv = nn.Conv2d(4, 4, 3, padding=1)
        if why == "compile":
            conv.compile()
        if why == "whole":
            self.compile()
        make = {"call": lambda: CallsItself(4, 4, 3, padding=1), "script": lambda: torch.jit.script(conv)}
        make["wrapper"] = lambda: torch.compile(conv)
        self.body = make.get(why, lambda: conv)()


class NoModule:
    """No network."""


def make_net():
    """Return a network; no class either."""
    return Frame()
