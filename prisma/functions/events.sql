-- The one log of events: what is recorded, up to where it can be read without missing what is still to be committed, and how
-- backends read it.

-- Appends one event to the log. Its number comes after the lock, so that whoever reads knows that it may still appear: the
-- lock names the last number given before it, and is held until the event is seen or undone (readable_events). The first
-- lock of a transaction stands for all its events: a purge records a thousand, and the server's table of locks is small.
CREATE OR REPLACE FUNCTION record_event(p_event jsonb, p_user uuid) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF coalesce(current_setting('doorstep.records', true), '') = '' THEN
    PERFORM pg_advisory_xact_lock_shared(event_lock(), (last_event() % 2147483648)::integer);
    -- Undone where the lock is undone: with the transaction, or with the part of it that fails.
    PERFORM set_config('doorstep.records', 'yes', true);
  END IF;
  INSERT INTO audit_events (type, outcome, user_id, factor, address, request_id, detail, actor_type, actor_id)
  VALUES (p_event->>'type', p_event->>'outcome', p_user, p_event->>'factor', p_event->>'address', p_event->>'request_id',
          p_event->>'detail', coalesce(p_event->>'actor_type', 'system'), p_event->>'actor_id');
END $$;

-- The number up to which every event is committed or undone: whoever has read up to there will never find one behind. To be
-- asked before the statement that reads, not within it: its snapshot must be the newer one.
CREATE OR REPLACE FUNCTION readable_events() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  given bigint := last_event();
BEGIN
  -- Who has no lock yet gets a number above `given`. The lock has room for 31 bits of the number before it, whose distance
  -- from `given` is below half of that, either way: it may have been taken after `given` was read, and then hides nothing.
  RETURN least(given, (
    SELECT min(given - CASE WHEN distance < 1073741824 THEN distance ELSE 0 END)
    FROM (SELECT (given - objid::bigint) & 2147483647 AS distance FROM pg_locks
      WHERE locktype = 'advisory' AND classid = event_lock()::oid AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) held));
END $$;

-- The number that was given last; 0: none yet.
CREATE OR REPLACE FUNCTION last_event() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RETURN coalesce(pg_sequence_last_value('audit_events_id_seq'), 0);
END $$;

-- The first half of the name of those locks: the log itself, since a database may have several, each in its schema.
CREATE OR REPLACE FUNCTION event_lock() RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN ('audit_events'::regclass::oid::bigint & 2147483647)::integer;
END $$;

