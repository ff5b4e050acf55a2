"""The ceiling: reads the body, answers 200, keeps nothing. What uvicorn itself can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Message = dict[str, Any]

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"16")],
}
END = {"type": "http.response.body", "body": b'{"success":true}'}


async def app(
    _scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer any request once its body is here."""
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(END)
