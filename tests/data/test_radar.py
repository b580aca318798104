"""Radar images: files of every kind, values, chips of any size, speckle, and what is broken."""

import io
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyjepa.data.modalities import modality, recognise
from anyjepa.data.radar import RadarConfig, RadarDataset
from anyjepa.data.radar_files import mstar_header, read_amplitude
from anyjepa.data.speckle import multilook, speckled
from anyjepa.errors import ConfigError, DataError

RADAR = modality("radar")


def speckle(height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    """A complex image: one look of speckle with a bright square."""
    draws = np.random.default_rng(seed)
    scene = np.ones((height, width), dtype=np.float32)
    scene[10:20, 15:30] = 9.0
    return (scene * (draws.standard_normal(scene.shape) + 1j * draws.standard_normal(scene.shape))).astype(
        np.complex64
    )


def mstar(values: np.ndarray, native: int = 0) -> bytes:
    """A chip as MSTAR stores one, from the public description of the format: text, magnitudes, phases."""
    rows, columns = values.shape
    body = np.abs(values).astype(">f4").tobytes() + np.angle(values).astype(">f4").tobytes()

    def head(length: int) -> bytes:
        lines = [
            "[PhoenixHeaderVer01.04]",
            f"PhoenixHeaderLength= {length:05d}",
            f"PhoenixSigSize= {length + native + len(body)}",
            f"native_header_length= {native}",
            "Filename= HB03333.015",
            "TargetType= t72_tank",
            "TargetAz= 33.2",
            f"NumberOfColumns= {columns}",
            f"NumberOfRows= {rows}",
            "[EndofPhoenixHeader]",
        ]
        return "\n".join(lines).encode() + b"\n"

    return head(len(head(0))) + bytes(native) + body


def opened(path: Path, labels: bool = False, **options):
    config = RadarConfig(size=32, **options)
    return RadarDataset(RADAR.open(path, config, labels=labels), config)


@pytest.mark.parametrize("native", [0, 512])
def test_an_mstar_chip_has_the_magnitudes_that_were_written(native: int) -> None:
    values = speckle()
    found = read_amplitude(mstar(values, native), "chip")
    np.testing.assert_array_equal(found.values, np.abs(values))
    assert not found.white and mstar_header(mstar(values))["TargetType"] == "t72_tank"


def test_complex_numbers_in_npy_and_tiff_become_amplitudes(tmp_path: Path) -> None:
    values = speckle()
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_allclose(read_amplitude(tmp_path / "a.npy", "a").values, np.abs(values))
    tifffile = pytest.importorskip("tifffile", reason="tifffile is the extra 'tiff'")
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.testing.assert_allclose(read_amplitude(tmp_path / "a.tif", "a").values, np.abs(values))
    tifffile.imwrite(tmp_path / "f.tif", np.abs(values))
    found = read_amplitude(tmp_path / "f.tif", "f")
    np.testing.assert_allclose(found.values, np.abs(values), rtol=1e-6)
    assert not found.white


def test_8_and_16_bits_keep_their_white(tmp_path: Path) -> None:
    deep = (np.arange(32 * 32).reshape(32, 32) * 60).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "flat.png")
    np.save(tmp_path / "deep.npy", deep)
    for name in ("deep.png", "deep.npy"):
        found = read_amplitude(tmp_path / name, name)
        assert found.white
        np.testing.assert_allclose(found.values, deep / 65535, rtol=1e-6)
    whole = opened(tmp_path).evaluation([0, 1, 2])
    torch.testing.assert_close(whole[0], whole[1])
    torch.testing.assert_close(whole[2], whole[0], atol=1 / 255, rtol=0)


