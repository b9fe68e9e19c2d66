import pytest

from jaxgnn.host import targets
from jaxgnn.host.targets import target


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:", "v5e:0x2", "h100", "2x2", "", 5, None, "v5e:2x2x"])
def test_what_is_no_topology_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match=r"^topology=.* is not known: allowed are KIND:SHAPE, for example v5e:16x16"):
        target(name)


@pytest.mark.parametrize(("name", "extra"), [("v5e:2x2", "plan-tpu"), ("h100:1x1x8", "plan-gpu")])
def test_a_missing_compiler_is_named(name, extra, monkeypatch):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"pip install 'jaxgnn\[{extra}\]'"):
        target(name)


def test_a_gpus_shape_has_three_numbers():
    with pytest.raises(ValueError, match=r"topology='h100:2x8': a GPU's shape is slices x hosts x GPUs a host"):
        target("h100:2x8")


def test_every_gpu_has_a_description():
    for kind in targets.GPUS:
        text = (targets.files("jaxgnn.host") / "gpus" / f"{kind}.txtpb").read_text("utf-8")
        assert "device_memory_size: " in text
        assert "cuda_compute_capability" in text
