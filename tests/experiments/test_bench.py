"""`jaxgnn bench`: its counts, its cost model, and the whole of it at its smallest."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands.main import main
from jaxgnn.experiments.bench import cases, cost, page, profile, rivals, suite
from jaxgnn.experiments.bench.machine import Machine

SMALL = suite.BenchConfig(depths=(2, 3), widths=(4, 8), edges=(700, 1400), seeds=(1, 2), layers=("mlp",), rounds=2)
MACHINE = Machine(flops=1e11, bandwidth=1e10)


def dot_flops(jaxpr) -> int:
    """Multiplications and additions of every dot_general, those in a scan as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * int(np.prod([left[i] for i in contracted])) * equation.outvars[0].aval.size
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += times * dot_flops(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize("layer", ["gcn", "mlp"])
def test_the_work_of_products_is_what_the_gradients_program_multiplies(layer):
    case = cases.Case("edges", "csbm", edges=700, layer=layer, depth=5, width=8)
    ds, graph = cases.data(case.dataset, case.edges)
    model = cases.network(case, ds.num_classes)
    params = model.init(jax.random.key(0), graph, ds.x)
    gradient = jax.make_jaxpr(jax.grad(lambda params: model.apply(params, graph, ds.x).sum(), allow_int=True))(params)
    work = cases.work(case)
    assert work.flops - 4 * case.depth * work.edges * case.width == dot_flops(gradient.jaxpr)


def test_work_is_in_proportion_to_seeds_and_the_floor_is_the_larger_part():
    case = cases.Case("edges", "csbm", edges=700, depth=5, width=8)
    one, three = cases.work(case), cases.work(replace(case, seeds=3))
    assert three.flops == 3 * one.flops
    assert three.bytes == 3 * one.bytes
    assert one.floor(MACHINE) == max(one.flops / 1e11, one.bytes / 1e10)


def measured(coefficients, noise=0.0):
    """Results as `bench` gives them, of a machine that obeys the model."""
    rng, rows = np.random.default_rng(0), []
    for depth in (2, 8, 64, 512):
        for width in (8, 64, 256):
            for nodes in (100, 10_000):
                size = {"depth": depth, "width": width, "nodes": nodes, "entries": depth % 7 * nodes, "features": 32}
                seconds = float(coefficients @ cost.terms(**size)) * (1 + noise * rng.uniform(-1, 1))
                rows.append(size | {"what": "step", "method": "jaxgnn", "layer": "gcn", "seeds": 1, "seconds": seconds})
    return {"rows": rows, "machine": MACHINE._asdict()}


def test_the_fit_finds_the_coefficients_of_a_machine_that_obeys_the_model():
    true = np.array([1e-3, 2e-5, 3e-11, 1e-11, 4e-10, 2e-10])
    found = cost.fit(measured(true))
    np.testing.assert_allclose(found.coefficients, true, rtol=1e-6)
    assert np.abs(found.errors).max() < 1e-9
    assert np.abs(found.left_out).max() < 1e-6
    assert (cost.fit(measured(true, noise=0.1)).coefficients >= 0).all()
    few = measured(true)
    with pytest.raises(ValueError, match="3 measured training steps of gcn: 6 and more"):
        cost.fit({**few, "rows": few["rows"][:3]})


def test_a_plan_divides_what_is_of_nodes_and_scales_by_the_device():
    fitted = cost.Cost(np.array([1e-3, 2e-5, 3e-11, 1e-11, 4e-10, 2e-10]), MACHINE, np.zeros(1), np.zeros(1))
    plan = cost.Plan(depth=10, width=8, nodes=1000, degree=5, features=4, halo=0.5)
    here = cost.predict(fitted, plan)
    assert here["seconds"] == pytest.approx(float(fitted.coefficients @ cost.terms(10, 8, 1000, 6000, 4)))
    many = cost.predict(fitted, replace(plan, devices=4))
    assert [many[name] for name in ("step", "layer")] == [here[name] for name in ("step", "layer")]
    for name in ("encoder", "products", "rows", "gathers"):
        assert many[name] == pytest.approx(here[name] / 4)
    assert many["received_bytes"] == 2 * 10 * 0.5 * 250 * 8 * 4  # forward and backward, float32
    away = cost.predict(fitted, replace(plan, devices=4, device="tpu-v4"))
    device = cost.DEVICES["tpu-v4"]
    assert away["products"] == pytest.approx(many["products"] * MACHINE.flops / device.flops)
    assert away["gathers"] == pytest.approx(many["gathers"] * MACHINE.bandwidth / device.bandwidth)
    assert away["links"] == pytest.approx(many["received_bytes"] / device.link)
    assert cost.memory(replace(plan, keep=3)) < cost.memory(plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour=3", "plan option 'colour' is not known: allowed are depth, width, nodes"),
        ("depth=many", "plan option 'depth' has the value 'many': a number is needed"),
        ("nodes=-1", "plan option 'nodes' has the value '-1': a finite number above 0"),
        ("devices=nan", "plan option 'devices' has the value 'nan'"),
        ("device=abacus", "device='abacus' is not known: allowed are here, tpu-v4"),
    ],
)
def test_a_wrong_plan_gets_one_sentence(text, said):
    with pytest.raises(ValueError, match=said):
        cost.parse([text])


