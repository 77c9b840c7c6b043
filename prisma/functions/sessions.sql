-- Sessions: how they start, go on and end.

-- A live session, as its user may use it: not ended, not run out, and the account not disabled.
CREATE OR REPLACE FUNCTION live_session(p_session uuid, p_user uuid, p_now timestamptz) RETURNS SETOF sessions LANGUAGE sql STABLE AS $$
  SELECT session.* FROM sessions session JOIN users u ON u.id = session.user_id
  WHERE session.id = p_session AND session.user_id = p_user AND ended_at IS NULL AND expires_at > p_now AND idle_until > p_now
    AND u.disabled_at IS NULL
$$;

-- The session that a challenge's client is; NULL where it is none.
CREATE OR REPLACE FUNCTION session_of(p_client text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(p_client, 'session:') THEN substr(p_client, 9)::uuid END
$$;

-- p_session: {id, amr, acr, remember, user_agent, address, ttl, idle_ttl}; the lives in seconds.
CREATE OR REPLACE FUNCTION insert_session(p_user uuid, p_device uuid, p_session jsonb, p_now timestamptz) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  INSERT INTO sessions (id, user_id, device_id, amr, acr, remember, mailbox_proven, user_agent, address, created_at, authenticated_at,
                        last_used_at, expires_at, idle_until)
  VALUES ((p_session->>'id')::uuid, p_user, p_device, ARRAY(SELECT jsonb_array_elements_text(p_session->'amr')), p_session->>'acr',
    (p_session->>'remember')::boolean, coalesce((p_session->>'mailbox_proven')::boolean, false), p_session->>'user_agent', p_session->>'address', p_now, p_now, p_now,
    p_now + seconds(p_session->>'ttl'), p_now + seconds(p_session->>'idle_ttl'))
  RETURNING * INTO s;
  RETURN s;
END $$;

-- What an answer needs to know of a session: its generation, how and when it was authenticated, and how many seconds its
-- refresh token has left.
CREATE OR REPLACE FUNCTION session_state(s sessions, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', s.id, 'user_id', s.user_id, 'generation', s.generation, 'amr', s.amr, 'acr', s.acr,
    'authenticated_at', floor(extract(epoch FROM s.authenticated_at))::bigint,
    'refresh_expires_in', seconds_until(least(s.expires_at, s.idle_until), p_now));
END $$;

-- The password was right and nothing more is asked: the account has no second factor, or the login came from a device that
-- is trusted (p_trusted). p_keys: the counters that were charged. started (with the session and the device) |
-- untrusted (the device is trusted no longer) | stale (the account has changed)
CREATE OR REPLACE FUNCTION start_session(p_user uuid, p_epoch integer, p_keys bytea[], p_known uuid, p_trusted boolean, p_session jsonb, p_device jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
  d devices;
BEGIN
  IF p_trusted AND NOT EXISTS (SELECT FROM devices WHERE id = p_known AND user_id = p_user AND trusted_until > t) THEN
    RETURN jsonb_build_object('outcome', 'untrusted');
  END IF;
  PERFORM give_back_password(p_keys, p_known, true);
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  d := use_device(p_user, p_known, p_device, p_event, t);
  s := insert_session(p_user, d.id, p_session, t);
  PERFORM record_event(p_event, p_user);
  PERFORM record_device(p_user, d, p_device, p_event);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t));
END $$;

