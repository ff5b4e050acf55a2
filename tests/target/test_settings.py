"""A mistake in the settings is found at the start, and told with all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.segment import KEY
from singer_sdk.exceptions import ConfigValidationError
from target_segment_api.identity import namespace_of
from target_segment_api.settings import Settings
from target_segment_api.target import TargetSegmentApi


def settings(**config: Any) -> Settings:
    """Return the settings of *config*, defaults filled in."""
    return Settings.from_config(TargetSegmentApi(config={"write_key": KEY, **config}).config)


def mistakes(**config: Any) -> str:
    """Return what is said about *config*, which must be refused."""
    with pytest.raises(ConfigValidationError) as error:
        TargetSegmentApi(config={"write_key": KEY, **config})
    return "\n".join([str(error.value), *error.value.errors])


def test_defaults_are_those_of_the_documentation() -> None:
    """Nothing but the write key has to be set."""
    assert settings() == Settings(
        write_key=KEY,
        region="us",
        endpoint="https://api.segment.io/v1",
        settings_url=f"https://cdn.segment.com/v1/projects/{KEY}/settings",
        strict_parity=False,
        changes_path=None,
        max_batch_events=225,
        max_batch_bytes=475_000,
        max_event_bytes=32_000,
        concurrency=8,
        max_events_per_second=1000,
        on_unmapped="warn",
        on_invalid="reject",
        max_rejects=1000,
        check_write_key="fail",
        rejects_path=Path("segment-rejects.jsonl"),
        receipts_path=None,
        message_id="derive",
        namespace=namespace_of(KEY),
        compression=True,
        retry_for_seconds=900,
        timeout_seconds=15,
        max_events=None,
        max_new_users=None,
        dry_run=False,
    )


def test_write_key_is_the_only_secret() -> None:
    """What must not be shown is known to be secret by whoever shows settings."""
    properties = TargetSegmentApi.config_jsonschema["properties"]

    assert {name for name, schema in properties.items() if schema.get("secret")} == {"write_key"}


@pytest.mark.parametrize(
    ("config", "endpoint", "settings_url"),
    [
        ({"region": "us"}, "https://api.segment.io/v1", "https://cdn.segment.com/v1"),
        ({"region": "eu"}, "https://events.eu1.segmentapis.com/v1", "https://cdn.segment.com/v1"),
        ({"endpoint": "http://127.0.0.1:8765/v1"}, "http://127.0.0.1:8765/v1", None),
        ({"endpoint": "https://x.example/a/v1/", "region": "eu"}, "https://x.example/a/v1", None),
    ],
)
def test_endpoint_is_that_of_the_region_or_the_given_one(
    config: dict[str, str], endpoint: str, settings_url: str | None
) -> None:
    """Both regions have one settings URL; another endpoint is asked about the key itself."""
    found = settings(**config)

    assert found.endpoint == endpoint
    assert found.settings_url == f"{settings_url or endpoint}/projects/{KEY}/settings"
    assert found.region == (None if "endpoint" in config else config["region"])


def test_namespace_can_outlive_a_write_key() -> None:
    """With a namespace of one's own, ids stay the same when the key is rotated."""
    assert settings(message_id_namespace="shop").namespace == "shop"
    assert settings().namespace != settings(write_key=f"{KEY}2").namespace


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"region": "asia"}, "region"),
        ({"endpoint": "https://api.segment.io"}, "endpoint"),
        ({"endpoint": "api.segment.io/v1"}, "endpoint"),
        ({"endpoint": "ftp://api.segment.io/v1"}, "endpoint"),
        ({"max_batch_events": 0}, "max_batch_events"),
        ({"max_batch_events": 2501}, "max_batch_events"),
        ({"max_batch_bytes": 500_001}, "max_batch_bytes"),
        ({"max_event_bytes": 32_769}, "max_event_bytes"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 65}, "concurrency"),
        ({"max_events_per_second": -1}, "max_events_per_second"),
        ({"on_unmapped": "ignore"}, "on_unmapped"),
        ({"on_invalid": "send"}, "on_invalid"),
        ({"max_rejects": -1}, "max_rejects"),
        ({"check_write_key": True}, "check_write_key"),
        ({"rejects_path": ""}, "rejects_path"),
        ({"message_id": "random"}, "message_id"),
        ({"message_id_namespace": ""}, "message_id_namespace"),
        ({"retry_for_seconds": -1}, "retry_for_seconds"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"max_events": 0}, "max_events"),
        ({"max_new_users": 0}, "max_new_users"),
        ({"dry_run": "no"}, "dry_run"),
    ],
)
def test_mistake_is_refused(config: dict[str, Any], reason: str) -> None:
    """Every setting has its limits, and the message names the setting."""
    assert reason in mistakes(**config)


def test_largest_event_has_to_fit_into_a_batch() -> None:
    """An event that is allowed can always be sent."""
    assert settings(max_event_bytes=988, max_batch_bytes=1000).max_event_bytes == 988

    said = mistakes(max_event_bytes=989, max_batch_bytes=1000)
    assert "max_event_bytes (989) does not fit into max_batch_bytes (1,000)" in said


@pytest.mark.parametrize("path", ["r.jsonl", "./r.jsonl", str(Path.cwd() / "r.jsonl")])
def test_rejects_and_receipts_need_a_file_each(path: str) -> None:
    """Two kinds of lines in one file could be told apart by nobody."""
    assert "are the same file" in mistakes(rejects_path="r.jsonl", receipts_path=path)


@pytest.mark.parametrize(
    "key", ["a b", "key\n", "key\r", "user:key", "a/b", "a?b", "a#b", "schlüssel", "☕", "a\0"]
)
def test_write_key_that_cannot_be_one_is_refused(key: str) -> None:
    """What was copied wrongly is said at once, and not shown."""
    said = mistakes(write_key=key)

    assert "write_key holds a character that no write key has" in said
    assert key not in said


@pytest.mark.parametrize(
    "key", [None, 1234567890, True, ["secret-1234567890"], {"a": "secret-1234567890"}, ""]
)
def test_wrong_write_key_is_never_quoted(key: Any) -> None:
    """A mistake in the secret does not show the secret."""
    said = mistakes(write_key=key, concurrency=0)

    assert "write_key" in said
    assert "1234567890" not in said
    assert "concurrency" in said


def test_missing_write_key_is_named() -> None:
    """Without a key there is nobody to send to."""
    with pytest.raises(ConfigValidationError) as error:
        TargetSegmentApi(config={})

    assert "'write_key' is a required property" in "\n".join(error.value.errors)


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody has to mend one setting to learn of the next."""
    said = mistakes(region="asia", concurrency=0, write_key=5)
    assert "region" in said
    assert "concurrency" in said
    assert "write_key" in said

    said = mistakes(write_key="a b", receipts_path="segment-rejects.jsonl")
    assert "write_key" in said
    assert "receipts_path" in said


def test_settings_of_targets_that_load_tables_are_not_offered() -> None:
    """A setting that would do nothing is not there."""
    properties = TargetSegmentApi.config_jsonschema["properties"]

    assert not {"add_record_metadata", "batch_size_rows", "load_method"} & properties.keys()
