"""`runs diff` names the layer in which two runs part: the layer that a test has changed."""

import math
import warnings

import pytest
import torch

from gradcli.inspection.parting.first_place import FirstPlace
from tests.inspection.parting.conftest import MODELS, at_precision, drawn_anew, flipped_bit
