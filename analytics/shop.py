"""What every analysis is given: one shop's history at one moment, as SQL views and as the rows of the fold."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
from pyarrow import parquet

from analytics import outcomes, samples
from churn import offline, truth


@dataclass(frozen=True)
class Shop:
    """A history at `as_of` (aware): nothing that happened or arrived later is seen by anything here.

    `sql` has the views of `analytics.views`. `models` is where training keeps its models; there may be none.
    """

    history: Path
    sql: duckdb.DuckDBPyConnection
    as_of: datetime
    currency: str
    models: Path | None = None
    processes: int = 1

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        table = self.table(query, parameters)
        found: list[dict[str, Any]] = table.to_pylist()
        return found

    def table(self, query: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The rows of a query as an Arrow table; `.to_pandas()` makes a data frame of it."""
        return self.sql.sql(query, params=dict(parameters or {})).to_arrow_table()

    def value(self, query: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first cell of a query."""
        found = self.sql.execute(query, dict(parameters or {})).fetchall()
        return found[0][0] if found else None

    @property
    def moment(self) -> datetime:
        """`as_of` as the SQL layer writes times: UTC, without a zone."""
        return self.as_of.astimezone(UTC).replace(tzinfo=None)

    @property
    def last_month(self) -> date:
        """The first day of the last month that is over."""
        last_day = self.moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        return last_day.date().replace(day=1)

    @cached_property
    def features(self) -> Any:
        """The fold of everybody at `as_of`: an Arrow table with `churn.offline.FEATURE_SCHEMA`."""
        return offline.feature_table(self.history, self.as_of, processes=self.processes)

    @cached_property
    def stored(self) -> int:
        """How many events lie in the history, repeated and later ones too."""
        return sum(parquet.read_metadata(file).num_rows for file in self.history.glob("date=*/*.parquet"))

    @cached_property
    def sampled(self) -> samples.Sampled:
        """What the fold said of everybody at some moments of the past, for models that are tested later in time."""
        return samples.sample(self.history, self.as_of, processes=self.processes)

    @cached_property
    def net_orders(self) -> outcomes.NetOrders:
        """All net orders, to see what came after a moment."""
        return outcomes.NetOrders.of(self.table(outcomes.QUERY))

    @property
    def truth_folder(self) -> Path | None:
        """Where the simulator wrote what really happened, None for a real history.

        For comparisons that say so: no analysis reads its answer there.
        """
        folder = self.history / truth.FOLDER
        return folder if folder.is_dir() else None
