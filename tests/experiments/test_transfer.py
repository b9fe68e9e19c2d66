"""The question of transfer: its tasks, and its verdict from made-up runs."""

import numpy as np
import pytest

from jaxgnn.experiments.questions import transfer

CONFIG = transfer.Config((2, 3), graphs=8)


def finding(score, config=CONFIG):
    """What is shown of made-up scores, by arm and task, over three seeds."""
    spread = np.array([1.0, 1.01, 0.99])
    found = {
        transfer.name(arm, *place): {"score": score(arm, place[0]) * spread}
        for arm in transfer.ARMS
        for place in transfer.places(config)
    }
    return transfer.show(config, found)


def test_every_arm_has_every_task_and_the_same_budget():
    found = transfer.cells(CONFIG)
    assert len(found) == 4 * (3 + 2) * 2
    same = ("depth", "width", "steps", "seeds", "grid", "graphs")
    for place in transfer.places(CONFIG):
        budgets = [{k: found[transfer.name(arm, *place)].settings[k] for k in same} for arm in transfer.ARMS]
        assert all(budget == budgets[0] for budget in budgets)
    assert transfer.task(CONFIG, "class", "ring", 3).task.graphs.num_nodes == 6
    assert transfer.task(CONFIG, "swap", "line", 3).task.graphs.num_nodes == 4


def test_the_verdict_follows_from_effects_and_controls():
    def crosses(arm, what):
        better = arm in ("identity residual", "GCN-SSM")
        return {"swap": 1e-4 if better else 0.1, "class": 0.9 if better else 0.2}[what]

    beaten = finding(lambda arm, what: {"swap": 1e-6, "class": 0.2}[what] if "MLP" in arm else crosses(arm, what))
    assert beaten.verdict == "explained by its control"  # of the swap the graph-blind network, of both the residual
    assert "swap: the graph-blind network is at least as good as the best graph network in 6 of 6 tasks" in (
        beaten.evidence
    )
    assert "class: the graph-blind network is at least as good as the best graph network in 0 of 4 tasks" in (
        beaten.evidence
    )
    alike = finding(lambda arm, what: {"swap": 0.1, "class": 0.2}[what])
    assert alike.verdict == "not reproduced"


def test_an_error_of_0_is_compared_all_the_same():
    assert transfer.worth("swap", np.array([0.0, 0.1])) == pytest.approx([12, 1])
    found = finding(lambda arm, what: 0.0 if what == "swap" else 1.0)
    assert found.verdict == "not reproduced"


def test_what_nobody_trains_stands_beside_the_scores():
    table = finding(lambda arm, what: 0.1).tables["Scores beside what nobody trains"]
    made = transfer.task(CONFIG, "swap", "ring", 3)
    row = next(row for row in table.rows if row[:3] == ("swap", "ring", "3"))
    assert row[-2:] == (f"{made.constant.test:.3g}", "0.333")
    assert next(row for row in table.rows if row[:3] == ("class", "ring", "2"))[-2:] == ("0.2", "")
