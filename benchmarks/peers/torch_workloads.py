"""Workloads W1 to W9 in PyTorch, for `reel_workloads --peers` or by itself.

    python3 torch_workloads.py [--only W2,W3] [--modes module,compile,module-bf16] [--threads 2] [--check]

Modes: `module` (nn.LSTM, nn.GRU, nn.TransformerEncoderLayer), `composed` (cells of ops; W5: node by node), `hoisted`
(composed, one product for the inputs of all steps), `batched` (W5: all nodes of a depth at once), `compile`
(torch.compile of the best form; minutes, so only when asked for; W8: `compile-cell` too). With -bf16 the weights are
bf16; autocast-bf16 keeps them in f32.
"""
import os

import peer_rounds

args = peer_rounds.arguments(__doc__.partition("\n")[0])
# The runner's passive waiting is for our own threads; PyTorch's wait as they do by default.
os.environ.pop("OMP_WAIT_POLICY", None)
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)

import torch_attention  # noqa: E402
import torch_layer_norm  # noqa: E402
import torch_recurrent  # noqa: E402
import torch_step  # noqa: E402
import torch_tree  # noqa: E402

modes = {}
for part in (torch_recurrent, torch_tree, torch_attention, torch_layer_norm):
    modes |= part.WORKLOADS
torch_step.warm_up(args.threads)
peer_rounds.main(args, peer_rounds.Peer(dict(sorted(modes.items()))), ["module", "composed", "hoisted", "batched"])
