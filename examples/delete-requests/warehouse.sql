-- Deletes from the tables of `collect` what users have asked to be forgotten: all of theirs that
-- happened before they asked. Somebody who comes back later with the same id is kept, and what
-- arrives late is deleted by the next run; so run it after each `collect`.
--
-- Plain SQL, tested on PostgreSQL. BigQuery and MySQL write `delete` in backticks.

DELETE FROM segment.identify WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN (identify.user_id, identify.anonymous_id)
    AND coalesce(identify.timestamp, identify.received_at)
        <= coalesce(request.timestamp, request.received_at)
);

DELETE FROM segment.track WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN (track.user_id, track.anonymous_id)
    AND coalesce(track.timestamp, track.received_at)
        <= coalesce(request.timestamp, request.received_at)
);

DELETE FROM segment.page WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN (page.user_id, page.anonymous_id)
    AND coalesce(page.timestamp, page.received_at)
        <= coalesce(request.timestamp, request.received_at)
);

DELETE FROM segment.screen WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN (screen.user_id, screen.anonymous_id)
    AND coalesce(screen.timestamp, screen.received_at)
        <= coalesce(request.timestamp, request.received_at)
);

DELETE FROM segment."group" WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN ("group".user_id, "group".anonymous_id)
    AND coalesce("group".timestamp, "group".received_at)
        <= coalesce(request.timestamp, request.received_at)
);

DELETE FROM segment.alias WHERE EXISTS (
    SELECT 1 FROM segment."delete" AS request
    WHERE request.user_id IN (alias.user_id, alias.anonymous_id, alias.previous_id)
    AND coalesce(alias.timestamp, alias.received_at)
        <= coalesce(request.timestamp, request.received_at)
);
