"""Tables as a data scientist has them: T-JEPA as a scikit-learn transformer, and models that learn from labels.

features = anyjepa.tabular.TJEPA(steps=2000).fit(train).transform(test)
model = anyjepa.tabular.TableClassifier("xgboost").fit(train, labels)
print(anyjepa.tabular.compare("runs/people", "people.csv", label_column="income"))
"""

from anyjepa.tabular.compare import compare
from anyjepa.tabular.encoder import TJEPA
from anyjepa.tabular.estimators import TableClassifier, TableRegressor
from anyjepa.tabular.fitting import FitConfig
from anyjepa.tabular.result import ModelsResult
from anyjepa.tabular.stored import ESTIMATOR

__all__ = ["ESTIMATOR", "TJEPA", "FitConfig", "ModelsResult", "TableClassifier", "TableRegressor", "compare"]
