-- The keys that sign access tokens. Exactly one of all replicas makes or forgets one.

-- All keys, newest first: [{id, public_jwk, seals, created_at, active_at, active_in (seconds, negative once it may sign)}].
-- seals: the private half's ciphertexts (hex), by the id of the secret that each is made with.
CREATE OR REPLACE FUNCTION list_signing_keys() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'public_jwk', public_jwk, 'seals', seals,
      'created_at', extract(epoch FROM created_at), 'active_at', extract(epoch FROM active_at),
      'active_in', extract(epoch FROM active_at - clock_timestamp())) ORDER BY active_at DESC), '[]')
    FROM signing_keys);
END $$;

-- Adds a signing key that becomes active p_delay seconds from now, unless another is on its way or the newest is
-- younger than p_min_age seconds: true for exactly one of all replicas that ask.
-- p_key: {id, public_jwk, seals}
CREATE OR REPLACE FUNCTION add_signing_key(p_key jsonb, p_min_age integer, p_delay integer, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz;
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  t := clock_timestamp();
  IF EXISTS (SELECT FROM signing_keys WHERE active_at > t - p_min_age * interval '1 second') THEN
    RETURN false;
  END IF;
  INSERT INTO signing_keys (id, public_jwk, seals, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', p_key->'seals', t,
          -- The very first key is needed at once.
          t + CASE WHEN EXISTS (SELECT FROM signing_keys) THEN p_delay ELSE 0 END * interval '1 second');
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- A key has leaked: all there are go, also one on its way, and p_key signs at once.
CREATE OR REPLACE FUNCTION replace_signing_keys(p_key jsonb, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  DELETE FROM signing_keys;
  INSERT INTO signing_keys (id, public_jwk, seals, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', p_key->'seals', clock_timestamp(), clock_timestamp());
  PERFORM record_event(p_event, NULL);
END $$;

-- Adds seals to those that a key has; none is replaced, since somebody may have no other secret.
CREATE OR REPLACE FUNCTION seal_signing_key(p_id text, p_seals jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE signing_keys SET seals = p_seals || seals WHERE id = p_id;
END $$;

-- Forgets keys whose successor has been active for p_seconds: nothing that they signed is alive. How many.
CREATE OR REPLACE FUNCTION forget_signing_keys(p_seconds integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  forgotten integer;
BEGIN
  DELETE FROM signing_keys old WHERE EXISTS (
    SELECT FROM signing_keys newer
    WHERE newer.active_at > old.active_at AND newer.active_at < clock_timestamp() - p_seconds * interval '1 second');
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END $$;
