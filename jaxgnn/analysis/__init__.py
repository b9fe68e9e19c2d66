"""What is measured on signals and errors: `measures` of arrays, `probe` and `backward` of every layer of a network."""

from jaxgnn.analysis import measures as measures
