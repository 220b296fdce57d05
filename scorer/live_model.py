"""The model that is live on disk, picked up without a restart when training names another one."""

from pathlib import Path

from churn import logs
from churn.model import ModelError, ModelMissing, RiskModel, live_version, load

log = logs.get_logger(__name__)


class LiveModel:
    """Holds the last usable model: one that is refused, or a directory that is away, does not take it back."""

    def __init__(self, directory: Path) -> None:
        self.model: RiskModel | None = None
        self._directory = directory
        self._complaint: str | None = None

    def refresh(self) -> bool:
        """Load the live model if it is another one than we hold; True when it is. Complaints are logged once."""
        try:
            version = live_version(self._directory)
            if self.model is not None and version == self.model.model_version:
                return False
            self.model = load(self._directory, version)
        except ModelError as error:
            self._complain(error)
            return False
        self._complaint = None
        log.info("model loaded", model_version=version, customers=self.model.about.population.customers_with_order)
        return True

    def _complain(self, error: ModelError) -> None:
        if str(error) == self._complaint:
            return
        self._complaint = str(error)
        using = self.model.model_version if self.model else None
        if isinstance(error, ModelMissing):
            log.warning("no live model", reason=str(error), using=using)
        else:
            log.error("the live model is refused", reason=str(error), using=using)
