import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgnn as jg
from jaxgnn.data import csbm
from jaxgnn.training.drive import advance
from jaxgnn.training.train import TrainConfig, default_hyper

STEPS = 8
MODEL = jg.DeepGNN(layer="gcn", depth=2, width=6, out=3, residual="identity", bound="frobenius", bound_c=0.5)


@pytest.fixture(scope="module")
def task():
    ds = csbm(num_nodes=45, num_features=4, train_per_class=5, average_degree=4.0)
    return jg.tasks.node_classification(ds, jg.prepare(ds.graph))


@pytest.fixture(scope="module")
def result(task):
    """Three seeds, as most tests below compare with."""
    return jg.train(MODEL, task, seeds=3, steps=STEPS)


def run(result, i):
    """One seed of a result."""
    return jax.tree.map(lambda a: np.asarray(a)[i, ...], result)


def assert_trees_close(a, b, **tolerances):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerances), a, b)


def accuracy(logits, task, mask):
    return np.mean(np.argmax(logits, axis=1)[mask] == task.labels[mask])


def test_results_have_a_leading_seed_axis(task, result):
    assert result.score.shape == result.val_score.shape == result.train_loss.shape == result.failed.shape == (3,)
    assert {m.shape for m in result.history} == {(3, STEPS)}
    assert {a.shape[0] for a in jax.tree.leaves((result.params, result.final_params))} == {3}
    assert len(np.unique(result.history.train_loss[:, 0])) == 3  # each seed starts elsewhere
    assert not result.failed.any()


def test_training_lowers_the_loss(task):
    long = jg.train(MODEL, task, seeds=3, steps=60, learning_rate=2e-2)
    assert (long.train_loss < 0.5 * long.history.train_loss[:, 0]).all()
    assert (long.train_loss < task.constant_loss()).all()


def test_the_same_seed_gives_the_same_bits(task, result):
    again = jg.train(MODEL, task, seeds=3, steps=STEPS)
    jax.tree.map(np.testing.assert_array_equal, result, again)
    other = jg.train(MODEL, task, seeds=3, steps=STEPS, seed=1)
    assert not np.isin(other.history.train_loss[:, 0], result.history.train_loss[:, 0]).any()


def test_a_run_does_not_depend_on_how_many_there_are(task, result):
    alone = jg.train(MODEL, task, seeds=1, steps=STEPS)
    # The same operations in a program of another batch size: equal up to rounding, grown by a few steps of Adam.
    assert_trees_close(run(alone, 0), run(result, 0), rtol=1e-4, atol=1e-5)


def test_batching_changes_nothing_but_rounding(task, result):
    wide = jg.train(MODEL, task, seeds=3, steps=STEPS, batching="vmap")
    assert_trees_close(wide.history, result.history, rtol=1e-4, atol=1e-5)
    assert_trees_close(wide.final_params, result.final_params, rtol=1e-3, atol=1e-4)


def test_make_train_is_one_run(task, result):
    """A pure function of the key and the numbers alone, so it can be mapped over both."""
    train = jg.make_train(MODEL, task, TrainConfig(steps=STEPS))
    hyper = default_hyper(MODEL, TrainConfig())
    hypers = jax.tree.map(lambda a, b: jnp.stack([a, b]), hyper, hyper._replace(bound_c=jnp.float32(2.0)))
    keys = jnp.stack([jax.random.fold_in(jax.random.key(0), 1)] * 2)
    states, histories = jax.jit(jax.vmap(train))(keys, hypers)
    assert_trees_close(run(histories, 0), run(result.history, 1), rtol=1e-4, atol=1e-5)
    assert_trees_close(run(states.params, 0), run(result.final_params["params"], 1), rtol=1e-4, atol=1e-5)
    assert not np.allclose(histories.train_loss[0], histories.train_loss[1], rtol=1e-3)
    np.testing.assert_array_equal(states.step, STEPS)


