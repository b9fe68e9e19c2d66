"""Layers by name. Any Linen module whose __call__(graph, X) returns [n, features] works as one."""

from jaxgnn.layers.a_dgn import ADGN as ADGN
from jaxgnn.layers.appnp import APPNP as APPNP
from jaxgnn.layers.cheb import Cheb as Cheb
from jaxgnn.layers.drew import DRew as DRew
from jaxgnn.layers.g2 import G2 as G2
from jaxgnn.layers.gat import GAT as GAT
from jaxgnn.layers.gated_gcn import GatedGCN as GatedGCN
from jaxgnn.layers.gatv2 import GATv2 as GATv2
from jaxgnn.layers.gcn import GCN as GCN
from jaxgnn.layers.gcnii import GCNII as GCNII
from jaxgnn.layers.gin import GIN as GIN
from jaxgnn.layers.grand import GRAND as GRAND
from jaxgnn.layers.graphcon import GraphCON as GraphCON
from jaxgnn.layers.mlp import MLP as MLP
from jaxgnn.layers.mp_ssm import MPSSM as MPSSM
from jaxgnn.layers.mp_ssm import MPSSMStep as MPSSMStep
from jaxgnn.layers.ph_dgn import PHDGN as PHDGN
from jaxgnn.layers.sage import SAGE as SAGE
from jaxgnn.layers.sgc import SGC as SGC
from jaxgnn.layers.swan import SWAN as SWAN
from jaxgnn.layers.unitary import Unitary as Unitary

LAYERS = {
    "gcn": GCN,
    "mlp": MLP,
    "gat": GAT,
    "gatv2": GATv2,
    "gin": GIN,
    "sage": SAGE,
    "gated_gcn": GatedGCN,
    "gcnii": GCNII,
    "sgc": SGC,
    "appnp": APPNP,
    "cheb": Cheb,
    "a_dgn": ADGN,
    "grand": GRAND,
    "graphcon": GraphCON,
    "g2": G2,
    "mp_ssm": MPSSM,
    "mp_ssm_step": MPSSMStep,
    "unitary": Unitary,
    "swan": SWAN,
    "ph_dgn": PHDGN,
    "drew": DRew,
}
