"""The spool on NATS JetStream: replicated, and written by any number of receivers.

One stream holds the events, a message each, and its sequence is their position;
a second one holds the rejects, a bucket of keys and values the books and what
pipelines have confirmed. Needs the extra `nats`.
"""
