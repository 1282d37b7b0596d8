"""Study `reading`: what do people read in the pictures of an attack, when they don't know which are which?"""

import secrets
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator

from cam_adv.attacks.base import Attack
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.runtime.quoting import written
from cam_adv.schema.fields import Count, Index, Share
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext
from cam_adv.studies.reading.answers import Reader, read_answers
from cam_adv.studies.reading.attacked_run import load_attacked_run
from cam_adv.studies.reading.files import ReadingFiles
from cam_adv.studies.reading.key import Key, PictureKind
from cam_adv.studies.reading.page import write_page
from cam_adv.studies.reading.pictures import make_key, pngs
from cam_adv.studies.reading.report import print_reading, table_to_json
from cam_adv.studies.reading.table import make_table


def _as_list(value: Any) -> Any:
    """One file may be given without brackets."""
    return [value] if isinstance(value, str) else value


class Reading(Study):
    """Without `answers` it writes the page for the readers, with them the table of what they read.

    Its other fields are explained in `conf/study/reading.yaml`.

    Raises:
        UserError: the run is no finished attack, its key has changed, or a file of answers can't be used; see
            `read_answers`.
    """

    run_folder: str
    answers: Annotated[list[str], BeforeValidator(_as_list)]
    pictures: Count
    real: Index
    starts: Index
    reconstructions: Index
    repeats: Index
    n_resamples: Count
    level: Share

    @property
    def files(self) -> ReadingFiles:
        """Those in the folder of the attacked run."""
        return ReadingFiles(Path(self.run_folder))

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        if self.answers:
            self._read()
        else:
            load_attacked_run(self.files.run)
            self.files.read_key()

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        if self.answers:
            self._tabulate(context)
        else:
            self._ask(context)

    def _ask(self, context: StudyContext) -> None:
        """Write the page, unless there is one."""
        run, files = load_attacked_run(self.files.run), self.files
        counts: dict[PictureKind, int] = {
            "x_adv": self.pictures,
            "x": self.real,
            "start_image": self.starts,
            "reconstruction": self.reconstructions,
        }
        if known := files.read_key():
            key, digest = known
            print(f"{files.run} has a page, which stays as it is, since somebody may be answering it.")
            print(
                f"For another, remove {files.page.parent} and {files.key}; answers to this page then count no more."
            )
        else:
            key = make_key(run, counts, self.repeats, context.settings.seed, secrets.token_hex(16))
            digest = files.write_key(key)
        if not files.page.exists():
            write_page(pngs(key, run), key.class_names, digest, files.page)
        print(f"page      {files.page}: give it to the readers, without {files.key.name}")
        print(f"digest    {digest}")
        context.write_json(
            self.name,
            {
                "page": str(files.page),
                "key": str(files.key),
                "digest": digest,
                "pictures": len(key.pictures),
            },
        )

    def _tabulate(self, context: StudyContext) -> None:
        """Write and print the table."""
        key, digest, readers = self._read()
        generator = torch.Generator().manual_seed(context.settings.seed)
        table = make_table(key, readers, self.n_resamples, self.level, generator)
        print_reading(table, self.level, f"what people read in {self.files.run}")
        context.write_json(
            self.name, {"run": str(self.files.run), "digest": digest, "kind": key.attack} | table_to_json(table)
        )

    def _read(self) -> tuple[Key, str, list[Reader]]:
        """The key, its digest, and the readers' answers."""
        known = self.files.read_key()
        if known is None:
            raise UserError(
                f"run={self.files.run} has no page that anybody could have answered.",
                f"Write it with cam-adv study=reading {written('run', str(self.files.run))}, without answers.",
            )
        key, digest = known
        return key, digest, read_answers([Path(file) for file in self.answers], key, digest)