-- An event's number as everybody outside knows it: of one length, so that the later one is the greater text.
CREATE OR REPLACE FUNCTION event_name(p_number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'evt_' || lpad(p_number::text, 19, '0')
$$;

-- The greatest number of an event that is older than p_at, 0 where none is: by halves, since numbers rise with time and there
-- is no index of times, which every login would have to keep. NULL for no time.
CREATE OR REPLACE FUNCTION last_event_before(p_at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
  low bigint := coalesce((SELECT min(id) FROM audit_events), 1) - 1;
  high bigint := coalesce((SELECT max(id) FROM audit_events), 0);
  middle bigint;
  found_id bigint;
  found_at timestamptz;
BEGIN
  WHILE low < high LOOP
    middle := (low + high + 1) / 2;
    SELECT id, at INTO found_id, found_at FROM audit_events WHERE id >= middle ORDER BY id LIMIT 1;
    IF found_at < p_at THEN
      low := found_id;
    ELSE
      high := middle - 1;
    END IF;
  END LOOP;
  RETURN greatest(low, 0);
END $$;

-- What an event was, for those outside. Who was forgotten has no name here but in the event that says so, for as long as
-- backends are still to hear of it (forgotten_users). Before it was recorded who did something, a request meant its user.
CREATE OR REPLACE FUNCTION event_state(e audit_events) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  the_user uuid := e.user_id;
  actor text := coalesce(e.actor_type, CASE WHEN e.request_id IS NULL THEN 'system' ELSE 'user' END);
BEGIN
  IF e.type = 'user.deleted' THEN
    the_user := coalesce((SELECT f.user_id FROM forgotten_users f WHERE f.event_id = e.id), e.user_id);
  END IF;
  RETURN jsonb_build_object('id', event_name(e.id), 'at', extract(epoch FROM e.at), 'type', e.type, 'outcome', e.outcome, 'user_id', the_user,
    'actor', jsonb_build_object('type', actor, 'id', CASE WHEN actor = 'user' THEN the_user::text ELSE e.actor_id END),
    'factor', e.factor, 'address', e.address, 'request_id', e.request_id, 'detail', e.detail);
END $$;

-- A page of the log. p_query: {limit, order (asc | desc), user_id?, type? (a name, or a group: factor.*), after_id?, before_id?,
-- after_at?, before_at? (seconds since 1970), cursor?}; p_event, unless NULL, tells that it was read. {events, next_cursor}.
-- Without a user at most p_query.span numbers are looked through, whatever they hold: the page may then be short, or empty,
-- and the next goes on behind them.
CREATE OR REPLACE FUNCTION read_events(p_query jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  readable bigint;
  the_user uuid := (p_query->>'user_id')::uuid;
  of_type text := p_query->>'type';
  -- Times are shown to the millisecond: later than all that are shown as this one.
  after_at timestamptz := to_timestamp((p_query->>'after_at')::double precision) + interval '1 millisecond';
  before_at timestamptz := to_timestamp((p_query->>'before_at')::double precision);
  is_rising boolean := p_query->>'order' = 'asc';
  most integer := (p_query->>'limit')::integer;
  span bigint := CASE WHEN the_user IS NULL THEN (p_query->>'span')::bigint END;
  low bigint;
  high bigint;
  first_number bigint;
  last_number bigint;
  rows jsonb;
  next bigint;
BEGIN
  PERFORM require_read_committed();
  readable := readable_events();
  -- Times of neighbours may be a moment out of order: a minute more is looked through, and each event by its own time.
  low := greatest((p_query->>'after_id')::bigint, last_event_before(after_at - interval '1 minute'), (SELECT min(id) FROM audit_events) - 1, 0);
  high := least(readable, (p_query->>'before_id')::bigint - 1, last_event_before(before_at + interval '1 minute'));
  IF p_query ? 'cursor' THEN
    IF is_rising THEN
      low := greatest(low, (p_query->>'cursor')::bigint);
    ELSE
      high := least(high, (p_query->>'cursor')::bigint - 1);
    END IF;
  END IF;
  first_number := CASE WHEN is_rising THEN low ELSE greatest(low, high - span) END;
  last_number := CASE WHEN is_rising THEN least(high, low + span) ELSE high END;
  -- Made anew each time: one plan for all would read the whole log for one user.
  EXECUTE format('SELECT coalesce(jsonb_agg(event_state(e) ORDER BY e.id %1$s), ''[]''), %2$s(e.id) FROM (SELECT * FROM audit_events '
    'WHERE id > $1 AND id <= $2 %3$s %4$s %5$s %6$s ORDER BY id %1$s LIMIT $7) e',
    CASE WHEN is_rising THEN 'ASC' ELSE 'DESC' END, CASE WHEN is_rising THEN 'max' ELSE 'min' END,
    CASE WHEN the_user IS NOT NULL THEN 'AND user_id = $3' END,
    CASE WHEN of_type LIKE '%.*' THEN 'AND starts_with(type, left($4, -1))' WHEN of_type IS NOT NULL THEN 'AND type = $4' END,
    CASE WHEN after_at IS NOT NULL THEN 'AND at >= $5' END, CASE WHEN before_at IS NOT NULL THEN 'AND at < $6' END)
  INTO rows, next USING first_number, last_number, the_user, of_type, after_at, before_at, most;
  IF jsonb_array_length(rows) < most THEN
    next := CASE WHEN is_rising AND last_number < high THEN last_number WHEN NOT is_rising AND first_number > low THEN first_number + 1 END;
  END IF;
  IF p_event IS NOT NULL THEN
    -- Of somebody who was forgotten nothing is written.
    PERFORM lock_account(the_user);
    PERFORM record_event(p_event, (SELECT id FROM users WHERE id = the_user));
  END IF;
  RETURN jsonb_build_object('outcome', 'read', 'events', rows, 'next_cursor', event_name(next));
END $$;