def test_the_suite_at_its_smallest_and_its_page(tmp_path):
    results = suite.bench(replace(SMALL, against=()))
    steps = [row for row in results["rows"] if row["what"] == "step"]
    assert [row["point"] for row in steps] == [2, 3, 4, 8, 700, 1400, 1, 2, "mlp"]
    assert all(row["low"] <= row["seconds"] <= row["high"] and row["memory"] > 0 for row in steps)
    assert sum(row["what"] == "probe" for row in results["rows"]) == 6
    assert page.write_bench(tmp_path, results, "jaxgnn bench").exists()
    assert json.loads((tmp_path / "results.json").read_text())["machine"]["flops"] > 0
    assert set(page.slopes(results)) == {"depth", "width", "edges", "seeds"}


def test_the_command_prints_a_table_and_a_plan_and_refuses_in_one_sentence(tmp_path, capsys):
    small = ["--depths", "2,3,4", "--widths", "4,8", "--edges", "700,1400", "--seeds", "1", "--layers", "mlp"]
    arguments = ["bench", *small, "--rounds", "1", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "depth" in out
    assert json.loads(out.splitlines()[-1])["page"].endswith("index.html")
    # The plan takes what was measured: nothing runs again.
    before = (tmp_path / "results.json").stat().st_mtime_ns
    assert main(["bench", "--out", str(tmp_path), "--plan", "depth=1000,nodes=1e8,devices=256,device=tpu-v4"]) == 0
    assert "seconds a step" in capsys.readouterr().out
    assert (tmp_path / "results.json").stat().st_mtime_ns == before
    assert main(["bench", "--against", "abacus"]) == 2
    assert "against='abacus' is not known: allowed are pyg, torch" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of torch, about itself
@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name in rivals.RIVALS for layer in rivals.LAYERS[name]])
def test_rivals_are_the_same_network(name, layer):
    if not rivals.available(name):
        pytest.skip("torch is not installed")
    import torch

    ds, graph = cases.data("csbm", 700)
    network = rivals.network(name, ds, graph, depth=3, width=8, c=cases.BOUND_C, layer=layer)
    theirs = {name: value.detach().numpy() for name, value in network.named_parameters()}
    layers = [[value for name, value in theirs.items() if name.startswith(f"layers.{i}.")] for i in range(3)]
    options = {"residual": "identity", "bound": "frobenius", "bound_c": cases.BOUND_C}
    model = jg.DeepGNN(layer=layer, depth=3, width=8, out=ds.num_classes, **options)
    params = model.init(jax.random.key(0), graph, ds.x)
    # In the order of torch's parameters; PyG's attention vectors come before its matrix.
    names = {
        "sage": ["neighbours", "self"],
        "gin": ["first", "second"],
        "gat": ["attention_sender", "attention_receiver", "linear"],
    }.get(layer, ["linear"])
    stacked = {name: np.stack([of_layer[k] for of_layer in layers]) for k, name in enumerate(names)}
    params["params"] = {
        "encoder": {"kernel": theirs["encoder.weight"].T, "bias": theirs["encoder.bias"]},
        "readout": {"kernel": theirs["readout.weight"].T, "bias": theirs["readout.bias"]},
        "stack": {
            "layer": {
                name: value if name.startswith("attention") else {"kernel": value.swapaxes(1, 2)}
                for name, value in stacked.items()
            }
        },
    }
    theirs = network(torch.from_numpy(np.array(ds.x))).detach().numpy()
    np.testing.assert_allclose(model.apply(params, graph, ds.x), theirs, rtol=1e-4, atol=1e-5)


def test_the_profile_sorts_operations_by_what_they_do():
    names = {
        "dot.7": "products with weights",
        "ynn_fusion.1": "products with weights",
        "bitcast_dynamic-update-slice_fusion.2": "layers' rows stored and read back",
        "dynamic-slice_bitcast_fusion": "layers' rows stored and read back",
        "wrapped_scatter.1": "sums over segments (rows with many edges)",
        "wrapped_broadcast.5": "fresh memory set to 0",
        "broadcast_select_fusion": "gathers of P X and element-wise",
        "maximum_add_fusion": "gathers of P X and element-wise",
        "partition-id": "other",
    }
    assert {name: profile.kind(name) for name in names} == names
    seconds, spent = profile.run(profile.Config(depth=2, width=8))
    assert seconds > 0
    assert spent["products with weights"] > 0
    assert all(value >= 0 for value in spent.values())
