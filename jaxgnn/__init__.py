"""jaxgnn: why a graph neural network fails when it is deep, and what fixes it."""

from jaxgnn import layers as layers
from jaxgnn import tasks as tasks
from jaxgnn import theory as theory
from jaxgnn.analysis import measures as measures
from jaxgnn.analysis.backward import backward_analysis as backward_analysis
from jaxgnn.analysis.probe import probe as probe
from jaxgnn.data import largest_component as largest_component
from jaxgnn.data import load_dataset as load_dataset
from jaxgnn.graphs.graph import Graph as Graph
from jaxgnn.graphs.graph import components as components
from jaxgnn.graphs.graph import prepare as prepare
from jaxgnn.graphs.propagation import Propagation as Propagation
from jaxgnn.graphs.rewiring import balanced_forman as balanced_forman
from jaxgnn.graphs.rewiring import fosr as fosr
from jaxgnn.graphs.rewiring import sdrf as sdrf
from jaxgnn.jacobian import jacobian as jacobian
from jaxgnn.jacobian import lyapunov as lyapunov
from jaxgnn.jacobian import sensitivity as sensitivity
from jaxgnn.network.model import DeepGNN as DeepGNN
from jaxgnn.network.state_space import StateSpace as StateSpace
from jaxgnn.training import scale as scale
from jaxgnn.training.optimisers import TrainConfig as TrainConfig
from jaxgnn.training.train import make_train as make_train
from jaxgnn.training.train import sweep as sweep
from jaxgnn.training.train import train as train

__version__ = "0.1.0"