def test_history_is_of_the_parameters_before_each_update(task, result):
    for i in range(3):
        variables = run(result.initial_params, i)
        logits = MODEL.apply(variables, task.graph, task.x)
        history = run(result.history, i)
        assert history.train_loss[0] == pytest.approx(float(task.loss(logits)), rel=1e-5)
        for split in ("train", "val", "test"):
            expected = accuracy(logits, task, getattr(task, f"{split}_mask"))
            assert getattr(history, f"{split}_score")[0] == pytest.approx(expected)


def test_the_best_parameters_give_the_reported_score(task, result):
    for i in range(3):
        logits = MODEL.apply(run(result.params, i), task.graph, task.x)
        assert accuracy(logits, task, task.test_mask) == pytest.approx(result.score[i])
        assert accuracy(logits, task, task.val_mask) == pytest.approx(result.val_score[i])
        final = MODEL.apply(run(result.final_params, i), task.graph, task.x)
        assert float(task.loss(final)) == pytest.approx(result.train_loss[i], rel=1e-5)


def test_the_best_step_is_the_first_with_the_best_validation_score_and_lowest_loss(task, result):
    for i in range(3):
        final = task.scores(MODEL.apply(run(result.final_params, i), task.graph, task.x))
        scores = [*result.history.val_score[i], float(final.val)]
        losses = [*result.history.val_loss[i], float(final.val_loss)]
        best = max(range(STEPS + 1), key=lambda s: (scores[s], -losses[s]))
        assert result.best_step[i] == best
        assert result.val_score[i] == pytest.approx(max(scores))


@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"weight_decay": 0.3}, {"l2": 0.05, "learning_rate": 0.02}])
def test_updates_are_those_of_adam_by_hand(task, result, options):
    trained = jg.train(MODEL, task, seeds=1, steps=3, **options)
    rate, decay, l2 = options.get("learning_rate", 5e-3), options.get("weight_decay", 0.0), options.get("l2", 0.0)
    nodes = np.flatnonzero(task.train_mask)
    variables = run(trained.initial_params, 0)

    def loss(params):
        logits = MODEL.apply(variables | {"params": params}, task.graph, task.x)
        surprise = -jnp.mean(jax.nn.log_softmax(logits)[nodes, task.labels[nodes]])
        return surprise + l2 / 2 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    params, adam = variables["params"], optax.scale_by_adam()
    state = adam.init(params)
    gradient = jax.jit(jax.grad(loss))
    for _ in range(3):
        direction, state = adam.update(gradient(params), state)
        params = jax.tree.map(lambda p, u: p - rate * (u + decay * p), params, direction)
    assert_trees_close(run(trained.final_params["params"], 0), params, rtol=1e-4, atol=1e-5)


def test_penalties_are_not_in_the_reported_loss(task, result):
    penalised = jg.train(MODEL, task, seeds=1, steps=1, l2=100.0)
    assert penalised.history.train_loss[0, 0] == pytest.approx(float(result.history.train_loss[0, 0]), rel=1e-5)


