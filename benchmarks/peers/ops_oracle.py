"""Evaluate torch ops for parity tests: JSON lines in, JSON lines out.

    python3 ops_oracle.py [RECORDS.jsonl] < records > outputs        python3 ops_oracle.py --list

In:  {"op": "softmax", "inputs": [{"shape": [2,3], "dtype": "f64", "data": [...]}], "attrs": {"dim": 1}}
Out: {"op": "softmax", "outputs": [{"shape": [2,3], "dtype": "f64", "data": [...]}]}, one line a record,
or {"op": ..., "error": "..."}; the exit code is 1 if any record failed. dtype: f64 f32 i64 bool (0/1 or
true/false); data is flat, row-major; nan and infinities are the strings "nan" "inf" "-inf" both ways.

attrs are the torch function's keyword arguments, inputs its tensors in torch's order: where(condition, a, b),
index_select(x, index), gather(x, index), scatter_add(x, index, src), embedding(indices, table),
cross_entropy(logits, target[, weight]), nll_loss(log_p, target[, weight]), x and target for the other losses,
layer_norm(x[, weight[, bias]]) with normalized_shape (the last axis by default), eps. Where torch's own call
is awkward: var takes unbiased (default true); sum mean var amax amin logsumexp reduce every axis when dim is
absent; softmax log_softmax cumsum take the last axis; pow's exponent and the operands of add..., minimum,
maximum may be the second input or an attr ("exponent"; "other": number); topk has two outputs, values and
indices; pad's list counts from the last axis. softplus turns linear above attr threshold (20, as torch).
"""
import argparse
import json
import math
import sys

import torch
import torch.nn.functional as F

DTYPES = {"f64": torch.float64, "f32": torch.float32, "i64": torch.int64, "bool": torch.bool}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def every_axis(x):
    return tuple(range(x.dim()))


def over_all_axes(function):
    return lambda x, dim=None, **attrs: function(x, dim=every_axis(x) if dim is None else dim, **attrs)


def over_last_axis(function):
    return lambda x, dim=-1: function(x, dim=dim)


def with_scalar(function):
    """Binary op whose second operand may be the attr `other`."""
    return lambda a, *b, other=None: function(a, *b) if b else function(a, torch.tensor(other, dtype=a.dtype))


def along_axis(function):
    """Indexing op: torch wants the axis between x and the index."""
    return lambda x, *tensors, dim: function(x, dim, *tensors)


def layer_norm(x, weight=None, bias=None, normalized_shape=None, eps=1e-5):
    return F.layer_norm(x, normalized_shape or x.shape[-1:], weight, bias, eps)


def var(x, dim=None, unbiased=True, keepdim=False):
    dim = every_axis(x) if dim is None else dim
    return torch.var(x, dim=dim, correction=int(unbiased), keepdim=keepdim)


OPS = {
    **{name: with_scalar(getattr(torch, name)) for name in "add sub mul div minimum maximum".split()},
    **{name: getattr(torch, name) for name in (
        "neg pow exp log sqrt abs tanh sigmoid relu clamp where matmul topk argmax "
        "flip roll").split()},
    **{name: getattr(F, name) for name in (
        "leaky_relu elu gelu silu softplus cross_entropy nll_loss mse_loss binary_cross_entropy_with_logits "
        "huber_loss embedding one_hot pad").split()},
    **{name: along_axis(getattr(torch, name)) for name in "index_select gather scatter_add".split()},
    **{name: over_all_axes(getattr(torch, name)) for name in "sum mean amax amin logsumexp".split()},
    **{name: over_last_axis(getattr(torch, name)) for name in "softmax log_softmax cumsum".split()},
    "var": var,
    "layer_norm": layer_norm,
}


def tensor(record):
    dtype = DTYPES[record["dtype"]]
    data = [float(v) if isinstance(v, str) else v for v in record["data"]]
    return torch.tensor(data, dtype=dtype).reshape(record["shape"])


def plain(t):
    data = [v if math.isfinite(v) else str(v) for v in t.reshape(-1).tolist()]
    return {"shape": list(t.shape), "dtype": NAMES[t.dtype], "data": data}


def evaluate(record):
    result = OPS[record["op"]](*map(tensor, record["inputs"]), **record.get("attrs", {}))
    return [plain(t) for t in (result if isinstance(result, tuple) else (result,))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("records", nargs="?", type=argparse.FileType("r"), default=sys.stdin)
    parser.add_argument("--list", action="store_true", help="print the names of the ops and stop")
    args = parser.parse_args()
    if args.list:
        print(*sorted(OPS))
        return
    failed = False
    for line in filter(str.strip, args.records):
        answer = {"op": None}
        try:
            record = json.loads(line)
            answer["op"] = record["op"]
            answer["outputs"] = evaluate(record)
        except Exception as e:  # one bad record must not lose the others' answers
            answer["error"] = f"{type(e).__name__}: {e}"
            failed = True
        print(json.dumps(answer), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
