"""Workloads W1 to W4 in JAX, for `reel_workloads --peers` or by itself: one mode, `scan` (jit, lax.scan).

    python3 jax_workloads.py [--only W2,W3] [--threads 2]

Inputs of all steps are projected at once, one-hot rows by look-up; the scan holds what is left of the cell.
"""
import os
import sys
from functools import partial

import peer_rounds

args = peer_rounds.arguments(__doc__.partition("\n")[0])
os.environ["PJRT_NPROC"] = os.environ["NPROC"] = str(args.threads)  # the size of its pool of threads
os.environ["JAX_PLATFORMS"] = "cpu"
if args.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
try:
    import jax
except ImportError:
    sys.exit("jax_workloads.py: there is no jax here: pip install jax==0.10.2")
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

SIZES = {  # kind, layers, hidden, batch, steps, vocabulary, embedding
    "W1": ("rnn", 1, 100, 1, 25, 65, 0),
    "W2": ("lstm", 1, 128, 16, 50, 65, 0),
    "W3": ("lstm", 3, 512, 32, 64, 65, 0),
    "W4": ("lstm", 2, 650, 20, 35, 10000, 650),
}


def rnn_cell(weight_hh, h, from_x):
    h = jnp.tanh(from_x + h @ weight_hh)
    return h, h


def lstm_cell(weight_hh, state, from_x):
    h, c = state
    i, f, g, o = jnp.split(from_x + h @ weight_hh, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def initial_weights(kind, layers, hidden, batch, steps, vocabulary, embedding):
    draw = np.random.default_rng(1)

    def uniform(*shape):
        return jnp.asarray(draw.uniform(-1, 1, shape) * hidden**-0.5, jnp.float32)

    gates = hidden * (4 if kind == "lstm" else 1)
    widths = [embedding or vocabulary] + [hidden] * (layers - 1)
    weights = {"layers": [(uniform(w, gates), uniform(hidden, gates), uniform(gates)) for w in widths],
               "output": (uniform(hidden, vocabulary), uniform(vocabulary))}
    return weights | ({"embedding": uniform(vocabulary, embedding)} if embedding else {})


def loss(kind, weights, ids, targets):
    """The mean cross-entropy of targets [steps, batch]."""
    x = weights["embedding"][ids] if "embedding" in weights else None
    for weight_ih, weight_hh, bias in weights["layers"]:
        from_x = (weight_ih[ids] if x is None else x @ weight_ih) + bias
        zero = jnp.zeros((ids.shape[1], len(weight_hh)), jnp.float32)
        cell, state = (lstm_cell, (zero, zero)) if kind == "lstm" else (rnn_cell, zero)
        _, x = jax.lax.scan(partial(cell, weight_hh), state, from_x)
    weight, bias = weights["output"]
    scores = jax.nn.log_softmax(x @ weight + bias)
    return -jnp.take_along_axis(scores, targets[..., None], axis=-1).mean()


def stepper(name):
    kind, _, _, batch, steps, vocabulary, _ = SIZES[name]
    weights = initial_weights(*SIZES[name])
    gradient = jax.jit(jax.value_and_grad(partial(loss, kind)))

    def batch_of(k):
        return [jnp.asarray(a) for a in np.random.default_rng(k).integers(vocabulary, size=(2, steps, batch))]

    def step(b):
        return float(jax.block_until_ready(gradient(weights, *b))[0])

    return peer_rounds.Stepper(batch_of, step)


peer_rounds.main(args, peer_rounds.Peer({name: {"scan": partial(stepper, name)} for name in SIZES}), ["scan"])
