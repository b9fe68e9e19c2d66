"""What the data tests share: a closed-off environment, small files of the real formats, a loopback server."""

import os
import pickle
import struct
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

REAL_DATA = os.environ.get("JAXGNN_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no JAXGNN_DATA, and a mirror where nobody listens: no test leaves this machine."""
    monkeypatch.delenv("JAXGNN_DATA", raising=False)
    monkeypatch.setenv("JAXGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAXGNN_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty folder that JAXGNN_DATA names."""
    folder = tmp_path / "data"
    for name in ("planetoid", "heterophilous", "splits"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("JAXGNN_DATA", str(folder))
    return folder


@pytest.fixture
def real_data(monkeypatch):
    """The folder of upstream files; skips where there is none."""
    if not REAL_DATA:
        pytest.skip("set JAXGNN_DATA to a folder of upstream files to run this test")
    monkeypatch.setenv("JAXGNN_DATA", REAL_DATA)
    return Path(REAL_DATA)


@pytest.fixture
def serve(monkeypatch):
    """serve(folder, mode) starts a mirror of a folder; its mode damages what it sends."""
    servers = []

    def start(folder, mode="good"):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = Path(folder) / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                body = path.read_bytes()
                if mode == "tampered":
                    body = body[:-1] + bytes([body[-1] ^ 1])
                if mode == "shorter":
                    body = body[: len(body) // 2]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if mode == "truncated" else body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("JAXGNN_MIRROR", address)
        return address

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: byte strings as such, and the module names of that time."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, text):
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


@pytest.fixture
def python2_pickle():
    def dumps(content):
        stream = BytesIO()
        Python2Pickler(stream, protocol=2).dump(content)
        raw = stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        return raw.replace(b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n")

    return dumps


@pytest.fixture
def write_planetoid(data, python2_pickle):
    """Writes a data set in the Planetoid format: 520 + 6 nodes, 3 classes, test node 522 left out."""

    def write(name="pubmed", **changes):
        rng = np.random.default_rng(0)
        n, features, classes, num_train = 520, 5, 3, 6
        x = rng.random((n, features)) * (rng.random((n, features)) < 0.5)
        tx = rng.random((5, features))
        y = np.eye(classes, dtype=np.int32)[np.arange(n) % classes]
        graph = defaultdict(list, {v: [(v + 1) % n, v] for v in range(n)})
        graph |= {v: [0, 0] for v in (520, 521, 523, 524, 525)} | {522: []}
        content = {
            "x": scipy.sparse.csr_matrix(x[:num_train]),
            "y": y[:num_train],
            "tx": scipy.sparse.csr_matrix(tx),
            "ty": np.eye(classes, dtype=np.int32)[[0, 1, 2, 0, 1]],
            "allx": scipy.sparse.csr_matrix(x),
            "ally": y,
            "graph": graph,
            "test.index": b"525\n520\n523\n521\n524\n",
        } | changes
        for part, value in content.items():
            raw = value if isinstance(value, bytes) else python2_pickle(value)
            (data / "planetoid" / f"ind.{name}.{part}").write_bytes(raw)
        return content

    return write


@pytest.fixture
def heterophilous_arrays():
    """The arrays of a data set in the .npz format: 6 nodes, 2 features, a loop and a doubled edge."""
    train, val, test = np.zeros((3, 10, 6), bool)
    for k in range(10):
        order = np.roll(np.arange(6), k)
        train[k, order[:3]], val[k, order[3:4]], test[k, order[4:]] = True, True, True
    return {
        "node_features": np.arange(12, dtype=np.float32).reshape(6, 2),
        "node_labels": np.array([0, 1, 2, 0, 1, 2]),
        "edges": np.array([[0, 1], [1, 2], [2, 1], [3, 3], [4, 5], [4, 5]]),
        "train_masks": train,
        "val_masks": val,
        "test_masks": test,
    }
