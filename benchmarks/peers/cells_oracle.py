"""Reference values of PyTorch's recurrent layers, in f64.

    python3 cells_oracle.py OUT.safetensors [--seed 0]

Cases: rnn_uni rnn_bi gru_uni gru_bi lstm_uni lstm_bi lstm_proj_uni lstm_proj_bi (projection: proj_size 3)
rnn_relu_uni rnn_relu_bi.
All: 2 layers, T = 7, N = 5, input I = 6, hidden H = 8, ragged lengths in no order, both biases, h_0 = c_0
= 0; RNN with tanh or relu, GRU with reset after the product. D = 2 if bidirectional, else 1; P = proj_size or H.

    CASE/x            [T,N,I]     also random behind a sequence's end: nothing may look there
    CASE/lengths      [N]         int64
    CASE/weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0 (projection), ..._l1, ..._reverse
    CASE/output       [T,N,D P]   zero behind a sequence's end
    CASE/h_n          [2 D,N,P]   at each sequence's own end; layer 0 forward, layer 0 reverse, layer 1 ...
    CASE/c_n          [2 D,N,H]   LSTM only
    CASE/R, CASE/R2   cotangents of output and h_n
    CASE/loss         []          sum(output R) + sum(h_n R2)
    CASE/grad/NAME    d loss / d NAME for x and every weight

Arrays are f64, computed in f64; x, R, R2 and the weights are exact in f32, so an f32 program starts from the
very same numbers.
"""
import argparse

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

T, N, INPUT, HIDDEN, LAYERS, PROJECTION = 7, 5, 6, 8, 2, 3
LENGTHS = torch.tensor([4, 7, 1, 5, 7])


def exact_in_f32(shape):
    return torch.randn(shape, dtype=torch.float32).double()


def reference(layer):
    """One case: every tensor of the docstring, without the CASE/ prefix."""
    layer = layer.double()
    x = exact_in_f32((T, N, INPUT)).requires_grad_()
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    packed_output, state = layer(packed)
    output, _ = pad_packed_sequence(packed_output, total_length=T)
    h_n, c_n = state if isinstance(layer, nn.LSTM) else (state, None)
    R, R2 = exact_in_f32(output.shape), exact_in_f32(h_n.shape)
    loss = (output * R).sum() + (h_n * R2).sum()

    inputs = {"x": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    values = {**inputs, "lengths": LENGTHS, "output": output, "h_n": h_n, "R": R, "R2": R2, "loss": loss}
    if c_n is not None:
        values["c_n"] = c_n
    values.update({f"grad/{name}": g for name, g in zip(inputs, gradients)})
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    kinds = {"rnn": (nn.RNN, {}), "gru": (nn.GRU, {}), "lstm": (nn.LSTM, {}),
             "lstm_proj": (nn.LSTM, {"proj_size": PROJECTION}), "rnn_relu": (nn.RNN, {"nonlinearity": "relu"})}
    tensors = {}
    for kind, (layer, options) in kinds.items():
        for direction, bidirectional in (("uni", False), ("bi", True)):
            case = f"{kind}_{direction}"
            values = reference(layer(INPUT, HIDDEN, LAYERS, bidirectional=bidirectional, **options))
            tensors.update({f"{case}/{k}": v.detach().clone().contiguous() for k, v in values.items()})
            print(f"{case}: {len(values)} tensors, loss {values['loss'].item():.12g}")
    save_file(tensors, args.out)


if __name__ == "__main__":
    main()
