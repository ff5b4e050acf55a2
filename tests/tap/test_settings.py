"""A mistake in the settings is found at the start, and told with all the others."""

from __future__ import annotations

from typing import Any

import pytest
from singer_sdk.exceptions import ConfigValidationError
from tap_segment_webhook.settings import Settings, Source, closed
from tap_segment_webhook.spool.model import Location
from tap_segment_webhook.tap import TapSegmentWebhook


def settings(**config: Any) -> Settings:
    """Return the settings of *config*, defaults filled in."""
    return Settings.from_config(TapSegmentWebhook(config=config).config)


def mistakes(**config: Any) -> str:
    """Return what is said about *config*, which must be refused."""
    with pytest.raises(ConfigValidationError) as error:
        TapSegmentWebhook(config=config)
    return "\n".join(error.value.errors)


def test_defaults_are_those_of_the_documentation() -> None:
    """Nothing has to be set to drain a spool."""
    assert settings() == Settings(
        spool_url="sqlite:///segment-spool.db",
        host="127.0.0.1",
        port=8765,
        sources=(),
        integration_name=None,
        listen_seconds=0,
        dedup_window_events=1_000_000,
        retention_days=7,
        max_spool_bytes=None,
        max_body_bytes=16 << 20,
        payload_format="object",
        consumer="default",
        spool=Location(
            "sqlite:///segment-spool.db",
            dedup_window_events=1_000_000,
            max_bytes=None,
            max_event_bytes=16 << 20,
            replicas=3,
            dedup_seconds=14_400,
        ),
    )


def test_secrets_are_marked_as_such() -> None:
    """What must not be shown is known to be secret by whoever shows settings."""
    properties = TapSegmentWebhook.config_jsonschema["properties"]

    secret = {name for name, schema in properties.items() if schema.get("secret")}

    assert secret == {"nats_password", "shared_secret", "sources", "write_key"}


def test_sources_are_the_default_one_and_the_named() -> None:
    """The short settings make the source named `default`."""
    found = settings(
        shared_secret="one",  # noqa: S106
        sources=[
            {"name": "app", "shared_secrets": ["two", "three"]},
            {"name": "lab", "allow_unsigned": True},
        ],
    ).sources

    assert found == (
        Source("default", (b"one",)),
        Source("app", (b"two", b"three")),
        Source("lab", (), allow_unsigned=True),
    )


def test_default_source_is_only_there_if_it_is_used() -> None:
    """Nobody sends to a source that was not set up."""
    assert [source.name for source in settings(sources=[{"name": "app"}]).sources] == ["app"]
    assert [source.name for source in settings(allow_unsigned=True).sources] == ["default"]


def test_source_without_secret_is_closed() -> None:
    """A receiver does not start for a source that nobody could send to."""
    assert closed(settings(shared_secret="one").sources) == []  # noqa: S106
    assert "Neither shared_secret nor write_key" in closed(settings().sources)[0]
    assert "'app' has no shared_secrets" in closed(settings(sources=[{"name": "app"}]).sources)[0]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"sources": [{"name": "a"}, {"name": "a"}]}, "two of them are named 'a'"),
        ({"sources": [{"name": "default"}]}, "Choose another name"),
        ({"sources": [{"name": "a/b"}]}, "a/b"),
        ({"sources": [{"name": ""}]}, "sources"),
        ({"sources": [{"shared_secrets": ["x"]}]}, "name"),
        ({"sources": [{"name": "a", "secret": "x"}]}, "secret"),
        ({"sources": [{"name": "a", "shared_secrets": [""]}]}, "sources"),
        ({"shared_secret": ""}, "shared_secret"),
        ({"payload_format": "xml"}, "payload_format"),
        ({"port": 65536}, "port"),
        ({"port": "8765"}, "port"),
        ({"listen_seconds": -1}, "listen_seconds"),
        ({"retention_days": -1}, "retention_days"),
        ({"max_body_bytes": 10}, "max_body_bytes"),
        ({"max_spool_bytes": 0}, "max_spool_bytes"),
        ({"consumer": ""}, "consumer"),
    ],
)
def test_mistake_is_refused(config: dict[str, Any], reason: str) -> None:
    """Every setting has its limits, and the message names the setting."""
    assert reason in mistakes(**config)


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody has to mend one setting to learn of the next."""
    said = mistakes(port=-1, payload_format="xml", sources=[{"name": "default"}])

    assert "port" in said
    assert "payload_format" in said


def test_refusal_holds_no_secret() -> None:
    """A mistake in a secret setting does not show the secret."""
    said = mistakes(sources=[{"name": "app", "shared_secrets": "not-a-real-secret"}])

    assert "not-a-real-secret" not in said
