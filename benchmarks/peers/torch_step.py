"""A training step in PyTorch: one model, several ways of computing its loss."""
import torch
from peer_rounds import Stepper


def stepper(make_model, loss, batch, *, dtype="f32", autocast=False, compiled=None, size=None):
    """`loss(model, batch)`. bf16: the weights themselves, or f32 weights under autocast. `compiled`: options of
    torch.compile over the whole of it."""
    torch.manual_seed(1)  # all modes start from the same weights
    model = make_model()
    if dtype == "bf16" and not autocast:
        model = model.to(torch.bfloat16)
    parameters = list(model.parameters())

    def run(batch):
        return loss(model, batch)

    if compiled is not None:
        torch._dynamo.config.recompile_limit = 64  # modes share `run`'s code, and it counts them together
        run = torch.compile(run, fullgraph=True, **compiled)

    def step(batch):
        for p in parameters:
            p.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = run(batch)
        value.backward()
        return value.item()

    def gradients():
        return {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}

    return Stepper(batch, step, size or (lambda batch: 1.0), gradients)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def warm_up(threads):
    """A fresh process runs its first calls on all threads at the speed of one."""
    import time

    torch.set_num_threads(threads)
    a = torch.randn(512, 512, requires_grad=True)
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        (a @ a).tanh().sum().backward()
