"""The networks to train, and their initial weights.

Here belong `nn.Module` classes that turn examples into outputs, the initialisations, and
`build_model`, which combines the two with a seed. Data and optimizers do not belong here.
"""

from gradcli.models.activation import Activation, usual_gain
from gradcli.models.build import build_model, build_own_model
from gradcli.models.cnn import CNN
from gradcli.models.initialisation import (
    Default,
    Initialisation,
    Kaiming,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Xavier,
    Zeros,
)
from gradcli.models.logreg import LogisticRegression
from gradcli.models.mlp import MLP
from gradcli.models.resnet import ResNet
from gradcli.models.rnn import RNN
from gradcli.models.transformer import GPT
from gradcli.models.vit import ViT
from gradcli.models.zoo import TimmModel, TorchvisionModel, ZooModel

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "RNN",
    "Activation",
    "Default",
    "Initialisation",
    "Kaiming",
    "LogisticRegression",
    "Normal",
    "Orthogonal",
    "ResNet",
    "TimmModel",
    "TorchvisionModel",
    "TruncatedNormal",
    "ViT",
    "Xavier",
    "Zeros",
    "ZooModel",
    "build_model",
    "build_own_model",
    "usual_gain",
]
