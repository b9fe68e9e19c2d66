"""What is read from compiled programs, against programs whose numbers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgnn.host import hlo


def compiled(f, *arguments):
    return hlo.parse(jax.jit(f).lower(*arguments).compile().as_text())


def total(program, opcode, number):
    return sum(one.times * number(program, one) for one in hlo.runs(program) if one.instruction.opcode == opcode)


@pytest.mark.parametrize("length", [1, 7, 300])
def test_products_in_a_loop_are_counted_by_its_trips(length):
    W = np.ones((32, 32), np.float32)
    program = compiled(lambda X: jax.lax.scan(lambda X, _: (jnp.tanh(X @ W), None), X, length=length)[0], W[:8])
    assert total(program, "dot", hlo.products) == length * 2 * 8 * 32 * 32


def test_loops_in_loops_multiply():
    W = np.ones((16, 16), np.float32)

    def inner(X, _):
        return jax.lax.scan(lambda X, _: (jnp.tanh(X @ W), None), X, length=5)[0], None

    program = compiled(lambda X: jax.lax.scan(inner, X, length=11)[0], W)
    assert total(program, "dot", hlo.products) == 5 * 11 * 2 * 16**3
    (dot,) = [one for one in hlo.runs(program) if one.instruction.opcode == "dot"]
    assert (dot.times, dot.loops) == (55, 2)


def test_rows_of_gathers_and_scatters():
    X, index = np.ones((50, 200), np.float32), np.arange(30) % 7
    gathered = compiled(lambda X, i: jnp.take(X, i, axis=0), X, index)
    rows = [hlo.rows(one) for one in hlo.runs(gathered) if one.instruction.opcode == "gather"]
    assert rows == [30 * 2]  # 200 numbers are two rows of 128
    added = compiled(lambda X, i: jnp.zeros((9, 200)).at[i].add(X[:30]), X, index)
    found = [one for one in hlo.runs(added) if one.instruction.opcode == "scatter"]
    assert [hlo.updates(added, one) for one in found] == [30 * 2] * len(found)


def test_bytes_of_types():
    assert hlo.nbytes("f32[16,677,64]{2,1,0:T(8,128)S(1)}") == 4 * 16 * 677 * 64
    assert hlo.nbytes("(bf16[3]{0}, pred[5]{0}, s32[])") == 6 + 5 + 4
    assert hlo.nbytes("(f32[3]{0}, f32[3]{0}, u32[], u32[])", counters=False) == 24
    assert hlo.shapes("(s32[], c64[2,3])") == [("s32", ()), ("c64", (2, 3))]


def test_both_branches_of_a_conditional_run():
    def f(x, X):
        return jax.lax.cond(x > 0, lambda X: X @ X, lambda X: X @ X @ X, X)

    program = compiled(f, np.float32(1), np.ones((64, 64), np.float32))
    assert total(program, "dot", hlo.products) == 3 * 2 * 64**3


def test_what_a_fusion_slices_or_updates_is_moved_in_part():
    rows = np.ones((1000, 64), np.float32)

    def body(i, state):
        return jax.lax.dynamic_update_slice(state, 2 * jax.lax.dynamic_slice(state, (i, 0), (1, 64)), (i, 0))

    program = compiled(lambda X: jax.lax.fori_loop(0, 10, body, X), rows)
    inside = [one for one in hlo.runs(program) if one.loops == 1 and not one.fused and not one.instruction.is_free]
    moved = [hlo.moved(program, one) for one in inside if hlo.nbytes(one.instruction.result) == rows.nbytes]
    assert moved
    assert max(moved) < 10 * 64 * 4
