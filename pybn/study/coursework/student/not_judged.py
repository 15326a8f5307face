"""What could not be measured: the records that adapters make (`pybn.study.adapters.not_judged`)."""

from pybn.study.adapters.not_judged import RESTING, NotJudged, gathered

__all__ = ["RESTING", "NotJudged", "gathered"]
