"""Programs are let go where a process has many memory maps, and computed values stay what they are."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxgnn.host.maps import let_programs_go


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps are counted on Linux")
def test_programs_are_let_go_where_there_are_many_maps():
    double = jax.jit(lambda x: 2 * x)
    assert double(jnp.float32(3)) == 6
    assert not let_programs_go(10**9)
    assert double._cache_size() == 1
    assert let_programs_go(0)
    assert double._cache_size() == 0
    assert double(jnp.float32(4)) == 8
