"""Random views of a batch of images, as tensor work on the device that trains.

What is drawn for a view is a pure function of (seed, purpose, step, sample index, view): neither a resume nor the number of
processes nor the other samples of the batch change it.
"""

from anyjepa.views.apply import apply_views, random_views
from anyjepa.views.config import ViewConfig
from anyjepa.views.draw import ViewParameters, draw_views

__all__ = ["ViewConfig", "ViewParameters", "apply_views", "draw_views", "random_views"]
