from jaxgnn.jacobian.krylov import Extremes as Extremes
from jaxgnn.jacobian.operator import LayerJacobian as LayerJacobian
from jaxgnn.jacobian.operator import jacobian as jacobian
