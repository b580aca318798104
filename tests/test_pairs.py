import pytest

from anyjepa.errors import ConfigError
from anyjepa.verbs.pairs import pairs


def test_values_are_yaml():
    found = pairs(["rate=100", "leads=[I, II]", "name=a=b", "none="])
    assert found == {"rate": 100, "leads": ["I", "II"], "name": "a=b", "none": None}
    assert pairs(None) == {}


@pytest.mark.parametrize("word", ["rate", "=3", "a=[1"])
def test_words_that_are_none(word):
    with pytest.raises(ConfigError):
        pairs([word])
