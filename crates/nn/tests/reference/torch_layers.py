"""Writes ../data/torch_layers.safetensors: the state dict of a PyTorch net of many kinds of layers in f32, as
safetensors.torch saves it, with an input `x` and the net's output `y` in evaluation.

    python torch_layers.py
"""

import pathlib
import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 4, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x):
        h = torch.relu(self.bn(self.conv(x)))
        h = self.up(h)  # [n, 3, 6, 6]
        h, _ = self.lstm(h.mean(1))
        h, _ = self.gru(h)
        h = self.norm(h)
        h = self.attention(h, h, h, need_weights=False)[0]
        return self.fc(h)


net = Net()
x = torch.randn(2, 2, 3, 3)
net(x)
with torch.no_grad():
    for p in net.parameters():
        p.add_(0.1 * torch.randn_like(p))
net.eval()
state = {k: v.contiguous() for k, v in net.state_dict().items()}
# A linear layer as Keras keeps it: [in, out].
dense = nn.Linear(3, 2)
state["dense.kernel"] = dense.weight.detach().t().contiguous()
state["dense.bias"] = dense.bias.detach().contiguous()
with torch.no_grad():
    state["x"] = x
    state["y"] = dense(net(x)).contiguous()
here = pathlib.Path(__file__).parent
save_file(state, here.parent / "data" / "torch_layers.safetensors", metadata={"format": "pt"})
