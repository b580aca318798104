"""Images that already have the wanted size are not resized, and nobody can tell."""

import pytest
import torch

from anyjepa.data.transforms import crop_resize, resize_centre
from anyjepa.views.boxes import centre_boxes


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (40, 64), (5, 1)])
def test_the_short_way_gives_the_bits_of_the_long_one(size):
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8), torch.rand(3, *size)]
    boxes = centre_boxes([size[0]] * 2, [size[1]] * 2, size[1] / size[0])
    assert torch.equal(resize_centre(images, size), crop_resize(images, boxes, size))
