"""A service has one spelling of its address, and its key is nowhere but where it was put."""

from typing import Any

import pytest

from concord.errors import InputError
from concord.policies.service import RESERVED, Service


def service(**settings: Any) -> Service:
    """A service, with some settings of its own."""
    given: dict[str, Any] = {"base_url": "http://h/v1", "model": "m", **settings}
    return Service(**given)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("http://h/v1", "http://h/v1"),
        (" HTTPS://Host.Example/v1/ ", "https://host.example/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/completions/", "http://h/v1"),
        ("http://h/v1/models", "http://h/v1"),
        ("http://h/Some/Path", "http://h/Some/Path"),
    ],
)
def test_an_address_has_one_spelling(typed: str, meant: str) -> None:
    assert service(base_url=typed).base_url == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "not the address"),
        ("h/v1", "not the address"),
        ("localhost:8000/v1", "not the address"),
        ("ftp://h/v1", "not the address"),
        ("http://", "not the address"),
        ("http://h:port/v1", "not the address"),
        ("http://[::1/v1", "not the address"),
        ("http://h/v1?key=hidden", "a query or a fragment"),
        ("http://h/v1#hidden", "a query or a fragment"),
        ("http://user:hidden@h/v1", "a name or a password"),
        ("http://hidden@h/v1", "a name or a password"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(typed: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        service(base_url=typed)
    assert "hidden" not in str(caught.value)


def test_a_model_has_a_name() -> None:
    with pytest.raises(InputError, match="without the name of a model"):
        service(model="")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_an_ask_decides_is_no_extra_setting(name: str) -> None:
    with pytest.raises(InputError, match=f"found '{name}'"):
        service(extra={name: 1})


def test_the_key_is_looked_up_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    named = service(key_env="CONCORD_TEST_KEY")
    monkeypatch.setenv("CONCORD_TEST_KEY", " secret\n")
    assert named.key() == "secret"
    assert service().key() == ""
    assert "secret" not in repr(named) + named.id
    assert named.id == service().id, "a key is no part of what answers"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "holds no key"),
        ("  ", "holds no key"),
        ("se cret", "cannot be"),
        ("se\ncret", "cannot be"),
        ("s\xe9cret", "cannot be"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    monkeypatch.delenv("CONCORD_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CONCORD_TEST_KEY", value)
    with pytest.raises(InputError, match=said) as caught:
        service(key_env="CONCORD_TEST_KEY").key()
    assert "cret" not in str(caught.value)
