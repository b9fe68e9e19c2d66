"""Open questions of the papers as studies, each with an answer and its uncertainty."""
