"""Text on terminals whose encoding has no Greek letters."""

import codecs
import unicodedata
from typing import Any

_IN_ASCII = str.maketrans(
    {
        **{"±": "+-", "≥": ">=", "≤": "<=", "→": "->", "∞": "inf", "√": "sqrt", "‖": "|", "∂": "d", "−": "-", "–": "-"},
        **{"α": "alpha", "λ": "lambda", "μ": "mu", "ρ": "rho", "σ": "sigma", "⟨": "<", "⟩": ">", "∗": "*", "′": "'"},
        **{"“": '"', "”": '"', "’": "'"},
    }
)


def tolerant(stream: Any) -> None:
    """Lets a text stream write, in place of characters that its encoding does not have, ASCII that is as readable."""
    codecs.register_error("jaxgnn.ascii", _in_ascii)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="jaxgnn.ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_IN_ASCII)
    # NFKD: a superscript as its letter, and accents apart from theirs.
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode(), error.end
