"""A model's layers: the modules that own parameters directly."""

from __future__ import annotations

from torch import nn

from gradcli.records import LayerInfo, ParameterInfo


def find_layers(model: nn.Module) -> tuple[LayerInfo, ...]:
    """Describe the layers of `model`, in the order of its registered modules.

    A parameter shared by two modules belongs to the first one, as in `named_parameters()`. The
    model's own parameters form the layer `(model)`.
    """
    layers: list[LayerInfo] = []
    seen: set[int] = set()
    for name, module in model.named_modules():
        parameters: list[ParameterInfo] = []
        for parameter_name, parameter in module.named_parameters(prefix=name, recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                parameters.append(ParameterInfo(parameter_name, tuple(parameter.shape)))
        if parameters:
            layers.append(
                LayerInfo(
                    name=name or "(model)",
                    kind=class_name(module),
                    depth=len(layers),
                    parameters=tuple(parameters),
                )
            )
    return tuple(layers)


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class; of one that `fully_shard` has changed, as it was.

    That changes `Linear` into `FSDPLinear`, which derives from `FSDPModule` and `Linear`.
    """
    kind, *bases = type(module).__mro__
    return (bases[1] if bases[0].__name__ == "FSDPModule" else kind).__name__


def layer_module(model: nn.Module, layer: LayerInfo) -> nn.Module:
    """Return the module of `layer`."""
    return model if layer.name == "(model)" else model.get_submodule(layer.name)


def layer_parameters(model: nn.Module, layers: tuple[LayerInfo, ...]) -> tuple[nn.Parameter, ...]:
    """Return the parameters in the order of the layers' `ParameterInfo`s, one each."""
    by_name = dict(model.named_parameters())
    return tuple(by_name[parameter.name] for layer in layers for parameter in layer.parameters)