-- What every guarded call and every introspection asks: found (the session, and what its owner may see of the account) |
-- ended.
CREATE OR REPLACE FUNCTION read_session(p_session uuid, p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  RETURN coalesce((
    SELECT jsonb_build_object('outcome', 'found', 'id', s.id, 'user_id', s.user_id, 'device_id', s.device_id, 'email', u.email,
      'email_confirmed', u.email_confirmed_at IS NOT NULL, 'locale', u.locale, 'two_factor', u.two_factor, 'epoch', u.epoch,
      'amr', s.amr, 'acr', s.acr, 'remember', s.remember, 'mailbox_proven', s.mailbox_proven,
      'authenticated_at', floor(extract(epoch FROM s.authenticated_at)),
      'age', extract(epoch FROM t - s.authenticated_at)) || methods_of(u.id)
    FROM live_session(p_session, p_user, t) s JOIN users u ON u.id = s.user_id), '{"outcome": "ended"}');
END $$;

-- What a user has to finish a login with, and the phone that texts go to, if there is one.
CREATE OR REPLACE FUNCTION methods_of(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  methods text[];
  the_phone text;
BEGIN
  SELECT array_agg(DISTINCT method), max(phone) INTO methods, the_phone FROM factors WHERE user_id = p_user;
  IF EXISTS (SELECT FROM recovery_codes WHERE user_id = p_user) THEN
    methods := methods || 'recovery_code'::text;
  END IF;
  RETURN jsonb_build_object('methods', coalesce(methods, '{}'), 'phone', the_phone);
END $$;

-- Somebody who is signed in, to an account without a factor, has given the password once more: the session's new
-- authentication (the session's state, outcome raised) | ended | stale (a factor is there by now, or the account changed).
CREATE OR REPLACE FUNCTION raise_session(p_user uuid, p_session uuid, p_epoch integer, p_level jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
BEGIN
  PERFORM FROM sessions WHERE id = p_session FOR UPDATE;
  SELECT * INTO s FROM live_session(p_session, p_user, t);
  IF s.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch)
    OR EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  UPDATE sessions SET authenticated_at = t, last_used_at = t, acr = p_level->>'acr',
    amr = ARRAY(SELECT jsonb_array_elements_text(p_level->'amr'))
  WHERE id = s.id RETURNING * INTO s;
  PERFORM record_event(p_event, p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'raised');
END $$;

-- Somebody who is signed in has given a wrong password: it counts as a failed proof of a known client, and the fifth of the
-- session within 24 hours ends it. {remaining, ended}; remaining is null where there is no such session any more.
CREATE OR REPLACE FUNCTION fail_proof(p_user uuid, p_session uuid, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
  remaining integer;
BEGIN
  PERFORM FROM sessions WHERE id = p_session FOR UPDATE;
  SELECT * INTO s FROM live_session(p_session, p_user, t);
  PERFORM count_wrong_code(p_user, true, false, t) WHERE s.id IS NOT NULL;
  remaining := count_failed_proof(s, p_event, t);
  IF s.id IS NOT NULL THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN jsonb_build_object('remaining', remaining, 'ended', coalesce(remaining <= 0, true));
END $$;

-- The live sessions of a user, the one used last first.
CREATE OR REPLACE FUNCTION list_sessions(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'device_id', device_id, 'created_at', extract(epoch FROM created_at),
      'last_used_at', extract(epoch FROM last_used_at), 'user_agent', user_agent, 'address', address) ORDER BY last_used_at DESC, id), '[]')
    FROM sessions
    WHERE user_id = p_user AND ended_at IS NULL AND expires_at > clock_timestamp() AND idle_until > clock_timestamp());
END $$;

-- Uses a refresh token of generation p_generation, at most once: one guarded update. The token before the newest is
-- answered with the same successor for p_grace seconds after the rotation (a second tab, a lost reply); any older one, and
-- that one later, is a copy in other hands: the session ends. That it came again from another address is recorded.
-- p_idle_ttl: seconds a remembered session may rest; p_event: of a copy.
-- rotated | within_grace (with the session, and whether it came from "elsewhere") | reused (with its user) | ended
CREATE OR REPLACE FUNCTION rotate_session(p_session uuid, p_generation integer, p_grace integer, p_idle_ttl integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  s sessions;
  is_elsewhere boolean;
BEGIN
  PERFORM require_read_committed();
  UPDATE sessions session SET generation = generation + 1, rotated_at = t, rotated_from = p_event->>'address', last_used_at = t,
    idle_until = CASE WHEN remember THEN t + p_idle_ttl * interval '1 second' ELSE idle_until END
  FROM users u
  WHERE session.id = p_session AND generation = p_generation AND ended_at IS NULL AND expires_at > t AND idle_until > t
    AND u.id = session.user_id AND u.disabled_at IS NULL
  RETURNING session.* INTO s;
  IF FOUND THEN
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'rotated');
  END IF;
  -- Read again after that, by then whoever was faster has committed.
  SELECT live.* INTO s FROM sessions session, live_session(p_session, session.user_id, t) live WHERE session.id = p_session;
  IF s.id IS NULL OR p_generation >= s.generation THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF p_generation = s.generation - 1 AND s.rotated_at > t - p_grace * interval '1 second' THEN
    is_elsewhere := s.rotated_from IS DISTINCT FROM p_event->>'address';
    IF is_elsewhere THEN
      PERFORM record_event(p_event || '{"type": "refresh.repeated", "outcome": "from another address"}', s.user_id);
    END IF;
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'within_grace', 'elsewhere', is_elsewhere);
  END IF;
  UPDATE sessions SET ended_at = t WHERE id = s.id AND ended_at IS NULL;
  IF FOUND THEN
    PERFORM record_event(p_event, s.user_id);
  END IF;
  RETURN jsonb_build_object('outcome', 'reused', 'user_id', s.user_id);
