"""FastAPI and an asyncpg pool: one PostgreSQL statement per request."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg  # type: ignore[import-untyped]  # it ships no py.typed
from fastapi import FastAPI, HTTPException, Request

from benchmarks.peers import webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TABLE = """
CREATE TABLE IF NOT EXISTS events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    type text NOT NULL,
    payload jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
)
"""
INSERT = """
INSERT INTO events (message_id, type, payload)
SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[])
ON CONFLICT (message_id) DO NOTHING
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a connection pool open while the application runs."""
    async with asyncpg.create_pool(webhook.DATABASE) as pool:
        await pool.execute(TABLE)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, bool]:
    """Answer once the database is open."""
    return {"success": True}


@app.post("/webhook")
async def receive(request: Request) -> dict[str, bool]:
    """Store one delivery; PostgreSQL commits before the answer."""
    body = await request.body()
    if not webhook.is_signed(body, request.headers.get("x-signature", "")):
        raise HTTPException(401)
    await request.app.state.pool.execute(INSERT, *zip(*webhook.rows(body), strict=True))
    return {"success": True}
