"""The boards, one file each; a new one is declared in its own file and named here."""

from typing import Final

from kibana.boards.churn_risk import CHURN_RISK

ALL: Final = (CHURN_RISK,)
