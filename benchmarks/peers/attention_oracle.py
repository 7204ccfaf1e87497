"""Reference values of PyTorch's Transformer encoder layer and of LSTM-like cells it has no module for, in f64.

    python3 attention_oracle.py OUT.safetensors [--seed 0]

Cases pre, post (norm_first or not; ReLU) and gelu (pre-norm): nn.TransformerEncoderLayer, width 8, 2 heads,
feed-forward 12, no dropout, batch first, N = 3, T = 5; lengths 5, 2, 4 as a key padding mask.
Case cross: nn.MultiheadAttention, 4 queries [N,4,8] to other keys and values [N,T,8], the same mask.
Case lnlstm: a layer-norm LSTM cell with peepholes written in PyTorch's ops, in 6, hidden 8, two steps.
Case tree, tree_sum: binary and child-sum Tree-LSTM over ((0 1) (2 (3 4))), written in PyTorch's ops, in 6, hidden 8.

    CASE/x, CASE/mask (bool, true where a key counts), CASE/NAME for every parameter
    CASE/output, CASE/R (its cotangent), CASE/grad/NAME for x and every parameter
    cross/query, cross/key, cross/value in place of x
"""
import argparse

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

N, T, WIDTH, HEADS, INNER, INPUT, HIDDEN = 3, 5, 8, 2, 12, 6, 8
MASK = torch.arange(T)[None, :] < torch.tensor([5, 2, 4])[:, None]


def exact_in_f32(*shape):
    return torch.randn(shape, dtype=torch.float32).double().requires_grad_()


def case(inputs, output):
    R = exact_in_f32(*output.shape).detach()
    gradients = torch.autograd.grad((output * R).sum(), list(inputs.values()))
    return {**inputs, "output": output, "R": R, **{f"grad/{k}": g for k, g in zip(inputs, gradients)}}


def randomised(module):
    for p in module.parameters():
        p.data = exact_in_f32(*p.shape).detach() * 0.5
    return module.double()


def encoder_layer(norm_first, activation):
    layer = randomised(nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0.0, activation, batch_first=True,
                                                  norm_first=norm_first))
    x = exact_in_f32(N, T, WIDTH)
    values = case({"x": x, **dict(layer.named_parameters())}, layer(x, src_key_padding_mask=~MASK))
    return {**values, "mask": MASK}


def cross_attention():
    attention = randomised(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    q, k, v = exact_in_f32(N, 4, WIDTH), exact_in_f32(N, T, WIDTH), exact_in_f32(N, T, WIDTH)
    output, _ = attention(q, k, v, key_padding_mask=~MASK, need_weights=False)
    inputs = {"query": q, "key": k, "value": v, **dict(attention.named_parameters())}
    return {**case(inputs, output), "mask": MASK}


def layer_norm_lstm():
    H = HIDDEN
    w = {"weight_ih": exact_in_f32(4 * H, INPUT), "weight_hh": exact_in_f32(4 * H, H), "bias": exact_in_f32(4 * H),
         "gain_ih": exact_in_f32(4 * H), "gain_hh": exact_in_f32(4 * H), "peephole": exact_in_f32(3 * H),
         "gain_c": exact_in_f32(H), "bias_c": exact_in_f32(H)}
    x, h, c = exact_in_f32(2, N, INPUT), exact_in_f32(N, H), exact_in_f32(N, H)
    inputs = {"x": x, "h": h, "c": c, **w}
    p_i, p_f, p_o = w["peephole"].chunk(3)
    for t in range(2):
        z = (F.layer_norm(x[t] @ w["weight_ih"].T, (4 * H,), w["gain_ih"])
             + F.layer_norm(h @ w["weight_hh"].T, (4 * H,), w["gain_hh"]) + w["bias"])
        i, f, g, o = z.chunk(4, -1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(F.layer_norm(c, (H,), w["gain_c"], w["bias_c"]))
    return case(inputs, torch.cat([h, c], -1))


def tree(child_sum):
    H = HIDDEN
    w = {"weight_ih": exact_in_f32(4 * H, INPUT), "weight_hh": exact_in_f32(3 * H, H) if child_sum
         else exact_in_f32(5 * H, 2 * H), "bias": exact_in_f32(4 * H)}
    if child_sum:
        w["weight_fh"] = exact_in_f32(H, H)
    x = exact_in_f32(9, INPUT)
    b_iou, b_f = w["bias"].split([3 * H, H])
    W_iou, W_f = w["weight_ih"].split([3 * H, H])

    def node(k, *children):
        iou, f = x[k] @ W_iou.T + b_iou, x[k] @ W_f.T + b_f
        forget = []
        if children and child_sum:
            iou = iou + sum(h for h, _ in children) @ w["weight_hh"].T
            forget = [h @ w["weight_fh"].T for h, _ in children]
        elif children:
            both = torch.cat([h for h, _ in children]) @ w["weight_hh"].T
            iou, forget = iou + both[:3 * H], both[3 * H:].chunk(2)
        i, o, u = iou.chunk(3)
        c = torch.sigmoid(i) * torch.tanh(u)
        for z, (_, child) in zip(forget, children):
            c = c + torch.sigmoid(z + f) * child
        return torch.sigmoid(o) * torch.tanh(c), c

    left = node(2, node(0), node(1))
    right = node(7, node(3), node(6, node(4), node(5)))
    return case({"x": x, **w}, torch.cat(node(8, left, right)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    cases = {"pre": encoder_layer(True, "relu"), "post": encoder_layer(False, "relu"),
             "gelu": encoder_layer(True, "gelu"), "cross": cross_attention(), "lnlstm": layer_norm_lstm(),
             "tree": tree(False), "tree_sum": tree(True)}
    save_file({f"{name}/{key}": v.detach().clone().contiguous() for name, values in cases.items()
               for key, v in values.items()}, args.out)


if __name__ == "__main__":
    main()