END $$;

-- How many proofs the session that a challenge belongs to may still fail before it ends; NULL for a login, which has none.
CREATE OR REPLACE FUNCTION proofs_left(p_client text, p_now timestamptz) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF session_of(p_client) IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT 5 - count(f) FROM sessions s LEFT JOIN unnest(s.proofs_failed_at) f ON f > p_now - interval '24 hours'
    WHERE s.id = session_of(p_client));
END $$;

-- A failed proof of somebody who is signed in: the fifth of one session within 24 hours ends it. How many it may still fail;
-- NULL for a login, which has no session.
CREATE OR REPLACE FUNCTION count_failed_proof(s sessions, p_event jsonb, p_now timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  recent timestamptz[] := ARRAY(SELECT f FROM unnest(s.proofs_failed_at) f WHERE f > p_now - interval '24 hours') || p_now;
  remaining integer := 5 - cardinality(recent);
BEGIN
  IF s.id IS NULL THEN
    RETURN NULL;
  END IF;
  UPDATE sessions SET proofs_failed_at = recent, ended_at = CASE WHEN cardinality(recent) >= 5 THEN p_now ELSE ended_at END
  WHERE id = s.id;
  IF cardinality(recent) >= 5 THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'session.ended', 'outcome', 'five failed proofs', 'detail', 'session ' || s.id), s.user_id);
  END IF;
  RETURN remaining;
END $$;

-- Ends sessions of one user: the one named, the others, or all. How many were ended.
CREATE OR REPLACE FUNCTION end_sessions(p_user uuid, p_session uuid, p_scope text, p_event jsonb) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  ended integer;
BEGIN
  UPDATE sessions SET ended_at = t
  WHERE user_id = p_user AND ended_at IS NULL AND expires_at > t
    AND CASE p_scope WHEN 'local' THEN id = p_session WHEN 'others' THEN id <> p_session ELSE true END;
  GET DIAGNOSTICS ended = ROW_COUNT;
  IF ended > 0 THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN ended;
END $$;

-- Ends what was begun by a batch of users, those after p_after (NULL: the first), by an operator: sessions, challenges and the trust in
-- devices. An event for each who had something of it; who had nothing is not locked. {users, sessions (how many lived), next (the last
-- user that was looked at, NULL at the end)}
CREATE OR REPLACE FUNCTION end_everything(p_after uuid, p_batch integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  page uuid[] := ARRAY(SELECT id FROM users WHERE id > coalesce(p_after, '00000000-0000-0000-0000-000000000000') ORDER BY id LIMIT p_batch);
  the_user uuid;
  t timestamptz := clock_timestamp();
  user_count integer := 0;
  session_count integer := 0;
BEGIN
  PERFORM require_read_committed();
  FOREACH the_user IN ARRAY page LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM sessions s WHERE s.user_id = the_user AND s.ended_at IS NULL AND s.expires_at > t AND s.idle_until > t)
      AND NOT EXISTS (SELECT FROM challenges c WHERE c.user_id = the_user AND c.superseded_at IS NULL AND c.consumed_at IS NULL AND c.ends_at > t)
      AND NOT EXISTS (SELECT FROM devices d WHERE d.user_id = the_user AND d.trusted_until > t);
    t := lock_account(the_user);
    session_count := session_count + jsonb_array_length(list_sessions(the_user));
    PERFORM end_begun(the_user, NULL, true, t);
    -- Of somebody who was forgotten a moment ago nothing is written.
    IF EXISTS (SELECT FROM users u WHERE u.id = the_user) THEN
      PERFORM record_event(p_event, the_user);
      user_count := user_count + 1;
    END IF;
  END LOOP;
  RETURN jsonb_build_object('outcome', 'ended', 'users', user_count, 'sessions', session_count,
    'next', CASE WHEN cardinality(page) = p_batch THEN page[p_batch] END);
END $$;
