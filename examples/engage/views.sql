-- What Segment's Engage (formerly Personas) has sent, as tables: who is in which audience since
-- when, and the values of computed traits. Over the tables of `collect`, on PostgreSQL, with
-- either `payload_format`. Only the first view takes JSON apart; the others are plain SQL.

CREATE SCHEMA IF NOT EXISTS engage;

-- One row for each call that Engage made: what it said, of whom, and when.
--
-- Engage names the computation in `context.personas`, whatever the event is called, and sends a
-- call for each identifier of a profile. An identifier is the user's id, without one the anonymous
-- id; for a computation over accounts, which comes as a group call, the account's.
CREATE OR REPLACE VIEW engage.computation AS
WITH call AS (
    SELECT
        message_id, spool_position, coalesce(timestamp, received_at) AS happened_at,
        user_id, anonymous_id, NULL AS group_id,
        context::jsonb -> 'personas' AS personas, traits::jsonb AS content
    FROM segment.identify
    UNION ALL
    SELECT
        message_id, spool_position, coalesce(timestamp, received_at),
        user_id, anonymous_id, NULL,
        context::jsonb -> 'personas', properties::jsonb
    FROM segment.track
    UNION ALL
    SELECT
        message_id, spool_position, coalesce(timestamp, received_at),
        user_id, anonymous_id, group_id,
        context::jsonb -> 'personas', traits::jsonb
    FROM segment."group"
)
SELECT
    message_id,
    spool_position,
    happened_at,
    CASE
        WHEN group_id IS NOT NULL THEN 'group'
        WHEN user_id IS NOT NULL THEN 'user'
        ELSE 'anonymous'
    END AS id_type,
    coalesce(group_id, user_id, anonymous_id) AS id,
    personas ->> 'space_id' AS space_id,
    personas ->> 'computation_class' AS class,
    personas ->> 'computation_key' AS key,
    content -> (personas ->> 'computation_key') AS value
FROM call
WHERE personas ->> 'computation_key' IS NOT NULL;

-- One row for each time that somebody was in an audience, or in a step of a journey: since when,
-- and until when, null as long as it lasts.
--
-- Decided by the time of the events, and between events of the same time by the order in which
-- they were received; so it does not matter in which order they arrive, nor how often, nor whether
-- the destination gets identify calls, track calls or both. An exit without a known entrance is
-- no row. Journeys write "true" as text; any other value says nothing of membership.
CREATE OR REPLACE VIEW engage.audience_membership AS
WITH said AS (
    SELECT
        space_id, key, id_type, id, happened_at, spool_position,
        CAST(value AS text) IN ('true', '"true"') AS is_member
    FROM engage.computation
    WHERE
        class IN ('audience', 'journey_step')
        AND CAST(value AS text) IN ('true', '"true"', 'false', '"false"')
),
compared AS (
    SELECT
        space_id, key, id_type, id, happened_at, spool_position, is_member,
        lag(is_member, 1, FALSE) OVER (
            PARTITION BY space_id, key, id_type, id ORDER BY happened_at, spool_position
        ) AS was_member
    FROM said
),
changed AS (
    SELECT
        space_id, key, id_type, id, happened_at, is_member,
        lead(happened_at) OVER (
            PARTITION BY space_id, key, id_type, id ORDER BY happened_at, spool_position
        ) AS until
    FROM compared
    WHERE is_member <> was_member
)
SELECT
    space_id,
    key AS audience,
    id_type,
    id,
    happened_at AS member_since,
    until AS left_at
FROM changed
WHERE is_member;

-- One row for each computed trait of somebody: its latest value, as JSON.
CREATE OR REPLACE VIEW engage.computed_trait AS
WITH ranked AS (
    SELECT
        space_id, key, id_type, id, value, happened_at,
        row_number() OVER (
            PARTITION BY space_id, key, id_type, id ORDER BY happened_at DESC, spool_position DESC
        ) AS place
    FROM engage.computation
    WHERE class = 'trait' AND value IS NOT NULL
)
SELECT space_id, key AS trait, id_type, id, value, happened_at AS computed_at
FROM ranked
WHERE place = 1;