def test_patience_stops_each_seed_by_itself(task):
    patience, steps = 3, 60
    stopped = jg.train(MODEL, task, seeds=3, steps=steps, patience=patience, learning_rate=0.05)
    lengths = np.isfinite(stopped.history.train_loss).sum(axis=1)
    assert len(set(lengths.tolist())) > 1
    assert (lengths < steps).all()
    for i, length in enumerate(lengths):
        for metric in stopped.history:
            assert np.isfinite(metric[i, :length]).all()
            assert np.isnan(metric[i, length:]).all()
        assert length - 1 - stopped.best_step[i] == patience
    assert not stopped.failed.any()
    # Frozen: as many updates as there were steps before the one that stopped it.
    i = int(np.argmin(lengths))
    short = jg.train(MODEL, task, seeds=3, steps=int(lengths[i]) - 1, learning_rate=0.05)
    assert_trees_close(run(stopped.final_params, i), run(short.final_params, i), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_a_run_that_breaks_is_reported_and_touches_no_other(task, result, batching):
    grid = {"learning_rate": [5e-3, 1e30, 1e-2]}
    good, bad, other = jg.sweep(MODEL, task, grid=grid, seeds=1, steps=STEPS, batching=batching)
    assert bad.options == {"learning_rate": 1e30}
    assert bad.result.failed.all()
    assert not good.result.failed.any()
    assert not other.result.failed.any()
    assert_trees_close(run(good.result.history, 0), run(result.history, 0), rtol=1e-4, atol=1e-5)
    # What was best before it broke is kept: the initial parameters.
    np.testing.assert_array_equal(bad.result.best_step, 0)
    assert_trees_close(bad.result.params, bad.result.initial_params)
    assert np.isfinite(bad.result.score).all()
    for metric in bad.result.history:  # the step that broke it is its last
        assert np.isfinite(metric[0, 0])
        assert np.isnan(metric[0, 2:]).all()


def test_a_run_that_breaks_in_its_last_update_is_reported(task):
    last = jg.train(MODEL, task, seeds=3, steps=1, learning_rate=1e38)
    assert not np.isfinite(last.train_loss).any()
    assert last.failed.all()
    np.testing.assert_array_equal(last.best_step, 0)


def test_a_sweep_is_its_trainings_one_by_one(task):
    point = jg.sweep(MODEL, task, grid={"learning_rate": [1e-3, 5e-3, 1e-2]}, seeds=1, steps=STEPS)[2]
    alone = jg.train(MODEL, task, seeds=1, steps=STEPS, learning_rate=1e-2)
    assert_trees_close(point.result.history, alone.history, rtol=1e-4, atol=1e-5)


ONE_OF_ALL = {
    "learning_rate": 1e-2,
    "weight_decay": 0.5,
    "l2": 0.1,
    "bound_c": 0.25,
    "modulus": 0.7,
}


def test_a_grid_over_all_numeric_options_is_one_program(task):
    """For any values and number of steps; a point of it is a model and a config of those values.

    No network uses both modulus and residual_scale: the latter is in the next test.
    """
    model = jg.DeepGNN(layer="gcn", depth=3, width=4, out=3, residual="ssm", bound="frobenius")
    before = advance._cache_size()
    grid = {name: [value] for name, value in ONE_OF_ALL.items()} | {"learning_rate": [5e-3, 1e-2]}
    points = jg.sweep(model, task, grid=grid, seeds=1, steps=3)
    assert [point.options for point in points] == [ONE_OF_ALL | {"learning_rate": rate} for rate in (5e-3, 1e-2)]
    assert advance._cache_size() == before + 1
    jg.sweep(model, task, grid={"modulus": [1.0, 0.1], "bound_c": [2.0]}, seeds=1, steps=13, weight_decay=0.1)
    assert advance._cache_size() == before + 1

    in_model = {"bound_c": 0.25, "ssm": jg.StateSpace(modulus=0.7)}
    alone = jg.train(model.clone(**in_model), task, seeds=1, steps=3, learning_rate=1e-2, weight_decay=0.5, l2=0.1)
    assert_trees_close(points[1].result.history, alone.history, rtol=1e-4, atol=1e-5)
    assert_trees_close(points[1].result.final_params, alone.final_params, rtol=1e-3, atol=1e-5)


def test_the_residual_scale_is_a_number_of_the_grid(task, result):
    model = MODEL.clone(residual="scaled")
    none, one, _ = jg.sweep(model, task, grid={"residual_scale": [0.0, 1.0, 0.3]}, seeds=1, steps=STEPS)
    assert_trees_close(run(one.result.history, 0), run(result.history, 0), rtol=1e-4, atol=1e-5)  # MODEL's "identity"
    params = run(none.result.initial_params["params"], 0)
    logits = task.x
    for name in ("encoder", "readout"):  # nothing between them
        logits = logits @ params[name]["kernel"] + params[name]["bias"]
    assert none.result.history.train_loss[0, 0] == pytest.approx(float(task.loss(logits)), rel=1e-5)


@pytest.mark.parametrize(("schedule", "programs"), [("warmup", 1), ("cosine", 2)])
def test_steps_are_another_program_only_for_a_cosine(task, schedule, programs):
    model = jg.DeepGNN(layer="mlp", depth=1, width=2, out=3)
    before = advance._cache_size()
    for steps in (3, 4):
        jg.train(model, task, seeds=1, steps=steps, schedule=schedule)
    assert advance._cache_size() == before + programs


def test_updates_are_those_of_sgd_by_hand(task):
    """Momentum, clipping, L2 and a plateau on the training loss, in numpy, with gradients of the loss written out."""
    rate, clip, momentum, l2, steps = 4.0, 0.5, 0.9, 0.01, 7
    options = {"optimiser": "sgd", "momentum": momentum, "clip": clip, "schedule": "plateau", "plateau": 1}
    trained = jg.train(MODEL, task, seeds=1, steps=steps, learning_rate=rate, l2=l2, **options)
    variables, nodes = run(trained.initial_params, 0), np.flatnonzero(task.train_mask)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits = MODEL.apply(variables | {"params": params}, task.graph, task.x)
        surprise = -jnp.mean(jax.nn.log_softmax(logits)[nodes, task.labels[nodes]])
        return surprise + l2 / 2 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    params = variables["params"]
    velocity, factor, lowest, factors, clipped = jax.tree.map(np.zeros_like, params), 1.0, np.inf, [], []
    for _ in range(steps):
        value, gradient = loss(params)
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
        shrink = min(1.0, clip / norm)
        velocity = jax.tree.map(lambda v, g, s=shrink: momentum * v + s * np.asarray(g), velocity, gradient)
        factor, lowest = (factor, float(value)) if value < lowest else (factor / 2, lowest)
        params = jax.tree.map(lambda p, v, f=factor: p - rate * f * v, params, velocity)
        factors.append(factor)
        clipped.append(shrink < 1)
    assert len(set(factors)) > 1  # some losses were lower, some were not
    assert any(clipped)
    assert_trees_close(run(trained.final_params["params"], 0), params, rtol=1e-3, atol=1e-4)


def test_dropout_and_dropedge_train_with_noise_and_report_without(task):
    noisy, rate = MODEL.clone(dropout=0.2, input_dropout=0.1, dropedge=0.2), 1e-3
    options = {"seeds": 2, "optimiser": "sgd", "momentum": 0.0, "learning_rate": rate}
    one, two = (jg.train(noisy, task, steps=steps, **options) for steps in (1, 2))
    gradient = jax.jit(jax.grad(lambda params, v: task.loss(MODEL.apply(v | {"params": params}, task.graph, task.x))))
    for i in range(2):
        start, first, second = (run(r, i) for r in (one.initial_params, one.final_params, two.final_params))
        assert one.history.train_loss[i, 0] == pytest.approx(
            float(task.loss(MODEL.apply(start, task.graph, task.x))), rel=1e-5
        )
        assert one.train_loss[i] == pytest.approx(float(task.loss(MODEL.apply(first, task.graph, task.x))), rel=1e-5)
        # With so small a rate all gradients are the same but for the noise, which every update has of its own.
        directions = [
            np.concatenate([np.ravel(p - q) / rate for p, q in zip(*map(jax.tree.leaves, pair), strict=True)])
            for pair in ((start["params"], first["params"]), (first["params"], second["params"]))
        ]
        directions.append(np.concatenate([np.ravel(g) for g in jax.tree.leaves(gradient(start["params"], start))]))
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(directions[a] - directions[b]) > 0.1 * np.linalg.norm(directions[b])
            assert directions[a] @ directions[b] > 0


def test_running_means_and_power_iterations_move_with_training(task):
    """One update, written out: u of the spectral bound takes a step, the running mean a tenth of the batch's."""
    model = jg.DeepGNN(layer="gcn", depth=2, width=5, out=3, norm="batch", bound="spectral", bound_c=0.8)
    one = jg.train(model, task, seeds=2, steps=1, learning_rate=1e-2)
    many = jg.train(model, task, seeds=2, steps=40, learning_rate=1e-2)
    for i in range(2):
        start, after = run(one.initial_params, i), run(one.final_params, i)
        (u_0,), (u_1,) = ([a[0] for a in jax.tree.leaves(v["power"])] for v in (start, after))
        params = start["params"]
        W = params["stack"]["layer"]["linear"]["kernel"][0]
        u = W @ W.T @ u_0
        u /= np.linalg.norm(u)
        np.testing.assert_allclose(u_1, u, rtol=1e-4, atol=1e-5)
        X = task.x @ params["encoder"]["kernel"] + params["encoder"]["bias"]
        H = task.graph.propagation.dense() @ X @ W * (0.8 / np.linalg.norm(W.T @ u))
        mean = after["batch_stats"]["stack"]["norm"]["norm"]["mean"]
        np.testing.assert_allclose(mean[0], 0.1 * H.mean(axis=0), rtol=1e-3, atol=1e-5)
    for i in range(2):
        best = run(many.params, i)
        logits = model.apply(best, task.graph, task.x)
        assert accuracy(logits, task, task.test_mask) == pytest.approx(many.score[i])
        assert accuracy(logits, task, task.val_mask) == pytest.approx(many.val_score[i])
        at = many.best_step[i]
        losses = [*many.history.train_loss[i], many.train_loss[i]]
        assert float(task.loss(logits)) == pytest.approx(losses[at], rel=1e-4)
        # Bounded by c to the accuracy of a power iteration that has followed the weights.
        final = run(many.final_params, i)
        for W, u in zip(
            final["params"]["stack"]["layer"]["linear"]["kernel"], *jax.tree.leaves(final["power"]), strict=True
        ):
            assert np.linalg.norm(W.T @ u) == pytest.approx(np.linalg.norm(W, 2), rel=0.02)
    assert (many.train_loss < many.history.train_loss[:, 0]).all()


def test_evaluating_every_third_step_changes_only_what_is_seen(task, result):
    thinned = jg.train(MODEL, task, seeds=3, steps=STEPS, evaluate_every=3)
    for metric, every in zip(thinned.history, result.history, strict=True):
        np.testing.assert_allclose(metric[:, ::3], every[:, ::3], rtol=1e-4, atol=1e-5)
        assert np.isnan(metric[:, 1::3]).all()
        assert np.isnan(metric[:, 2::3]).all()
    assert_trees_close(thinned.final_params, result.final_params, rtol=1e-3, atol=1e-4)
    for i in range(3):
        seen = [0, 3, 6, STEPS]  # the last parameters are always evaluated
        final = task.scores(MODEL.apply(run(result.final_params, i), task.graph, task.x))
        scores = np.append(result.history.val_score[i], final.val)
        losses = np.append(result.history.val_loss[i], final.val_loss)
        assert thinned.best_step[i] == max(seen, key=lambda s: (scores[s], -losses[s]))


def test_shared_weights_jumping_and_remat_train(task):
    options = {"seeds": 2, "steps": 30, "learning_rate": 1e-2}
    model = MODEL.clone(depth=4, share_weights=True, jumping="sum")
    plain, remat = (jg.train(model.clone(remat=remat), task, **options) for remat in (False, True))
    largest = jg.train(model.clone(jumping="max"), task, **options)
    for trained in (plain, largest):
        assert (trained.train_loss < 0.9 * trained.history.train_loss[:, 0]).all()
        assert trained.final_params["params"]["stack"]["layer"]["linear"]["kernel"].shape == (2, 6, 6)
    assert_trees_close(remat.history, plain.history, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(plain.initial_params["params"]["jump"], 1 / 5, rtol=1e-6)
    assert (np.abs(plain.final_params["params"]["jump"] - 1 / 5) > 1e-3).any(axis=1).all()


@pytest.fixture(scope="module")
def circles_and_paths():
    """Rings (class 0) and paths (class 1) of 4 to 9 nodes; a node's features are noise and whether it is an end."""
    rng = np.random.default_rng(0)
    graphs, xs, labels = [], [], []
    for number in range(18):
        n, is_path = 4 + number % 6, number % 2
        a = np.arange(n - is_path)
        senders, receivers = np.concatenate([a, (a + 1) % n]), np.concatenate([(a + 1) % n, a])
        graphs.append(jg.prepare(senders=senders, receivers=receivers, num_nodes=n))
        degree = np.bincount(receivers, minlength=n)
        xs.append(np.column_stack([rng.standard_normal(n), 3 * (2 - degree)]).astype(np.float32))
        labels.append(is_path)
    return graphs, xs, np.asarray(labels)


def test_mini_batches_train_in_one_program(circles_and_paths, written_out):
    graphs, xs, labels = circles_and_paths
    splits = (np.arange(10), np.arange(10, 14), np.arange(14, 18))
    task = jg.tasks.many_graphs(graphs, xs, labels, split=splits, batch_size=4)
    model = jg.DeepGNN(layer="gcn", depth=2, width=6, out=2, residual="identity", pool="mean")
    before = advance._cache_size()
    jg.train(model, task, seeds=2, steps=1)
    trained = jg.train(model, task, seeds=2, steps=90, learning_rate=2e-2)
    assert advance._cache_size() == before + 1
    assert (trained.train_loss < 0.5 * trained.history.train_loss[:, 0]).all()

    def measured(variables, split):
        """Mean cross-entropy and accuracy over the graphs of a split, each by itself."""
        logits = []
        for g in split:
            network = written_out(variables, graphs[g].propagation.dense(), xs[g], residual="identity")
            logits.append(network.logits.mean(axis=0))
        logits, truth = np.stack(logits), labels[split]
        surprise = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(split)), truth]
        return surprise.mean(), (logits.argmax(axis=1) == truth).mean()

    for i in range(2):
        for variables, found in (
            (trained.initial_params, [m[i, 0] for m in trained.history]),
            (trained.final_params, [trained.train_loss[i]]),
        ):
            loss, score = measured(run(variables, i), splits[0])
            val_loss, val_score = measured(run(variables, i), splits[1])
            expected = [loss, score, val_score, measured(run(variables, i), splits[2])[1], val_loss]
            np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-4, atol=1e-6)


