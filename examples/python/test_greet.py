import pytest

from greet import greeting


@pytest.mark.parametrize(
    "name, want",
    [("Ada", "Hello, Ada!"), (" Ada\n", "Hello, Ada!"), ("", "Hello!")],
)
def test_greeting(name, want):
    assert greeting(name) == want
