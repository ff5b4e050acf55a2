"""FastAPI, and one SQLite commit per request, on disk before the answer."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, Request

from benchmarks.peers import webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TABLE = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    received_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
INSERT = "INSERT OR IGNORE INTO events (message_id, type, payload) VALUES (?, ?, ?)"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one connection open while the application runs."""
    connection = sqlite3.connect(webhook.DATABASE)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    app.state.connection = connection
    yield
    connection.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, bool]:
    """Answer once the database is open."""
    return {"success": True}


@app.post("/webhook")
async def receive(request: Request) -> dict[str, bool]:
    """Store one delivery; commit before the answer.

    The commit blocks the event loop. A thread pool in between was slower:
    SQLite has one writer at a time either way.
    """
    body = await request.body()
    if not webhook.is_signed(body, request.headers.get("x-signature", "")):
        raise HTTPException(401)
    connection: sqlite3.Connection = request.app.state.connection
    with connection:
        connection.executemany(INSERT, webhook.rows(body))
    return {"success": True}
