"""jaxgnn: why a graph neural network fails when it is deep, and what fixes it."""

from jaxgnn import layers as layers
from jaxgnn import measures as measures
from jaxgnn import scale as scale
from jaxgnn import tasks as tasks
from jaxgnn import theory as theory
from jaxgnn.backward import backward_analysis as backward_analysis
from jaxgnn.data import largest_component as largest_component
from jaxgnn.data import load_dataset as load_dataset
from jaxgnn.graph import Graph as Graph
from jaxgnn.graph import components as components
from jaxgnn.graph import prepare as prepare
from jaxgnn.jacobian import jacobian as jacobian
from jaxgnn.jacobian import lyapunov as lyapunov
from jaxgnn.jacobian import sensitivity as sensitivity
from jaxgnn.model import DeepGNN as DeepGNN
from jaxgnn.optimisers import TrainConfig as TrainConfig
from jaxgnn.probe import probe as probe
from jaxgnn.propagation import Propagation as Propagation
from jaxgnn.rewiring import balanced_forman as balanced_forman
from jaxgnn.rewiring import fosr as fosr
from jaxgnn.rewiring import sdrf as sdrf
from jaxgnn.state_space import StateSpace as StateSpace
from jaxgnn.train import make_train as make_train
from jaxgnn.train import sweep as sweep
from jaxgnn.train import train as train

__version__ = "0.1.0"