def test_batches_come_in_an_order_of_their_own_for_every_run_and_epoch(circles_and_paths):
    """Without momentum and at a tiny rate, an epoch's updates add up to the full gradient, in any order."""
    graphs, xs, labels = circles_and_paths
    task = jg.tasks.many_graphs(graphs, xs, labels, split=([0, 1, 2, 3], [4, 5], [6, 7]), batch_size=1)
    model = jg.DeepGNN(layer="mlp", depth=1, width=3, out=2, pool="mean")
    options = {"seeds": 3, "optimiser": "sgd", "momentum": 0.0, "learning_rate": 1e-3}
    states = [jg.train(model, task, steps=steps, **options) for steps in (1, 4, 5, 8)]
    kernels = [states[0].initial_params, *(state.final_params for state in states)]
    start, *after = (
        np.concatenate([v["params"]["readout"][k].reshape(3, -1) for k in ("kernel", "bias")], axis=1) for v in kernels
    )
    first_epoch, second_epoch = after[1] - start, after[3] - after[1]
    np.testing.assert_allclose(first_epoch, second_epoch, rtol=0.05, atol=2e-5)
    # The first update of an epoch is on another graph in some run or epoch.
    updates = np.stack([after[0] - start, after[2] - after[1]])
    change = np.linalg.norm(updates[1] - updates[0], axis=1) / np.linalg.norm(updates[0], axis=1)
    assert (change > 0.05).any()


