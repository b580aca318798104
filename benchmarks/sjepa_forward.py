"""The encoder of S-JEPA against braindecode's SignalJEPA: the same weights and windows, in turns, processor seconds.

    pip install braindecode mne
    python benchmarks/sjepa_forward.py --pairs 6

braindecode has no pretraining, so a step of training cannot be compared; both use PyTorch's own transformer layers.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from anyjepa.data.montage import look_up
from anyjepa.hub.braindecode import LEE2019, from_braindecode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    from braindecode.models import SignalJEPA

    torch.set_num_threads(options.threads)
    places = look_up(LEE2019)[1]
    channels = [{"ch_name": n, "loc": [*p, *[0.0] * 9]} for n, p in zip(LEE2019, places, strict=True)]
    for samples, batch in ((536, 8), (2072, 2)):
        theirs = SignalJEPA(n_chans=62, n_times=samples, sfreq=128, chs_info=channels, n_outputs=2).eval()
        ours = from_braindecode(theirs.state_dict(), positions=places, samples=samples).eval()
        x = 10 * torch.randn(batch, 62, samples)
        for gradients in (False, True):
            seconds = []
            for _ in range(options.pairs + 1):
                pair = []
                for model in (theirs, lambda y, ours=ours: ours.encode(y, encoder="context").tokens):
                    start = time.process_time()
                    with torch.set_grad_enabled(gradients):
                        out = model(x)
                    if gradients:
                        out.square().mean().backward()
                    pair.append(time.process_time() - start)
                seconds.append(pair)
            kept = np.array(seconds[1:])
            what = "forward and backward" if gradients else "forward"
            ratio = np.median(kept[:, 0] / kept[:, 1])
            print(
                f"{batch} windows of {samples} samples, {what}: braindecode {np.median(kept[:, 0]):.3f} s, "
                f"anyjepa {np.median(kept[:, 1]):.3f} s, ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
