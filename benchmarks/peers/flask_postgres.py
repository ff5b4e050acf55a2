"""Flask under gunicorn threads, a psycopg connection for each: one statement per request."""

from __future__ import annotations

import threading

import psycopg
from flask import Flask, abort, request

from benchmarks.peers import webhook

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
SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[])
ON CONFLICT (message_id) DO NOTHING
"""


class Connections(threading.local):
    """One connection for each thread that asks."""

    def __init__(self) -> None:
        self.own = psycopg.connect(webhook.DATABASE, autocommit=True)


def create_app() -> Flask:
    """Return the application, its table created."""
    app = Flask(__name__)
    connections = Connections()
    connections.own.execute(TABLE)

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"success": True}

    @app.post("/webhook")
    def receive() -> dict[str, bool]:
        body = request.get_data()
        if not webhook.is_signed(body, request.headers.get("X-Signature", "")):
            abort(401)
        columns = [list(column) for column in zip(*webhook.rows(body), strict=True)]
        connections.own.execute(INSERT, columns)
        return {"success": True}

    return app