def test_regression_ends_at_least_squares(graphs):
    """A linear network of encoder, layer and readout fits y = x A + b: its best predictions are known."""
    rng = np.random.default_rng(0)
    n, train = 30, np.arange(30) < 20
    x = rng.standard_normal((n, 3)).astype(np.float32)
    targets = x @ rng.standard_normal((3, 2)) + 1 + 0.3 * rng.standard_normal((n, 2))
    task = jg.tasks.node_regression(
        jg.prepare(**graphs.ring(n)),
        x,
        targets.astype(np.float32),
        train_mask=train,
        val_mask=np.arange(n) == 20,
        test_mask=np.arange(n) > 20,
    )
    model = jg.DeepGNN(layer="mlp", depth=1, width=4, out=2, activation="identity")
    fitted = jg.train(model, task, seeds=2, steps=800, learning_rate=2e-2, schedule="cosine")
    design = np.column_stack([x, np.ones(n)])
    solution = design @ np.linalg.lstsq(design[train], targets[train], rcond=None)[0]
    for i in range(2):
        predictions = model.apply(run(fitted.final_params, i), task.graph, task.x)
        np.testing.assert_allclose(predictions, solution, atol=5e-3)
        assert fitted.train_loss[i] == pytest.approx(np.mean((solution - targets)[train] ** 2), rel=1e-3)
        assert fitted.val_score[i] == min(fitted.history.val_score[i].min(), fitted.val_score[i])
        assert fitted.best_step[i] in (np.argmin(fitted.history.val_score[i]), 800)


