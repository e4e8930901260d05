"""A detector learns position angles although most of its sources are too faint or too round to show one."""

import numpy as np
import torch

from pipeline.detect.continuum import NAMES
from pipeline.detect.crops import Crops
from pipeline.detect.inputs import network_input
from pipeline.detect.practice import Practice, practise
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import batch_loss, new_detector
from pipeline.simulate.continuum_settings import ContinuumSettings

COS, SIN = (NAMES.values.index(name) for name in ("cos_2pa", "sin_2pa"))


def test_both_parts_of_the_angle_are_learnt():
    area = practise(Practice(ContinuumSettings(shape=(512, 512))), 1)
    field = area.image.labelled(area.truth, area.section, 2.0)
    settings = DetectorSettings(network="C-16.4_s2_p1 C-24.3 C-24.3 C-24.3", crop=64)
    detector = new_detector([field.objects], 2, NAMES, settings, 1)
    crops = Crops([field], 64, 16, 180, 1, NAMES.values, NAMES.conditions)
    optimiser = torch.optim.AdamW(detector.network.parameters(), lr=4e-3)
    for batch in crops.epoch(0):
        optimiser.zero_grad()
        sum(batch_loss(detector.network, batch, detector.layout, settings).values()).backward()
        torch.nn.utils.clip_grad_norm_(detector.network.parameters(), 2.0)
        optimiser.step()
    objects = field.objects
    bright = objects.take((objects.snr > 30) & (np.hypot(*objects.values[:, [COS, SIN]].T) > 0.2))
    cells = torch.from_numpy(np.floor((bright.centre + 0.5) / 2).astype(int))
    with torch.no_grad():
        raw = detector.network(network_input(torch.from_numpy(field.snr)[None], torch.tensor([field.conditions])))[0]
    said = detector.layout.decode(raw[(slice(None), *cells.T)].T, cells).values.numpy()
    for part in (COS, SIN):
        assert np.corrcoef(said[:, part], bright.values[:, part])[0, 1] > 0.5
