"""What the papers leave open, each with an answer and its uncertainty: `jaxgnn reproduce questions`."""
