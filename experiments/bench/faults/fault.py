"""What a planted fault is."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


class NotApplicableError(ValueError):
    """The text that a fault replaces is not there, or there more than once."""


@dataclass(frozen=True)
class Fault:
    """A mistake in one file.

    Attributes:
      path: of the file, from the root of the checkout.
      old: text that stands in it exactly once.
      new: the mistake.
      tests: arguments of pytest, which select the tests that should notice; under a minute.
      equivalent: where no test can notice, why: the results are the same.
    """

    path: str
    old: str
    new: str
    tests: str
    equivalent: str = ""

    @property
    def change(self) -> str:
        """Old and new text in one line."""
        return " -> ".join(" ".join(text.split()) for text in (self.old, self.new))

    def planted(self, text: str) -> str:
        """The file's text with the mistake. Raises NotApplicableError unless `old` occurs exactly once."""
        if (count := text.count(self.old)) != 1:
            raise NotApplicableError(f"{self.path}: {self.old!r} occurs {count} times: once is needed")
        if self.old == self.new:
            raise NotApplicableError(f"{self.path}: {self.old!r} is replaced by itself")
        return text.replace(self.old, self.new)

    def line(self, root: Path) -> int:
        """Number of the first line of `old`; 0 where it does not apply."""
        try:
            text = (root / self.path).read_text()
        except OSError:
            return 0
        return text[: text.index(self.old)].count("\n") + 1 if text.count(self.old) == 1 else 0

    def key(self, sources: str) -> str:
        """Digest of the mistake, of its tests and of the sources that they are of."""
        told = {name: value for name, value in asdict(self).items() if name != "equivalent"}
        return hashlib.sha256(json.dumps([told, sources]).encode()).hexdigest()


def faults(path: str, tests: str, *changes: tuple[str, str] | tuple[str, str, str]) -> tuple[Fault, ...]:
    """Several of one file that the same tests should notice: (old, new), or (old, new, why they are equivalent)."""
    return tuple(Fault(path, change[0], change[1], tests, *change[2:]) for change in changes)
