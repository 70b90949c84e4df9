"""A frozen linear layer that holds its weight packed for products in bf16, in both directions."""

from __future__ import annotations

from typing import Any

import torch

SMALL = 16  # inputs or outputs below which nothing is won; Gemma 3n changes such weights while it computes


class PackedLinear(torch.nn.Module):
    """What `torch.nn.Linear` computes, for a weight that is not trained, on a CPU with fast bf16.

    The weight is laid out once as oneDNN wants it, for the product and for the gradient of the
    input; an ordinary layer converts or lays it out anew at every call. The input is rounded to
    bf16, the processor sums in fp32, and the result has the input's dtype. Of the input nothing
    is kept for the backward pass. The weight is not in the state dict: it is never saved again.
    """

    def __init__(self, linear: torch.nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().to(torch.bfloat16)
        self.packed = _pack(weight)
        self.packed_back = _pack(weight.t())
        self.bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., in_features]; returns [..., out_features]."""
        result: torch.Tensor = _Product.apply(x, self)
        return result

    def back(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of the input, [..., in_features], from that of the output, [..., out_features]."""
        return _product(gradient, self.packed_back, None)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        return _product(x, layer.packed, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.layer.back(gradient), None


def _product(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result = torch.ops.mkldnn._linear_pointwise(x.to(torch.bfloat16), packed, bias, "none", [], "")
    return result.to(x.dtype)


def _pack(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())


def packable(module: torch.nn.Module) -> bool:
    """A plain linear layer whose weight is not trained: not a quantised one, which is a subclass."""
    return type(module) is torch.nn.Linear and not any(p.requires_grad for p in module.parameters())


def pack_frozen(model: torch.nn.Module, used: set[torch.nn.Module]) -> int:
    """Pack the frozen linear layers of a model in bf16, and let everything between them be fp32; how many.

    used: the modules that take part in a forward pass. None is packed where one of these has a
    frozen matrix of another kind (quantised, experts, a convolution) or an adapter that looks at
    its base layer's weight, as DoRA does: those want autocast.
    """
    plain = {module for module in used if packable(module)}
    small = {module for module in plain if min(module.weight.shape) < SMALL}
    layers = plain - small
    if not all(_can_stay(module) for module in used - plain):
        return 0
    for module in small:
        module.float()
    for parent in list(model.modules()):  # lists of layers are among them, which are not in `used`
        for name, child in parent.named_children():
            if child in layers:
                setattr(parent, name, PackedLinear(child))
    for module in used - plain:
        if isinstance(module, torch.nn.Embedding) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.clone()  # the file that the weights came from is let go
            module.register_forward_hook(lambda _, __, output: output.float())
        for parameter in module.parameters(recurse=False):
            if parameter.dim() < 2:
                parameter.data = parameter.data.float()
    return len(layers)


def _can_stay(module: torch.nn.Module) -> bool:
    """Does `module` compute in fp32 between packed layers?"""
    if getattr(module, "lora_variant", None):
        return False
    matrices = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() > 1]
    return isinstance(module, torch.nn.Embedding) or all(matrix.dtype == torch.float32 for matrix in matrices)
