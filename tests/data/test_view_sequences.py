"""Sequences of views: pure draws, exact parameters, poses from every kind of file, and what is wrong with them."""

import numpy as np
import pytest
import torch
from PIL import Image

from anyjepa.config import from_dict
from anyjepa.data.modalities import modality
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.rotations import between, from_euler, inverse, multiply, turn
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.data.views_makers import Draw
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.sequence_features import part

VIEWS = modality("views")


def turntable(folder, name="table.npz", objects=4, views=6, **arrays):
    """Objects on a turntable whose pixels name object and view."""
    count = objects * views
    rows = np.arange(count)
    images = np.zeros((count, 8, 8), np.uint8)
    images[:, :4] = (10 * (rows // views))[:, None, None]
    images[:, 4:] = (10 * (rows % views))[:, None, None]
    given: dict = dict(
        images=images, object=rows // views, angle=360.0 / views * (rows % views), labels=rows // views % 2
    )
    # None takes an array away.
    np.savez(folder / name, **{k: v for k, v in (given | arrays).items() if v is not None})
    return folder / name


def opened(path, labels=False, **options):
    config = ViewsConfig(**({"size": 8} | options))
    source = VIEWS.open(path, config, labels=labels)
    source, config = VIEWS.settle(source, config)
    return ViewsDataset(source, config)


def pictures(folder, count=6, side=12):
    draws = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(draws.integers(0, 255, (side, side, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def test_rotations_are_those_of_the_field():
    assert from_euler(np.array([0, 0, np.pi / 2])) == pytest.approx([0, 0, 0.70711, 0.70711], abs=1e-5)
    one = from_euler(np.random.default_rng(0).uniform(-1, 1, (20, 3)))
    assert between(one, one) == pytest.approx(np.tile([0, 0, 0, 1.0], (20, 1)))
    two, three = one[::-1], np.roll(one, 3, axis=0)
    assert multiply(between(one, two), between(two, three)) == pytest.approx(between(one, three))
    assert multiply(one, inverse(one)) == pytest.approx(np.tile([0, 0, 0, 1.0], (20, 1)))
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    a, b = (rotation.from_euler("xyz", [[0.3, -0.7, 1.1]]), rotation.from_euler("xyz", [[-0.2, 0.5, 0.4]]))
    ours = between(from_euler(np.array([[0.3, -0.7, 1.1]])), from_euler(np.array([[-0.2, 0.5, 0.4]])))
    assert ours == pytest.approx((a.inv() * b).as_quat())
    assert turn(np.array([0.5]), np.array([0.5 + np.pi / 2])) == pytest.approx([0, 1], abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"kind": "augmentation"}, {"kind": "saccades", "canvas": (16, 16)}, {"chance_actions": True}],
)
def test_a_draw_is_a_pure_function_of_seed_step_and_sample(tmp_path, options):
    data = opened(turntable(tmp_path), **options)
    whole, some = data.draw(3, [0, 5, 9, 13], 7), data.draw(3, [9, 0], 7)
    for name in ("views", "actions"):
        torch.testing.assert_close(whole[name][[2, 0]], some[name], rtol=1e-5, atol=1e-5)
    assert whole["views"].shape == (4, 4, 1, 8, 8) and whole["actions"].shape == (4, 3, data.action_dim)
    for other in (data.draw(4, [0, 5, 9, 13], 7), data.draw(3, [0, 5, 9, 13], 8)):
        assert not torch.equal(whole["views"], other["views"]) and not torch.equal(
            whole["actions"], other["actions"]
        )


def test_lengths_are_drawn_for_each_step(tmp_path):
    data = opened(turntable(tmp_path), observed=(1, 3))
    assert {data.draw(step, [0, 1], 0)["views"].shape[1] for step in range(20)} == {2, 3, 4}


def test_views_of_an_object_are_its_own_and_actions_lead_from_one_to_the_next(tmp_path):
    data = opened(turntable(tmp_path))
    found = data.sequences(np.arange(24), 6)
    pixels = (found.inputs["views"] * 0.5 + 0.5) * 25.5
    objects, views = pixels[:, :, 0, 0, 0].round(), pixels[:, :, 0, 7, 0].round()
    assert (objects == torch.arange(4).repeat_interleave(6)[:, None]).all()
    assert (views.sort(dim=1).values == torch.arange(6)).all(), "no view comes twice"
    assert (views[:, 0] == torch.arange(24) % 6).all(), "the sample itself comes first"
    steps = torch.deg2rad(60 * (views[:, 1:] - views[:, :-1]))
    torch.testing.assert_close(
        found.inputs["actions"], torch.stack((steps.cos(), steps.sin()), dim=2), atol=1e-5, rtol=0
    )


def test_a_path_is_the_product_of_its_steps(tmp_path):
    euler = np.random.default_rng(0).uniform(-60, 60, (24, 3))
    data = opened(turntable(tmp_path, angle=None, euler=euler, values=np.arange(24.0)))
    maker, found = data.maker, data.sequences(range(24), 4)
    assert isinstance(data.source, PoseSource) and data.source.form == "quaternion" and data.action_dim == 5
    steps = [maker.relate(found.parameters[:, i], found.parameters[:, i + 1]).numpy() for i in range(3)]
    direct = maker.relate(found.parameters[:, 0], found.parameters[:, 3]).numpy()
    whole = multiply(multiply(steps[0][:, :4], steps[1][:, :4]), steps[2][:, :4])
    assert np.abs((whole * direct[:, :4]).sum(axis=1)) == pytest.approx(1, abs=1e-5)
    assert sum(s[:, 4] for s in steps) == pytest.approx(direct[:, 4], abs=1e-4)


def test_chance_actions_have_the_same_values_and_say_nothing(tmp_path):
    path = turntable(tmp_path, objects=40, views=8)
    true, chance = (opened(path, chance_actions=c).sequences(range(320), 2).inputs for c in (False, True))
    assert torch.equal(true["views"], chance["views"])
    a, b = true["actions"][:, 0], chance["actions"][:, 0]
    assert (a - b).abs().max() > 0.5 and abs(float((a[:, 1] * b[:, 1]).mean())) < 0.12
    assert b.norm(dim=1).numpy() == pytest.approx(np.ones(320), abs=1e-5)


def test_the_numbers_of_an_augmentation_are_exact(tmp_path):
    pixels = np.random.default_rng(0).integers(60, 120, (6, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels)
    quiet = dict(
        jitter=0.0,
        greyscale=0.0,
        blur=0.0,
        solarize=0.0,
        flip=0.0,
        crop_scale=[1.0, 1.0],
        crop_aspect=[1.0, 1.0],
    )

    def data(**view):
        config = from_dict(
            ViewsConfig, {"size": 16, "scaling": "none", "view": quiet | view, "next_view": quiet | view}
        )
        return ViewsDataset(VIEWS.open(tmp_path / "x.npz", config), config)

    still = data().sequences(range(6), 3)
    assert still.parameters[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    torch.testing.assert_close(still.inputs["views"][:, 0], data().evaluation(range(6)), rtol=1e-4, atol=1e-4)
    bright = data(jitter=1.0, brightness=0.5, contrast=0.0, saturation=0.0, hue=0.0).sequences(range(6), 2)
    mean = bright.inputs["views"] * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    mean = (mean + torch.tensor([0.485, 0.456, 0.406])[:, None, None]).mean(dim=(2, 3, 4))
    factor = bright.parameters[..., 4]
    torch.testing.assert_close(mean[:, 1] / mean[:, 0], factor[:, 1] / factor[:, 0], rtol=0.02, atol=0)
    torch.testing.assert_close(bright.inputs["actions"][:, 0, 4], factor[:, 1] - factor[:, 0])


def test_subsets_and_scalings_of_an_augmentation(tmp_path):
    folder = pictures(tmp_path)
    assert [
        opened(folder, parameters=p).action_dim for p in (("crop",), ("colour",), ("blur",), ("blur", "crop"))
    ] == [4, 4, 1, 5]
    scaled = opened(folder)
    found = scaled.maker.parameters(Draw(1, 0, np.arange(3000), 4, ahead=True)).flatten(0, 1)
    assert found.mean(dim=0).numpy() == pytest.approx(np.zeros(9), abs=0.06)
    assert found.std(dim=0).numpy() == pytest.approx(np.ones(9), abs=0.06)
    official = opened(folder, compat="official").sequences(range(6), 3)
    lengths = official.parameters.square().sum(dim=1)
    assert ((lengths - 1).abs().lt(1e-4) | lengths.lt(1e-6)).all(), "of length 1 over the views of a sequence"


def test_the_predicted_view_is_drawn_by_its_own_rule(tmp_path):
    data = opened(pictures(tmp_path), scaling="none")
    blur = data.maker.parameters(Draw(0, 0, np.arange(2000), 3, ahead=True))[:, :, 8]
    shares = (blur > 0).float().mean(dim=0)
    assert shares[:2].tolist() == [1, 1] and shares[2] == pytest.approx(0.1, abs=0.03)
    assert data.maker.predicted.blur_kernel == 1 and opened(tmp_path, size=32).maker.observed.blur_kernel == 3


def test_tables_and_folders_say_the_same_as_arrays(tmp_path):
    reference = opened(turntable(tmp_path, objects=2, views=4))
    folder = tmp_path / "bench"
    lines = ["path,object,angle,hue"]
    for i in range(8):
        place = folder / "class" / f"thing{i // 4}"
        place.mkdir(parents=True, exist_ok=True)
        picture = reference.source.read(i)[0].numpy()
        Image.fromarray(picture).save(place / f"image_{i % 4}.png")
        np.save(place / f"latent_{i % 4}.npy", np.array([0, 0, np.deg2rad(90 * (i % 4)), 0.1 * i, 0, 0, 0.5]))
        lines.append(
            f"bench/class/thing{i // 4}/image_{i % 4}.png,thing{i // 4},{90 * (i % 4)},{0.1 * i:.1f}"
        )
    (tmp_path / "poses.csv").write_text("\n".join(lines) + "\n")
    table = opened(tmp_path / "poses.csv", value_columns=("hue",))
    bench = opened(folder, labels=True, value_columns=("floor_hue", "light_hue"), channels=1)
    assert (table.action_dim, bench.action_dim, reference.action_dim) == (3, 6, 2)
    assert bench.source.class_names == ("class",) and bench.source.fewest[1] == 4
    a, b, c = (data.sequences(range(8), 3) for data in (reference, table, bench))
    assert torch.equal(a.inputs["views"], b.inputs["views"]) and torch.equal(
        a.inputs["views"], c.inputs["views"]
    )
    torch.testing.assert_close(b.inputs["actions"][..., :2], a.inputs["actions"])
    # A turn about one axis: the quaternion has half the angle, up to its sign.
    z, w = c.inputs["actions"][..., 2], c.inputs["actions"][..., 3]
    torch.testing.assert_close(w.square() - z.square(), a.inputs["actions"][..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(2 * w * z, a.inputs["actions"][..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(c.inputs["actions"][..., 4], b.inputs["actions"][..., 2], atol=1e-5, rtol=0)


def test_coil_is_read_upright_with_its_angles(require_data):
    path = require_data("views-coil20") / "COIL20.mat"
    data = opened(path, labels=True, size=32)
    assert len(data) == 1440 and data.source.fewest == ("object 1", 72) and data.source.classes == 20
    angles = np.rad2deg(data.source.poses(np.arange(144))[:, 0]).reshape(2, 72)
    assert angles == pytest.approx(np.tile(5.0 * np.arange(72), (2, 1)))
    near, far = data.evaluation([0, 1, 71]), data.evaluation([18])
    assert (near[0] - near[2]).norm() < (near[0] - far[0]).norm()
    assert len(data.source.group_names) == 8, "objects are classes, so angles are held out"


def test_what_is_held_out_never_gets_into_a_sequence(tmp_path):
    data = opened(turntable(tmp_path))
    away = data.source.objects == 1
    side = part(data, np.flatnonzero(~away))
    assert side.dataset.source.object_names == ("0", "2", "3") and len(side.rows) == 18
    halves = part(data, np.flatnonzero(np.arange(24) % 6 < 3))
    found = halves.dataset.sequences(halves.rows, 3).parameters
    assert (torch.rad2deg(found).round() <= 120).all()


@pytest.mark.parametrize(
    "arrays, options, told",
    [
        (dict(angle=np.full(24, np.nan)), {}, "row 0 is not finite"),
        (dict(angle=np.zeros(7)), {}, "24 images, 24 objects and 7 poses"),
        (dict(angle=np.zeros((24, 2))), {}, "got 2 of float64"),
        (dict(object=np.arange(24)), {}, "0 has 1 view, a sequence needs 4"),
        (dict(angle=None, quaternion=np.zeros((24, 4))), {}, "has length 0"),
        ({}, {"limit": 5}, "tear"),
        ({}, {"kind": "saccades", "saliency": "missing.npy"}, "missing.npy"),
    ],
)
def test_what_is_wrong_is_one_error(tmp_path, arrays, options, told):
    path = turntable(tmp_path, **arrays)
    with pytest.raises(DataError, match=told):
        data = opened(path, **options)
        VIEWS.inspect(data.source, data.config)
        data.draw(0, [0, 1], 0)


def test_poses_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match="needs images whose objects and poses are known"):
        opened(pictures(tmp_path), kind="poses")
    (tmp_path / "x.csv").write_text("path,object,angle\n0.png,a,1\n1.png,a,two\n")
    with pytest.raises(DataError, match="must hold numbers"):
        opened(tmp_path / "x.csv")
    with pytest.raises(DataError, match="no column tilt"):
        opened(tmp_path / "x.csv", pose_columns=("tilt",))


@pytest.mark.parametrize(
    "options, told",
    [
        ({"kind": "pose"}, "poses"),
        ({"observed": (3, 2)}, "least <= most"),
        ({"parameters": ("colours",)}, "did you mean 'colour'"),
        ({"parameters": ()}, "empty"),
        ({"inhibition": -1.0}, "inhibition"),
        ({"pose_columns": ("a", "b")}, "pose_columns"),
    ],
)
def test_options_that_cannot_be(options, told):
    with pytest.raises(ConfigError, match=told):
        from_dict(ViewsConfig, options)
