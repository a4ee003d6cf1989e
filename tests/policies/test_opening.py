"""What people type becomes the endpoint that they mean, and keys go where they belong."""

import pytest

from concord.errors import InputError, UnavailableError
from concord.policies.opening import OPENAI, is_remote, open_policy, service_of
from concord.types import Capability
from tests.policies.serving import Answer, Server, asks, chat, chats, failed, only


@pytest.fixture(autouse=True)
def no_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs these tests has settings of their own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("what", "remote"),
    [
        ("http://h/v1", True),
        ("HTTPS://h/v1", True),
        ("openai:m", True),
        ("org/model", False),
        ("./folder", False),
        ("openai", False),
    ],
)
def test_addresses_are_told_from_folders_and_hub_ids(what: str, remote: bool) -> None:
    assert is_remote(what) is remote


def test_an_address_with_a_model() -> None:
    policy = open_policy("http://h/v1/", model="m", version="2")
    assert (policy.service.base_url, policy.service.model) == ("http://h/v1", "m")
    assert policy.service.key_env == ""
    assert policy.id != open_policy("http://h/v1", model="m").id


def test_openai_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY holds no key"):
        open_policy("openai:m")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    policy = open_policy("openai:m")
    assert (policy.service.base_url, policy.service.model) == (OPENAI, "m")
    assert policy.service.key_env == "OPENAI_API_KEY"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h:1/v1/")
    assert open_policy("openai:m").service.base_url == "http://h:1/v1"
    assert open_policy("openai:", model="m").service.model == "m"


def test_two_names_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="two models are named"):
        open_policy("openai:m", model="n", key_env="")
    assert open_policy("openai:m", model="m", key_env="").service.model == "m"


def test_the_key_of_openai_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h/v1/")
    monkeypatch.setenv("OTHER_KEY", "other")
    assert open_policy("http://h/v1", model="m").service.key_env == "OPENAI_API_KEY"
    assert open_policy("http://elsewhere/v1", model="m").service.key_env == ""
    assert open_policy("http://elsewhere/v1", model="m", key_env="OTHER_KEY").service.key_env == "OTHER_KEY"
    assert open_policy("http://h/v1", model="m", key_env="").service.key_env == ""


def test_the_only_model_need_not_be_named() -> None:
    served = [{"id": "the-only-one"}]

    def script(asked: object) -> Answer:
        return Answer({"data": served}) if getattr(asked, "method", "") == "GET" else chats(chat("x"))

    with Server(script) as server:
        policy = open_policy(server.url)
        assert policy.service.model == "the-only-one"
        policy.answer(asks(1))
        assert server.posts()[0]["model"] == "the-only-one"
        served.append({"id": "another"})
        with pytest.raises(InputError, match="another, the-only-one"):
            open_policy(server.url)
        served.clear()
        with pytest.raises(UnavailableError, match="not known what"):
            open_policy(server.url)


def test_without_a_list_the_model_has_to_be_named() -> None:
    with (
        Server(lambda asked: failed(404)) as server,
        pytest.raises(UnavailableError, match="no list of models"),
    ):
        open_policy(server.url)
    with pytest.raises(UnavailableError, match="nothing may be sent"):
        open_policy("http://h/v1", offline=True)


def test_offline_needs_no_key() -> None:
    assert open_policy("openai:m", offline=True).capabilities == Capability.API


@pytest.mark.parametrize("what", ["", "org/model", "h:8000/v1", "ftp://h"])
def test_what_names_no_endpoint_is_refused(what: str) -> None:
    with pytest.raises(InputError, match="names no endpoint"):
        open_policy(what, model="m")


def test_who_was_meant_is_known_by_where_and_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://one/v1")
    one = service_of("openai:m")
    assert one.id == service_of("http://one/v1/", model="m").id
    monkeypatch.setenv("OPENAI_BASE_URL", "http://two/v1")
    assert service_of("openai:m").id != one.id
    with Server(only(Answer({"data": [{"id": "served"}]}))) as server:
        assert service_of(server.url).model == "served"
