-- Known devices: clients that have signed in to an account before. Some are trusted: they skip the second factor.

-- The device of a login that is finished: the one it came with (p_known), if it is still there, used once more; otherwise
-- p_device is made, if it has a token. Of more than 20 those go that were never used again, then those not used longest.
-- p_device: {id, token_hash (hex), name, address, user_agent, life, trust, trust_life}; the lives in seconds.
CREATE OR REPLACE FUNCTION use_device(p_user uuid, p_known uuid, p_device jsonb, p_event jsonb, p_now timestamptz) RETURNS devices LANGUAGE plpgsql AS $$
DECLARE
  d devices;
  crowded_out uuid;
  trusts boolean := (p_device->>'trust')::boolean;
BEGIN
  IF p_known IS NOT NULL THEN
    UPDATE devices SET last_used_at = p_now, expires_at = p_now + seconds(p_device->>'life'), address = p_device->>'address',
      user_agent = p_device->>'user_agent', name = coalesce(p_device->>'name', name),
      trusted_until = CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') ELSE trusted_until END
    WHERE id = p_known AND user_id = p_user AND expires_at > p_now RETURNING * INTO d;
  END IF;
  IF d.id IS NOT NULL OR NOT p_device ? 'token_hash' THEN
    RETURN d;
  END IF;
  FOR crowded_out IN SELECT id FROM devices WHERE user_id = p_user ORDER BY last_used_at > created_at DESC, last_used_at DESC OFFSET 19 LOOP
    DELETE FROM devices WHERE id = crowded_out;
    PERFORM record_removed_device(p_user, crowded_out, 'more than twenty', p_event);
  END LOOP;
  INSERT INTO devices (id, user_id, token_hash, name, address, user_agent, created_at, last_used_at, expires_at, trusted_until)
  VALUES ((p_device->>'id')::uuid, p_user, decode(p_device->>'token_hash', 'hex'), p_device->>'name', p_device->>'address',
    p_device->>'user_agent', p_now, p_now, p_now + seconds(p_device->>'life'),
    CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') END)
  RETURNING * INTO d;
  RETURN d;
END $$;

-- A device that nobody has asked to forget is forgotten: why.
CREATE OR REPLACE FUNCTION record_removed_device(p_user uuid, p_device uuid, p_why text, p_event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM record_event(p_event || jsonb_build_object('type', 'device.removed', 'outcome', p_why, 'factor', NULL, 'detail', 'device ' || p_device), p_user);
END $$;

-- What a finished login has changed about its device: it became known, or trusted, or both. One that was known, and nothing
-- asked for, is no event: the session's is enough.
CREATE OR REPLACE FUNCTION record_device(p_user uuid, d devices, p_device jsonb, p_event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF d.id = (p_device->>'id')::uuid THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'device.added', 'outcome', 'by sign-in', 'factor', NULL, 'detail', 'device ' || d.id), p_user);
  END IF;
  IF d.id IS NOT NULL AND (p_device->>'trust')::boolean THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'device.trusted', 'outcome', 'by sign-in', 'factor', NULL, 'detail', 'device ' || d.id), p_user);
  END IF;
END $$;

-- What an answer says of the device: whether it was made for this login, and until when it is trusted, if it is.
CREATE OR REPLACE FUNCTION device_state(d devices, p_device jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('made', d.id IS NOT NULL AND d.id = (p_device->>'id')::uuid,
    'trusted_until', CASE WHEN d.trusted_until > p_now THEN floor(extract(epoch FROM d.trusted_until)) END);
END $$;

-- The devices that a user is known by, the one used last first.
CREATE OR REPLACE FUNCTION list_devices(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', name, 'created_at', extract(epoch FROM created_at),
      'last_used_at', extract(epoch FROM last_used_at), 'address', address, 'user_agent', user_agent,
      'trusted_until', CASE WHEN trusted_until > clock_timestamp() THEN floor(extract(epoch FROM trusted_until)) END) ORDER BY last_used_at DESC, id), '[]')
    FROM devices WHERE user_id = p_user AND expires_at > clock_timestamp() AND failures < 20);
END $$;

-- Forgets a device of a user, and ends its sessions: false if there is none.
CREATE OR REPLACE FUNCTION forget_device(p_user uuid, p_device uuid, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  DELETE FROM devices WHERE id = p_device AND user_id = p_user;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE sessions SET ended_at = t WHERE user_id = p_user AND device_id = p_device AND ended_at IS NULL;
  PERFORM record_event(p_event, p_user);
  RETURN true;
END $$;

-- Names a device of a user anew, or ends its trust; what is NULL stays. What that has changed: trust ended | named | nothing;
-- NULL if there is none.
CREATE OR REPLACE FUNCTION change_device(p_user uuid, p_device uuid, p_name text, p_ends_trust boolean, p_event jsonb) RETURNS text LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  d devices;
  changed text;
BEGIN
  SELECT * INTO d FROM devices WHERE id = p_device AND user_id = p_user AND expires_at > t;
  IF d.id IS NULL THEN
    RETURN NULL;
  END IF;
  changed := CASE WHEN p_ends_trust AND d.trusted_until > t THEN 'trust ended' WHEN p_name <> coalesce(d.name, '') THEN 'named' ELSE 'nothing' END;
  IF changed <> 'nothing' THEN
    UPDATE devices SET name = coalesce(p_name, name), trusted_until = CASE WHEN p_ends_trust THEN NULL ELSE trusted_until END WHERE id = d.id;
    PERFORM record_event(p_event || jsonb_build_object('outcome', changed), p_user);
  END IF;
  RETURN changed;
END $$;
