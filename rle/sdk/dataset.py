"""Dataset as users hold it: tables and a task, and what can be asked of them before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.spec import dataset_handle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rle.audit.findings import AuditReport
    from rle.audit.run import OnProgress
    from rle.baseline.report import BaselineReport
    from rle.connectors.base import Connector
    from rle.sdk.draft import SchemaDraft


class Dataset(dataset_handle.Dataset):
    """Tables and a task that fit together. All checks that need no row happen when it is made.

    Args:
        connector: Where all tables are.
        dataset_name: First part of the experiment's name; may not hold "/".
        tables: The tables of the graph.
        task_description: What to predict.

    Raises:
        ValidationError: A table is not valid; a link or the task's entity leads nowhere, to a
            column that is no key, or to one of another dtype; tables are not connected; only one
            of task and tables knows time.
        DataError: The task's entity table has no rows.
    """

    @staticmethod
    def from_schema(
        connector: Connector,
        schema: str,
        *,
        exclude: Iterable[str] = (),
        time_columns: Mapping[str, str | None] | None = None,
        look_for_links: bool = True,
    ) -> SchemaDraft:
        """Draft the tables of a schema from what the warehouse declares, for a person to complete.

        Keys and links come from declared keys alone. Print the draft: it says what was found, what
        is open, and which further keys and links names and values speak for; none of these is
        applied before `draft.accept()`. Then `draft.dataset(name, task)`. See docs/schema.md.

        Args:
            connector: Where the schema is.
            schema: DB.SCHEMA.
            exclude: Names of tables to pass over, in any case; * and ? stand for other characters,
                and such a pattern may match nothing.
            time_columns: Which column tells when a row became known, by name in the graph; None
                for a table whose rows were always known. May be said later.
            look_for_links: Whether to look for keys and links that were not declared. Costs a
                sample of each table and reads key columns.

        Raises:
            UnknownNameError: There is no such schema, table or column.
            RLEError: No table of it can be read.
        """
        from rle.sdk.draft import draft_schema

        return draft_schema(
            connector,
            schema,
            exclude=exclude,
            time_columns=time_columns,
            look_for_links=look_for_links,
        )

    @staticmethod
    def from_draft(path: str | Path) -> SchemaDraft:
        """Return the draft in a YAML file that `SchemaDraft.save` wrote and somebody edited.

        Raises:
            ValidationError: There is no such file, or it holds no draft.
            RLEError: A table is not there, or not as the file says.
        """
        from rle.sdk.draft_file import read_draft

        return read_draft(path)

    def audit(
        self,
        *,
        ignore: Sequence[str] = (),
        max_rows: int = 20_000,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> AuditReport:
        """Look for leaks before training: what a prediction could see and should not.

        Reads the graph (built where it is not there yet) and a sample of the task rows. Nothing
        is trained and nothing is written but the graph. See docs/audit.md for every check.

        Args:
            ignore: Places to pass over, "table.column" or "table", that were looked at already.
            max_rows: Task rows per split whose surroundings are read; those of the entity's own
                row are cheap and are read for ten times as many.
            seed: Of the sample.
            on_progress: Called with a stage, steps done and steps in all.

        Raises:
            RLEError: The tables or the task tables cannot be read.
        """
        from rle.audit.run import audit_dataset

        return audit_dataset(
            self.spec, ignore=ignore, max_rows=max_rows, seed=seed, on_progress=on_progress
        )

    def baseline(
        self,
        *,
        seed: int = 42,
        text_embedder: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> BaselineReport:
        """Measure what LightGBM reaches on automatic aggregates: do I need a GNN here?

        The features are made of the very rows that a GNN would be shown, with the same exact time
        bound, and nobody has to write one. Nothing is kept but the graph. See docs/baseline.md.

        Args:
            seed: Of the draws of rows and features; the same seed gives the same report.
            text_embedder: As in TrainerConfig; with it the graph is the one that training uses.
                None: text is read as categories, and no embedder is needed.
            on_progress: Called with a stage, steps done and steps in all.

        Raises:
            MissingModelError: LightGBM is not installed: pip install 'gnn-rle[baseline]'.
            ValidationError: The task has no training or no validation table.
            RLEError: The tables or the task tables cannot be read.
        """
        from rle.baseline.run import run_baseline

        return run_baseline(
            self.spec, seed=seed, text_embedder=text_embedder, on_progress=on_progress
        )

    def save(self, path: str | Path) -> Path:
        """Write the dataset's description to a new file, for `rle audit <file>` and its kin.

        Args:
            path: Ends in .yaml, .yml or .json.

        Returns:
            `path`.

        Raises:
            OutputExistsError: The file is there already.
            StorageError: It cannot be written.
        """
        from rle.sdk.dataset_file import write_dataset

        return write_dataset(self.spec, path)
