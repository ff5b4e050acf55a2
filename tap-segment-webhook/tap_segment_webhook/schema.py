"""The Singer schema of each stream: a fixed envelope, and open objects inside it."""

from __future__ import annotations

from typing import Any, Final

from singer_sdk import typing as th

REPLICATION_KEY: Final = "spool_position"
PRIMARY_KEYS: Final = ("message_id",)

TIMES: Final = ("timestamp", "original_timestamp", "sent_at", "received_at")

_OBJECTS: Final = {
    "context": "What the library knew about the circumstances: page, device, campaign, ip.",
    "integrations": "Which destinations the event was meant for.",
    "extra": (
        "Fields that Segment's spec does not know, and the original of every value that could "
        "not be represented, under the name that Segment gave it."
    ),
}
_OWN_OBJECTS: Final = {
    "properties": "What the event carries.",
    "traits": "What is known about the user or the group.",
}
_OWN: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "alias": (("previous_id", "The id that the user had until now."),),
    "delete": (),
    "group": (("group_id", "The group that the user belongs to."), ("traits", "")),
    "identify": (("traits", ""),),
    "page": (("name", "The page's name."), ("category", "Its category."), ("properties", "")),
    "screen": (("name", "The screen's name."), ("category", "Its category."), ("properties", "")),
    "track": (("event", "What the user did."), ("properties", "")),
}


def own_columns(stream: str) -> tuple[str, ...]:
    """Return the columns that only *stream*, and not every stream, has."""
    return tuple(name for name, _ in _OWN[stream])


def stream_schema(stream: str, payload_format: str) -> dict[str, Any]:
    """Return the JSON Schema of *stream*; *payload_format* as in the settings."""
    strings = payload_format == "json_string"

    def text(name: str, description: str, **options: Any) -> th.Property[Any]:
        return th.Property(name, th.StringType, description=description, **options)

    def time(name: str, description: str) -> th.Property[Any]:
        return th.Property(name, th.DateTimeType, description=description)

    def free(name: str, description: str) -> th.Property[Any]:
        if strings:
            return th.Property(name, th.StringType, description=f"{description} As JSON text.")
        kind = th.ObjectType(additional_properties=True)
        return th.Property(name, kind, description=description)

    own = [
        free(name, _OWN_OBJECTS[name]) if name in _OWN_OBJECTS else text(name, description)
        for name, description in _OWN[stream]
    ]
    return th.PropertiesList(
        text("message_id", "Segment's id of the event; one id, one event.", required=True),
        text("type", "The call: the same as the stream.", required=True),
        text("user_id", "The user's id in your database, absent while anonymous."),
        text("anonymous_id", "The id of a user who is not known yet."),
        text("channel", "Where the call came from: browser, server, mobile."),
        *own,
        free("context", _OBJECTS["context"]),
        free("integrations", _OBJECTS["integrations"]),
        time("timestamp", "When it happened, corrected for the client's clock."),
        time("original_timestamp", "When it happened by the client's clock."),
        time("sent_at", "When the client sent it, by its clock."),
        time("received_at", "When Segment received it, or else the receiver."),
        text("version", "The version of Segment's format."),
        text("project_id", "Segment's id of the source."),
        text("source", "The name of the source in the receiver's settings.", required=True),
        free("extra", _OBJECTS["extra"]),
        th.Property(
            REPLICATION_KEY,
            th.IntegerType,
            required=True,
            description="The event's number in the spool: it only grows and is never used again.",
        ),
    ).to_dict()
