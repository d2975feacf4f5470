"""The short names of the most used config keys: options of the command, arguments in Python."""

SHORTHANDS = {
    "data": "data",
    "model": "model",
    "activation": "activation",
    "optimizer": "optimizer",
    "lr": "optimizer.lr",
    "clip": "clip",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "seed": "seed",
    "device": "device",
    "name": "name",
}
