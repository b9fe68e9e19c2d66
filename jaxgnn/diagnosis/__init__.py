"""Why a network fails: measurements of its signals, causes that follow from them, remedies, and their verification."""

from jaxgnn.diagnosis.diagnose import Diagnosis as Diagnosis
from jaxgnn.diagnosis.diagnose import diagnose as diagnose
