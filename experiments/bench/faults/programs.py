"""Faults of functions held as values: what is copied, what is traced anew, which programs count as equal."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/host/program.py",
        "tests/jacobian/test_values.py tests/host/test_program.py -k 'not training'",
        ("_trace_number(object())", "_trace_number(None)"),
        ("[copied(c) for c in closed.consts]", "list(closed.consts)"),
        ("if _hidden(closed.jaxpr):  #", "if False:  #"),
        ("ClosedJaxpr(private(closed.jaxpr),", "ClosedJaxpr(closed.jaxpr,"),
        (
            "return jnp.asarray(np.array(array, copy=True))",
            "return jnp.asarray(array)",
            "what it gives is copied once more, on the device, before it is kept",
        ),
    ),
    *faults(
        "jaxgnn/host/structure.py",
        "tests/jacobian/test_values.py tests/host/test_program.py -k 'apart or equal or once'",
        ("(atom.aval, entries(atom.val)) if", "(atom.aval,) if"),
        ("structure(opened), tuple(entries(c) for c in constants))", "structure(opened))"),
        ("numbers[variable] = len(numbers)", "numbers[variable] = 0"),
        ("numbers.shape, numbers.tobytes()", "numbers.shape"),
        ("(_Same(eqn.primitive), arguments, params,", "(_Same(eqn.primitive), arguments,"),
    ),
    *faults(
        "jaxgnn/jacobian/rounding.py",
        "tests/jacobian/test_rounding.py -k 'way or shown'",
        ("eps = max(eps, inside)\n        for", "for"),
        ("if moved.tangent else eps", "if moved.point else eps"),
        ("carry = tuple(a | b for", "carry = tuple(a for"),
        ('2.0 ** -eqn.params["mantissa_bits"]', '2.0 ** -(eqn.params["mantissa_bits"] + 1)'),
        ("(_Moves(True, False), *(", "(_Moves(False, False), *("),
    ),
    *faults(
        "jaxgnn/host/arrays.py",
        "tests/test_order.py -k 'closed_over'",
        ("a.view() if isinstance", "a if isinstance"),
    ),
    *faults(
        "jaxgnn/host/program.py",
        "tests/host/test_program.py tests/network/test_interventions.py -k 'digest or a_function_computes'",
        ("for array in arrays(closed):", "for array in closed.consts:"),
    ),
)
