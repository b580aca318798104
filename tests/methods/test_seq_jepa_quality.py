"""On real turntable views: with the true actions representations tell rotations, with actions of other draws they do so less."""

import numpy as np
import pytest
import torch

from anyjepa.contract import Batch
from anyjepa.data.modalities import modality
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.evaluation.sequence_features import part
from anyjepa.evaluation.sequence_tasks import Setting, equivariance_scores
from anyjepa.methods.seq_jepa import SeqJEPA, SeqJEPAConfig