def test_folders_tar_and_zip_give_the_same_chips_and_classes(tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    for i, name in enumerate(("bmp2", "bmp2", "t72")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"HB0{i}.015").write_bytes(mstar(speckle(seed=i)))
    np.save(folder / "t72" / "z.npy", speckle(seed=3))
    (folder / "t72" / "notes.txt").write_text("no image")
    with tarfile.open(tmp_path / "chips.tar", "w") as archive:
        archive.add(folder, "chips")
    a, b = opened(folder, labels=True), opened(tmp_path / "chips.tar", labels=True)
    assert len(a) == len(b) == 4
    assert a.source.class_names == b.source.class_names == ("bmp2", "t72")
    assert a.source.labels.tolist() == b.source.labels.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(a.evaluation(range(4)), b.evaluation(range(4)))
    assert recognise(folder / "bmp2" / "HB00.015").name == "radar"


def test_serial_numbers_below_a_class_are_of_that_class(tmp_path: Path) -> None:
    for kind, serial in (("bmp2", "sn_9563"), ("bmp2", "sn_c21"), ("t72", "sn_132")):
        (tmp_path / kind / serial).mkdir(parents=True)
        (tmp_path / kind / serial / "HB1.015").write_bytes(mstar(speckle()))
    assert opened(tmp_path, labels=True).source.class_names == ("sn_132", "sn_9563", "sn_c21")
    top = opened(tmp_path, labels=True, classes="top").source
    assert top.class_names == ("bmp2", "t72") and top.labels.tolist() == [0, 0, 1]


def test_values_reach_from_0_to_1_by_image_or_by_data_set(tmp_path: Path) -> None:
    for i, scale in enumerate((1.0, 100.0)):
        np.save(tmp_path / f"{i}.npy", scale * speckle(seed=i))
    by_image, by_data = (opened(tmp_path, stretch=how) for how in ("auto", "data"))
    assert [round(float(by_image.read(i)[0].max()), 3) for i in (0, 1)] == [1.0, 1.0]
    assert float(by_data.read(0)[0].max()) < 0.1 and float(by_data.read(1)[0].max()) == 1.0
    source, settled = RADAR.settle(by_data.source, by_data.config)
    again = RADAR.open(tmp_path, settled)
    assert settled.limits == source.limits and torch.equal(again.read(0), source.read(0))
    decibels = opened(tmp_path, values="db")
    a, _b = (decibels.read(i)[0] for i in (0, 1))
    assert float(a.min()) >= 0 and float(a.max()) == 1.0 and a.median() > by_image.read(0)[0].median()
    # 20 dB more everywhere are nothing once an image is stretched by itself.
    np.save(tmp_path / "0.npy", 10 * speckle(seed=0))
    torch.testing.assert_close(decibels.read(0)[0], a, atol=1e-4, rtol=0)


def test_looks_average_intensities() -> None:
    amplitude = np.array([[3.0, 4.0, 9.0], [0.0, 5.0, 9.0], [9.0, 9.0, 9.0]])
    np.testing.assert_allclose(multilook(amplitude, 2), [[np.sqrt((9 + 16 + 0 + 25) / 4)]])
    many = np.abs(speckle(200, 200)[:, 40:])
    spread = [v.std() / v.mean() for v in (many[30:], multilook(many[30:], 4))]
    # The spread of the amplitude of one look is sqrt(4 / pi - 1); sixteen looks leave about a quarter.
    assert spread[0] == pytest.approx((4 / np.pi - 1) ** 0.5, rel=0.05) and spread[1] < 0.3 * spread[0]


def test_speckle_has_the_looks_it_is_asked_for() -> None:
    flat = torch.full((1, 300, 300), 0.2)
    for looks in (1.0, 4.0):
        intensity = speckled(flat, looks, 7).square() / 0.04
        assert intensity.mean().item() == pytest.approx(1.0, rel=0.02)
        assert intensity.var().item() == pytest.approx(1 / looks, rel=0.05)
    assert torch.equal(speckled(flat, 2.0, 7), speckled(flat, 2.0, 7))
    assert not torch.equal(speckled(flat, 2.0, 7), speckled(flat, 2.0, 8))


def test_test_speckle_is_the_same_in_any_company(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(np.full((20, 20 + i), 90, np.uint8)).save(tmp_path / f"{i}.png")
    noisy, clean = opened(tmp_path, test_speckle=2.0), opened(tmp_path)
    whole = noisy.evaluation(range(4))
    torch.testing.assert_close(noisy.evaluation([2])[0], whole[2], atol=0, rtol=0)
    assert not torch.allclose(whole, clean.evaluation(range(4)))


def test_training_crops_are_a_pure_function_in_0_to_1_without_black_borders(tmp_path: Path) -> None:
    for i in range(6):
        Image.fromarray(np.full((18 + 3 * i, 30), 60 + 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    dataset = opened(tmp_path, speckle=(2.0, 8.0), fit="crop", chip=24)
    batch = dataset.draw(3, [0, 1, 5], 11)
    assert torch.equal(dataset.draw(3, [5], 11)[0], batch[2])
    assert batch.shape == (3, 1, 32, 32) and float(batch.min()) >= 0 and float(batch.max()) <= 1
    plain = opened(tmp_path, contrast=(1.0, 1.0)).draw(3, range(6), 11)
    for i in range(6):
        torch.testing.assert_close(plain[i], torch.full((1, 32, 32), (60 + 10 * i) / 255), atol=1e-5, rtol=0)
    assert not torch.equal(dataset.draw(3, [0], 11), dataset.draw(4, [0], 11))


def test_contrast_changes_distances_to_the_mean(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(100, 150, 32), (32, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    options = dict(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False)
    plain = opened(tmp_path, contrast=(1.0, 1.0), **options).draw(0, [0], 0)
    factors = []
    for step in range(40):
        strong = opened(tmp_path, **options).draw(step, [0], 0)
        torch.testing.assert_close(strong.mean(), plain.mean(), atol=1e-4, rtol=0)
        factors.append(float(strong.std() / plain.std()))
    assert 0.5 <= min(factors) < 0.65 and 1.35 < max(factors) <= 1.5


@pytest.mark.parametrize("fit, black", [("cut", 0.0), ("squeeze", 0.0), ("crop", 0.0), ("pad", 0.0)])
def test_chips_of_any_size_become_squares(tmp_path: Path, fit: str, black: float) -> None:
    for i, size in enumerate(((12, 40), (40, 12), (64, 64), (7, 9))):
        pixels = np.full(size, 200, np.uint8)
        pixels[size[0] // 2, size[1] // 2] = 255
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    found = opened(tmp_path, fit=fit, chip=32).evaluation(range(4))
    assert found.shape == (4, 1, 32, 32)
    # Borders are mirrored: nothing is darker than the darkest pixel.
    assert float(found.min()) > 0.78 and float(found.max()) <= 1.0 + black


def test_crop_keeps_the_size_of_a_chip_from_telling_its_class(tmp_path: Path) -> None:
    """The same target in chips of two sizes: equal after fit=crop, not after fit=squeeze."""
    middle = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    Image.fromarray(middle).save(tmp_path / "a.png")
    Image.fromarray(np.pad(middle, 10, constant_values=9)).save(tmp_path / "b.png")
    cropped, squeezed = (opened(tmp_path, fit=f, chip=32).evaluation([0, 1]) for f in ("crop", "squeeze"))
    torch.testing.assert_close(cropped[0], cropped[1])
    assert not torch.allclose(squeezed[0], squeezed[1], atol=0.05)


def test_broken_files_are_counted_and_each_has_one_clear_error(tmp_path: Path, caplog) -> None:
    whole = mstar(speckle())
    broken = {
        "short.015": (whole[:5000], "ends after 5000 bytes"),
        "endless.015": (b"[PhoenixHeaderVer01.04]\nNumberOfRows= 4", "header has no end"),
        "rowless.015": (whole.replace(b"NumberOfRows", b"NumberOfCows"), "NumberOfRows=nothing"),
        "huge.015": (whole.replace(b"NumberOfRows= 40", b"NumberOfRows= 400000000"), "safe limit"),
        "nan.npy": (_npy(np.full((4, 4), np.nan, np.float32)), "not finite"),
        "negative.npy": (_npy(np.full((4, 4), -1.0, np.float32)), "negative values"),
        "cube.npy": (_npy(np.zeros((4, 4, 4), np.float32)), "expected .height, width."),
        "objects.npy": (_npy(np.array([[{}]], dtype=object)), "Python objects"),
        "torn.npy": (_npy(np.zeros((4, 4), np.float32))[:-3], "cannot read image torn.npy"),
        "text.png": (b"no picture", "cannot read image text.png"),
    }
    for name, (data, told) in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=told):
            read_amplitude(tmp_path / name, name)
    for i in range(10):
        np.save(tmp_path / f"fine{i}.npy", speckle(seed=i))
    dataset = opened(tmp_path, max_broken=0.6)
    with caplog.at_level(logging.WARNING):
        assert dataset.draw(0, range(len(dataset)), 0).shape[0] == 20
    assert len(dataset.broken) == 10 and len(caplog.records) == 10
    with pytest.raises(DataError, match="max_broken=10%"):
        opened(tmp_path).draw(0, range(20), 0)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_complex_integers_name_the_way_out(tmp_path: Path) -> None:
    pytest.importorskip("tifffile", reason="tifffile is the extra 'tiff'")
    values = np.zeros((8, 8), np.float32)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    at = data.index(b"\x53\x01\x03\x00")  # tag 339, SampleFormat, short
    data[at + 8 : at + 10] = b"\x05\x00"
    with pytest.raises(DataError, match="CFloat32"):
        read_amplitude(bytes(data), "sentinel.tif")


def test_near_copies_become_groups_on_demand(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for i in range(3):
        chip = draws.integers(0, 255, (6, 6)).astype(np.uint8).repeat(5, 0).repeat(5, 1)
        for k in range(4):
            (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
            Image.fromarray(np.rot90(chip, k).copy()).save(tmp_path / "ab"[i % 2] / f"{i}{k}.png")
    assert opened(tmp_path, labels=True).source.groups is None
    groups = opened(tmp_path, labels=True, clusters=0.8).source.groups
    assert len(set(groups.tolist())) == 3 and all(
        len(set(groups[k : k + 4].tolist())) == 1 for k in (0, 4, 8)
    )


def test_impossible_options_are_named() -> None:
    for options, told in (
        ({"channels": 3}, "channels must be 1"),
        ({"percentiles": (99.0, 1.0)}, "must ascend"),
        ({"looks": 0}, "at least 1"),
        ({"speckle": (4.0, 1.0)}, "low, high"),
        ({"test_speckle": 0.0}, "above 0 looks"),
    ):
        with pytest.raises(ConfigError, match=told):
            RadarConfig(**options)


def test_nothing_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        RADAR.open(tmp_path / "nothing", RadarConfig())
    with pytest.raises(DataError, match="MSTAR"):
        RADAR.open(tmp_path, RadarConfig())
