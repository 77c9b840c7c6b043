-- What the decisions of all files have in common. They are PL/pgSQL, which keeps the plans of its statements for the life
-- of a connection; in SQL are only those that become a part of the statement that calls them: one expression, or one SELECT
-- that a FROM names, and given nothing volatile. Before Postgres 18 any other is parsed and planned at every call.
-- Time is this server's clock. Durations come in and go out as whole seconds, moments as seconds since 1970: nothing that
-- leaves here depends on the time zone or date style of a session. Functions that the service calls answer with JSON that
-- has an "outcome", and find their tables whatever the search path of a session is (SET search_path FROM CURRENT).

-- Whole seconds from p_now until p_time, at least 1.
CREATE OR REPLACE FUNCTION seconds_until(p_time timestamptz, p_now timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(1, ceil(extract(epoch FROM p_time - p_now)))::integer
$$;

-- A length of time that came in as seconds.
CREATE OR REPLACE FUNCTION seconds(p_seconds text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
  SELECT p_seconds::integer * interval '1 second'
$$;

-- Decisions read what others have just committed, which only READ COMMITTED shows them. Where the database, the role or a
-- pooler makes it something else, nothing is decided: the service sees this code and asks again in a transaction of the
-- right kind (store/client.ts).
CREATE OR REPLACE FUNCTION require_read_committed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'decisions are made in READ COMMITTED only' USING ERRCODE = 'DS001';
  END IF;
END $$;

-- Keeps the account to this transaction, and tells the time from which on nobody else decides about it: one account, one
-- lock, on every replica. The lock is not on a row, which would be written at every try, but in memory.
-- What is locked besides comes after it, in the order of the keys (reserve_text): so nothing deadlocks.
CREATE OR REPLACE FUNCTION lock_account(p_user uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_user, 0));
  RETURN clock_timestamp();
END $$;
