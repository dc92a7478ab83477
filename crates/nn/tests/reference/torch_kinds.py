"""Writes ../data/torch_kinds.safetensors: for every kind of layer its PyTorch state dict in f32, as safetensors.torch saves
it, with inputs and output in evaluation: `KIND.state.*`, `KIND.in.0`.., `KIND.out`.

    python torch_kinds.py
"""

import pathlib
import torch
from safetensors.torch import save_file
from torch import nn

from generate import Net

torch.set_default_dtype(torch.float32)
torch.manual_seed(1)
file = {}


def put(kind, m, *inputs, out=lambda y: y):
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(0.4 * torch.randn_like(p) + (p if p.dim() == 1 else 0))
        # A batch or two in training, so that statistics and singular vectors are not those of the start.
        for _ in range(2):
            m(*inputs)
        m.eval()
        y = out(m(*inputs))
    for k, v in m.state_dict().items():
        file[f"{kind}.state.{k}"] = v.contiguous().clone()
    for i, x in enumerate(inputs):
        file[f"{kind}.in.{i}"] = x.contiguous().clone()
    file[f"{kind}.out"] = y.contiguous().clone()


r = torch.randn
put("linear", nn.Linear(3, 2), r(2, 3))
put("bilinear", nn.Bilinear(3, 2, 2), r(2, 3), r(2, 2))
put("embedding", nn.Embedding(4, 2, padding_idx=1), torch.tensor([[3, 1], [0, 2]]))
put("prelu", nn.PReLU(3), r(2, 3))
for d in (1, 2, 3):
    s = (4, 3, 3)[:d]
    put(f"conv{d}", getattr(nn, f"Conv{d}d")(2, 4, 2, groups=2, padding=1), r(1, 2, *s))
    put(f"transpose{d}", getattr(nn, f"ConvTranspose{d}d")(2, 2, 2, stride=2, groups=2), r(1, 2, *s))
    put(f"batch{d}", getattr(nn, f"BatchNorm{d}d")(2), r(3, 2, *s[: d if d > 1 else 1]))
    put(f"instance{d}", getattr(nn, f"InstanceNorm{d}d")(2, affine=True, track_running_stats=True), r(2, 2, *s))
put("layer", nn.LayerNorm((2, 3)), r(2, 2, 3))
put("rms", nn.RMSNorm(3), r(2, 3))
put("group", nn.GroupNorm(2, 4), r(2, 4, 3))
put("weight", nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 2)), r(1, 2, 4))
put("spectral", nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), r(2, 3))
first = lambda y: y[0]
put("rnn", nn.RNN(2, 3, 2, batch_first=True), r(2, 4, 2), out=first)
put("lstm", nn.LSTM(2, 3, 2, bidirectional=True, proj_size=2, batch_first=True), r(2, 4, 2), out=first)
put("gru", nn.GRU(2, 3, bidirectional=True, batch_first=True), r(2, 4, 2), out=first)
put("rnn_cell", nn.RNNCell(2, 3), r(2, 2))
put("lstm_cell", nn.LSTMCell(2, 3), r(2, 2), out=first)
put("gru_cell", nn.GRUCell(2, 3), r(2, 2))


class Attend(nn.MultiheadAttention):
    def forward(self, q, k, v):
        return super().forward(q, k, v, need_weights=False)[0]


put("attention", Attend(4, 2, batch_first=True), r(2, 3, 4), r(2, 2, 4), r(2, 2, 4))
put("attention_sizes", Attend(4, 2, kdim=3, vdim=2, batch_first=True), r(2, 3, 4), r(2, 2, 3), r(2, 2, 2))
k = dict(batch_first=True, norm_first=True)
put("encoder", nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, **k), 2, nn.LayerNorm(4), enable_nested_tensor=False), r(2, 3, 4))
put("decoder", nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6, batch_first=True), 2), r(2, 3, 4), r(2, 2, 4))
put("sequential", nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), r(2, 1, 3, 3))
put("resnet", Net().float(), r(2, 1, 12, 12))
here = pathlib.Path(__file__).parent
save_file(file, here.parent / "data" / "torch_kinds.safetensors", metadata={"format": "pt"})
