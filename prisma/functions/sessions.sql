-- The decisions of sessions, trusted devices and signing keys. The same rules as in the login: one account, one lock,
-- the clock of this server, an "outcome" in every answer.

-- Uses a refresh token of generation p_generation, at most once. The one before the newest is answered with the same
-- successor for p_grace seconds after the rotation (a second tab, a lost reply); any older one, and that one later, is a
-- copy in other hands: the session ends. p_idle_ttl: seconds a remembered session may rest.
-- rotated | within_grace (with the session) | reused (with its user) | ended
CREATE OR REPLACE FUNCTION rotate_session(p_session uuid, p_generation integer, p_grace integer, p_idle_ttl integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  the_user uuid := (SELECT user_id FROM sessions WHERE id = p_session);
  t timestamptz;
  s sessions;
BEGIN
  PERFORM lock_account(the_user);
  t := clock_timestamp();
  SELECT * INTO s FROM live_session(p_session, the_user, t);
  IF s.id IS NULL OR p_generation > s.generation THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF p_generation = s.generation THEN
    UPDATE sessions SET generation = generation + 1, rotated_at = t, last_used_at = t,
      idle_until = CASE WHEN remember THEN t + p_idle_ttl * interval '1 second' ELSE idle_until END
    WHERE id = s.id RETURNING * INTO s;
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'rotated');
  ELSIF p_generation = s.generation - 1 AND s.rotated_at > t - p_grace * interval '1 second' THEN
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'within_grace');
  END IF;
  UPDATE sessions SET ended_at = t WHERE id = s.id;
  PERFORM record_event(p_event, the_user);
  RETURN jsonb_build_object('outcome', 'reused', 'user_id', the_user);
END $$;

-- Ends sessions of one user: the one named, the others, or all. How many were ended.
CREATE OR REPLACE FUNCTION end_sessions(p_user uuid, p_session uuid, p_scope text, p_event jsonb) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
  ended integer;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  UPDATE sessions SET ended_at = t
  WHERE user_id = p_user AND ended_at IS NULL AND expires_at > t
    AND CASE p_scope WHEN 'local' THEN id = p_session WHEN 'others' THEN id <> p_session ELSE true END;
  GET DIAGNOSTICS ended = ROW_COUNT;
  IF ended > 0 THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN ended;
END $$;

-- Counts a failed password against a trusted device, before it is looked at; a success takes it back. Only a device of
-- the account with p_email counts, within its life. charged (id) | locked (retry_after) | unknown
CREATE OR REPLACE FUNCTION charge_device(p_token_hash bytea, p_email text, p_max integer, p_window integer) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  d trusted_devices;
  t timestamptz;
  recent timestamptz[];
BEGIN
  SELECT device.* INTO d FROM trusted_devices device JOIN users u ON u.id = device.user_id
  WHERE device.token_hash = p_token_hash AND u.email = p_email FOR UPDATE OF device;
  t := clock_timestamp();
  IF d.id IS NULL OR d.expires_at <= t THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  recent := ARRAY(SELECT f FROM unnest(d.failed_at) f WHERE f > t - p_window * interval '1 second' ORDER BY f);
  IF cardinality(recent) >= p_max THEN
    RETURN jsonb_build_object('outcome', 'locked',
      'retry_after', seconds_until(recent[cardinality(recent) - p_max + 1] + p_window * interval '1 second', t));
  END IF;
  UPDATE trusted_devices SET failed_at = array_append(recent, t) WHERE id = d.id;
  RETURN jsonb_build_object('outcome', 'charged', 'id', d.id);
END $$;

-- Adds a signing key that becomes active p_delay seconds from now, unless another is on its way or the newest is
-- younger than p_min_age seconds: true for exactly one of all replicas that ask.
-- p_key: {id, public_jwk, private_key (hex), secret_id}
CREATE OR REPLACE FUNCTION add_signing_key(p_key jsonb, p_min_age integer, p_delay integer, p_event jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  t := clock_timestamp();
  IF EXISTS (SELECT FROM signing_keys WHERE active_at > t - p_min_age * interval '1 second') THEN
    RETURN false;
  END IF;
  INSERT INTO signing_keys (id, public_jwk, private_key, secret_id, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', decode(p_key->>'private_key', 'hex'), p_key->>'secret_id', t,
          -- The very first key is needed at once.
          t + CASE WHEN EXISTS (SELECT FROM signing_keys) THEN p_delay ELSE 0 END * interval '1 second');
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;
