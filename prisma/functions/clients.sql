-- Clients: the backends that may call what people may not. Made, rotated and disabled at the command line only.

-- A new client and its first secret. p_client: {id, name, scopes, networks, expires_at (seconds since 1970)}.
CREATE OR REPLACE FUNCTION create_client(p_client jsonb, p_hash bytea, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  INSERT INTO clients (id, name, scopes, networks, created_at, expires_at)
  VALUES (p_client->>'id', p_client->>'name', ARRAY(SELECT jsonb_array_elements_text(p_client->'scopes')),
    ARRAY(SELECT jsonb_array_elements_text(p_client->'networks')), t, to_timestamp((p_client->>'expires_at')::double precision));
  INSERT INTO client_secrets (secret_hash, client_id, created_at) VALUES (p_hash, p_client->>'id', t);
  PERFORM record_event(p_event, NULL);
END $$;

-- Whom a secret (its hash) stands for, asked at every call: accepted (id, scopes) | refused (why, for the records alone). Whatever is
-- wrong, the same statements run. That it was used is written once an hour, by whoever is first. p_address: NULL where it cannot
-- be read, which is in no network.
CREATE OR REPLACE FUNCTION use_client(p_id text, p_hash bytea, p_address text) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  c clients;
  refusal text;
BEGIN
  SELECT client.* INTO c FROM client_secrets s JOIN clients client ON client.id = s.client_id
  WHERE s.secret_hash = p_hash AND s.client_id = p_id AND (s.expires_at IS NULL OR s.expires_at > t);
  refusal := CASE
    WHEN c.id IS NULL THEN 'wrong id or secret'
    WHEN c.disabled_at IS NOT NULL THEN 'disabled'
    WHEN c.expires_at <= t THEN 'expired'
    WHEN cardinality(c.networks) > 0 AND NOT coalesce(p_address::inet <<= ANY (c.networks::inet[]), false) THEN 'wrong network' END;
  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'refused', 'reason', refusal);
  END IF;
  UPDATE clients SET last_used_at = t WHERE id = c.id AND (last_used_at IS NULL OR last_used_at <= t - interval '1 hour');
  RETURN jsonb_build_object('outcome', 'accepted', 'id', c.id, 'scopes', c.scopes);
END $$;

-- One more secret; the newest of those before it works for another 24 hours, older ones no more: rotated (old_expires_at) | unknown |
-- disabled
CREATE OR REPLACE FUNCTION rotate_client(p_id text, p_hash bytea, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz;
  c clients;
BEGIN
  PERFORM require_read_committed();
  SELECT * INTO c FROM clients WHERE id = p_id FOR UPDATE;
  t := clock_timestamp();
  IF c.id IS NULL OR c.disabled_at IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', CASE WHEN c.id IS NULL THEN 'unknown' ELSE 'disabled' END);
  END IF;
  DELETE FROM client_secrets WHERE client_id = p_id AND expires_at IS NOT NULL;
  UPDATE client_secrets SET expires_at = t + interval '24 hours' WHERE client_id = p_id;
  INSERT INTO client_secrets (secret_hash, client_id, created_at) VALUES (p_hash, p_id, t);
  PERFORM record_event(p_event, NULL);
  RETURN jsonb_build_object('outcome', 'rotated', 'old_expires_at', extract(epoch FROM t + interval '24 hours'));
END $$;

-- No secret of the client works from now on: false if there is no such client.
CREATE OR REPLACE FUNCTION disable_client(p_id text, p_event jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE clients SET disabled_at = coalesce(disabled_at, clock_timestamp()) WHERE id = p_id;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- All clients, the oldest first, with when their secrets were made and run out.
CREATE OR REPLACE FUNCTION list_clients() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'name', c.name, 'scopes', c.scopes, 'networks', c.networks,
      'created_at', extract(epoch FROM c.created_at), 'expires_at', extract(epoch FROM c.expires_at),
      'disabled_at', extract(epoch FROM c.disabled_at), 'last_used_at', extract(epoch FROM c.last_used_at),
      'secrets', (SELECT coalesce(jsonb_agg(jsonb_build_object('created_at', extract(epoch FROM s.created_at),
          'expires_at', extract(epoch FROM s.expires_at)) ORDER BY s.created_at), '[]')
        FROM client_secrets s WHERE s.client_id = c.id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())))
      ORDER BY c.created_at, c.id), '[]')
    FROM clients c);
END $$;
