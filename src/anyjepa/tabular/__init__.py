"""Tables as a data scientist has them: T-JEPA as a scikit-learn transformer.

features = anyjepa.tabular.TJEPA(steps=2000).fit(train).transform(test)
"""

from anyjepa.tabular.encoder import TJEPA
from anyjepa.tabular.stored import ESTIMATOR

__all__ = ["ESTIMATOR", "TJEPA"]
