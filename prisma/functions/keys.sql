-- The keys that sign access tokens. Exactly one of all replicas makes, seals anew or forgets one.

-- All keys, newest first: [{id, public_jwk, private_key (hex), secret_id, created_at, active_at, active_in (seconds, negative
-- once it may sign)}].
CREATE OR REPLACE FUNCTION list_signing_keys() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'public_jwk', public_jwk, 'private_key', encode(private_key, 'hex'),
      'secret_id', secret_id, 'created_at', extract(epoch FROM created_at), 'active_at', extract(epoch FROM active_at),
      'active_in', extract(epoch FROM active_at - clock_timestamp())) ORDER BY active_at DESC), '[]')
    FROM signing_keys);
END $$;

-- Adds a signing key that becomes active p_delay seconds from now, unless another is on its way or the newest is
-- younger than p_min_age seconds: true for exactly one of all replicas that ask.
-- p_key: {id, public_jwk, private_key (hex), secret_id}
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
  INSERT INTO signing_keys (id, public_jwk, private_key, secret_id, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', decode(p_key->>'private_key', 'hex'), p_key->>'secret_id', t,
          -- The very first key is needed at once.
          t + CASE WHEN EXISTS (SELECT FROM signing_keys) THEN p_delay ELSE 0 END * interval '1 second');
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- Replaces the ciphertext of a key, unless somebody else has done so.
CREATE OR REPLACE FUNCTION reseal_signing_key(p_id text, p_old_secret text, p_private_key text, p_secret text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE signing_keys SET private_key = decode(p_private_key, 'hex'), secret_id = p_secret WHERE id = p_id AND secret_id = p_old_secret;
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
