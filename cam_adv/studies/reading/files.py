"""The files of a page, in the folder of the attacked run.

`reading/` is for the readers: `reading.html`, and `digest.txt`, the digest of the key. The key itself,
`reading_key.json`, is kept outside of it, so that the folder can be given away as a whole.

The page is written last: before there is anything to answer, the digest is in the run. What is there stays: a page
that is replaced while somebody answers it would make those answers worthless.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.studies.reading.key import Key, key_digest


@dataclass(frozen=True)
class ReadingFiles:
    """Where they are. run: the folder of the attacked run."""

    run: Path

    @property
    def key(self) -> Path:
        return self.run / "reading_key.json"

    @property
    def digest(self) -> Path:
        return self.run / "reading" / "digest.txt"

    @property
    def page(self) -> Path:
        return self.run / "reading" / "reading.html"

    def write_key(self, key: Key) -> str:
        """Write the digest, then the key.

        Returns:
            The digest.
        """
        content = key.to_bytes()
        self.digest.parent.mkdir(exist_ok=True)
        write_atomically(self.digest, key_digest(content) + "\n")
        write_atomically(self.key, content)
        return key_digest(content)

    def read_key(self) -> tuple[Key, str] | None:
        """The key and its digest; None where nobody can have a page yet.

        Raises:
            UserError: the key isn't the one whose digest was written before the page, or one of both is missing.
        """
        if not self.key.exists() and not self.page.exists():
            return None  # at most a digest, of a command that was killed before it wrote the key
        try:
            content = self.key.read_bytes()
            written = self.digest.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise self._refusal(f"{self.key} or {self.digest} is missing or can't be read") from error
        if key_digest(content) != written:
            raise self._refusal(f"{self.key} has changed: its digest isn't the one in {self.digest}")
        try:
            return Key.model_validate_json(content), written
        except ValidationError as error:
            raise self._refusal(f"{self.key} is no key of this version") from error

    def _refusal(self, what: str) -> UserError:
        return UserError(
            f"{what}.",
            f"Put the file back, or remove both and {self.page} to begin anew, without the answers to that page.",
        )