def test_progress_counts_steps(task):
    seen = []
    jg.train(MODEL, task, seeds=3, steps=60, progress=seen.append)
    assert seen == sorted(set(seen))
    assert (seen[0], seen[-1]) == (0, 60)
    assert len(seen) > 2


def test_the_folder_holds_what_a_run_needs_to_be_repeated(task, tmp_path):
    trained = jg.train(MODEL, task, seeds=3, seed=4, steps=STEPS, l2=1e-3, out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text(), parse_constant=pytest.fail)
    assert TrainConfig(**config["train"]) == TrainConfig(steps=STEPS, l2=1e-3)
    assert (config["seed"], config["seeds"]) == (4, 3)
    assert config["versions"]["jax"] == jax.__version__
    assert config["device"]["platform"] == jax.devices()[0].platform
    assert "frobenius" in config["model"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS))
    for name, values in trained.history._asdict().items():
        np.testing.assert_array_equal(np.array([line[name] for line in lines], np.float32), values.T)


def test_a_grid_in_a_folder_takes_arrays_of_numbers(task, tmp_path):
    jg.sweep(MODEL, task, grid={"l2": np.float32([0.5, 0.25, 0])}, seeds=1, steps=STEPS, out=tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["grid"] == {"l2": [0.5, 0.25, 0.0]}


def test_tensorboard_gets_every_number_of_the_history(task, result, tmp_path, monkeypatch):
    written = {}

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name, value, step):
            written[name, step] = float(value)

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    jg.train(MODEL, task, seeds=3, steps=STEPS, out=tmp_path, tensorboard=True)
    for name, values in result.history._asdict().items():
        for (i, step), value in np.ndenumerate(values):
            assert written.pop((f"{name}/run_{i}", step)) == value
    assert not written


