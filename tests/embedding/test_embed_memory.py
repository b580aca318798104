"""The process that embeds does not grow with the data, what the C library keeps of freed memory included."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anyjepa import create
from anyjepa.config import to_dict
from anyjepa.training.checkpoint import State, save

MEASURE = """
import sys
from pathlib import Path
import torch
from anyjepa import embed
torch.set_num_threads(1)
embed(sys.argv[1], sys.argv[2], sys.argv[2] + ".parquet")
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux for the largest size of a process")
def test_a_process_stays_as_large_for_more_images(tmp_path: Path) -> None:
    method = create("ijepa", size="nano", dim=32, depth=1, heads=2, image_size=(32, 32), patch_size=4)
    content = {"method": "ijepa", "model": to_dict(method.config)}
    save(tmp_path / "run", State(1, 0.0, content), method.state_dict(), {})
    megabytes = {}
    for count in (1000, 6000):
        data = tmp_path / f"{count}.npy"
        np.save(data, np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "run"), str(data)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        megabytes[count] = int(done.stdout.split()[-1])
    # 15 MB of the difference are the mapped file; with memory that is kept it was 150 MB and more.
    assert megabytes[6000] - megabytes[1000] < 60, megabytes
