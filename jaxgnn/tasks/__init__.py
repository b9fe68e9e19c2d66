"""What is learnt: batches with a loss, and an evaluation on each split."""

from jaxgnn.tasks.edge_regression import EdgeRegression as EdgeRegression
from jaxgnn.tasks.edge_regression import edge_regression as edge_regression
from jaxgnn.tasks.graph_classification import graph_classification as graph_classification
from jaxgnn.tasks.graph_properties import GraphProperties as GraphProperties
from jaxgnn.tasks.graph_properties import graph_properties as graph_properties
from jaxgnn.tasks.graph_transfer import graph_transfer as graph_transfer
from jaxgnn.tasks.graph_transfer import transfer_pairs as transfer_pairs
from jaxgnn.tasks.link_prediction import LinkPrediction as LinkPrediction
from jaxgnn.tasks.link_prediction import link_prediction as link_prediction
from jaxgnn.tasks.many_graphs import GraphBatch as GraphBatch
from jaxgnn.tasks.many_graphs import ManyGraphs as ManyGraphs
from jaxgnn.tasks.many_graphs import many_graphs as many_graphs
from jaxgnn.tasks.node_classification import NodeClassification as NodeClassification
from jaxgnn.tasks.node_classification import node_classification as node_classification
from jaxgnn.tasks.node_labels import NodeLabels as NodeLabels
from jaxgnn.tasks.node_labels import node_labels as node_labels
from jaxgnn.tasks.node_regression import NodeRegression as NodeRegression
from jaxgnn.tasks.node_regression import node_regression as node_regression
from jaxgnn.tasks.ring_transfer import ring_transfer as ring_transfer
from jaxgnn.tasks.task import Batch as Batch
from jaxgnn.tasks.task import Metrics as Metrics
from jaxgnn.tasks.task import Task as Task