def test_tensorboard_that_is_not_installed_is_named(task, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        ValueError, match=r"^tensorboard=True needs tensorboardX: python -m pip install 'jaxgnn\[tensorb"
    ):
        jg.train(MODEL, task, seeds=1, steps=1, out=tmp_path, tensorboard=True)


def test_a_broken_run_leaves_null_on_disk(task, tmp_path):
    jg.train(MODEL, task, seeds=3, steps=STEPS, learning_rate=1e30, out=tmp_path)
    text = (tmp_path / "history.jsonl").read_text()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert lines[-1]["train_loss"] == [None] * 3


def test_a_folder_that_cannot_be_written_to_is_refused(task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"^cannot write to {tmp_path}/file/run: .*; choose another folder$"):
        jg.train(MODEL, task, seeds=1, steps=1, out=tmp_path / "file" / "run")


REFUSED = {
    "unknown option": (
        {"momentun": 0.9},
        "option 'momentun' is not known, did you mean 'momentum'? allowed are steps, optimiser, learning_rate",
    ),
    "decay of sgd": ({"optimiser": "sgd", "weight_decay": 0.1}, "weight_decay=0.1 with optimiser='sgd': decoupled "),
    "steps": ({"steps": 0}, "steps=0: allowed are 1 and more"),
    "learning rate": ({"learning_rate": 0.0}, "learning_rate=0.0: allowed are finite numbers above 0"),
    "infinite rate": ({"learning_rate": np.inf}, "learning_rate=inf: allowed are finite numbers above 0"),
    "NaN rate": ({"learning_rate": np.nan}, "learning_rate=nan: allowed are finite numbers above 0"),
    "decay": ({"weight_decay": -1.0}, "weight_decay=-1.0: allowed are 0 and more"),
    "l2": ({"l2": np.nan}, "l2=nan: allowed are 0 and more"),
    "patience": ({"patience": -1}, "patience=-1: allowed are 0 and more"),
    "seeds": ({"seeds": 0}, "seeds=0: allowed are 1 and more"),
    "batching": ({"batching": "pmap"}, "batching='pmap' is not known, did you mean 'map'? allowed are auto, map, vmap"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_option_out_of_range_is_refused(task, case):
    options, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        jg.train(MODEL, task, **({"seeds": 1, "steps": 1} | options))


def test_an_unknown_grid_option_is_refused(task):
    allowed = "learning_rate, weight_decay, l2, bound_c, residual_scale, modulus"
    sentence = f"^grid option 'depth' is not known: allowed are {allowed}$"
    with pytest.raises(ValueError, match=sentence):
        jg.sweep(MODEL, task, grid={"depth": [1, 2]}, seeds=1, steps=1)


@pytest.mark.parametrize(("name", "values"), [("learning_rate", [-1.0]), ("l2", [np.nan]), ("bound_c", [0.0])])
def test_a_grid_value_out_of_range_is_refused(task, name, values):
    with pytest.raises(ValueError, match=f"^{name}="):
        jg.sweep(MODEL, task, grid={name: values}, seeds=1, steps=1)


def test_a_grid_without_values_is_refused(task):
    with pytest.raises(ValueError, match=r"^grid option 'learning_rate'"):
        jg.sweep(MODEL, task, grid={"learning_rate": []}, seeds=1, steps=1)


def test_a_model_with_fewer_outputs_than_classes_is_refused(task):
    with pytest.raises(ValueError, match="3 classes"):
        jg.train(MODEL.clone(out=2), task, seeds=1, steps=1)


def test_another_task_on_the_same_arrays_is_another_run(tmp_path):
    ds = jg.load_dataset("karate")
    graph = jg.prepare(ds.graph)
    model = jg.DeepGNN(depth=1, width=2, out=2)
    jg.train(model, jg.tasks.node_classification(ds, graph), seeds=1, steps=1, out=tmp_path)
    with pytest.raises(ValueError, match="holds a run with other options"):
        jg.train(model, jg.tasks.node_classification(ds, graph, metric="roc_auc"), seeds=1, steps=1, out=tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "needs"),
    [
        ("bound_c", {}, "a bound"),
        ("modulus", {"residual": "identity"}, 'residual="ssm"'),
        ("residual_scale", {"residual": "identity"}, "one of scaled, depth_scaled, initial, graphcon"),
    ],
)
def test_a_grid_that_changes_nothing_is_refused(task, name, options, needs):
    sentence = f"grid option {name!r} changes nothing in this network: it needs {needs}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        jg.sweep(jg.DeepGNN(out=3, **options), task, grid={name: [0.5, 1.0]}, seeds=1, steps=1)


def test_a_pool_does_not_train_on_nodes(task):
    with pytest.raises(ValueError, match=r"^logits have shape \(1, 3\), but this task needs \(45, 3\)"):
        jg.train(MODEL.clone(pool="mean"), task, seeds=1, steps=1)


def test_a_foreign_config_is_not_overwritten(task, tmp_path):
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(
        ValueError, match=r"config\.json is not of a run of jaxgnn; choose another folder or remove it$"
    ):
        jg.train(MODEL, task, seeds=1, steps=1, out=tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'


def test_batch_norm_trains_in_float64(task, x64):
    wide = replace(task, x=np.asarray(task.x, np.float64))
    result = jg.train(MODEL.clone(norm="batch"), wide, seeds=1, steps=2)
    assert np.isfinite(result.train_loss).all()
