"""What figures that are drawn by hand share: axes, colours, log scales, files. No global state: pyplot is not used."""

from jaxgnn.report.canvas import COLOURS as COLOURS
from jaxgnn.report.canvas import MARKERS as MARKERS
from jaxgnn.report.canvas import finished as finished
from jaxgnn.report.canvas import log_axis as log_axis
from jaxgnn.report.canvas import new_figure as new_figure
from jaxgnn.report.canvas import save as save
