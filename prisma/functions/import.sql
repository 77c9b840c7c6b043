-- Moving in: users of another system, with what they sign in with.

-- Imports users, each by itself: an array with what became of each, in their order. p_rows: [{id, email, external_id, email_confirmed,
-- locale, password_hash, two_factor, disabled, created_at (seconds since 1970), phone (confirmed), totp {id, secret (sealed)}}]:
-- created | exists | external_id_taken | phone_taken
CREATE OR REPLACE FUNCTION import_users(p_rows jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_row jsonb;
  outcomes jsonb := '[]';
BEGIN
  PERFORM require_read_committed();
  -- One import at a time, and its phones in the order of their keys before a row is written: so nothing deadlocks.
  PERFORM pg_advisory_xact_lock(hashtextextended('import', 0));
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('phone:' || (value->>'phone'), 0) AS key FROM jsonb_array_elements(p_rows)
    WHERE value->>'phone' IS NOT NULL ORDER BY key) phones;
  FOR the_row IN SELECT value FROM jsonb_array_elements(p_rows) WITH ORDINALITY ORDER BY ordinality LOOP
    outcomes := outcomes || to_jsonb(import_user(the_row, p_event));
  END LOOP;
  RETURN outcomes;
END $$;

-- What is taken by now of what users would bring along (p_rows, as above), without anything being written, in their order:
-- [{email, external_id, phone_places (how many users may still have the phone)}].
CREATE OR REPLACE FUNCTION foresee_import(p_rows jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object(
      'email', EXISTS (SELECT FROM users WHERE email = value->>'email'),
      'external_id', EXISTS (SELECT FROM users WHERE external_id = value->>'external_id'),
      'phone_places', phone_places(value->>'phone', NULL)) ORDER BY ordinality)
    FROM jsonb_array_elements(p_rows) WITH ORDINALITY);
END $$;

-- One of them. Whoever is there already stays as he is.
CREATE OR REPLACE FUNCTION import_user(p_row jsonb, p_event jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz := clock_timestamp();
  new_id uuid := (p_row->>'id')::uuid;
BEGIN
  IF EXISTS (SELECT FROM users WHERE email = p_row->>'email') THEN
    RETURN 'exists';
  ELSIF EXISTS (SELECT FROM users WHERE external_id = p_row->>'external_id') THEN
    RETURN 'external_id_taken';
  ELSIF p_row->>'phone' IS NOT NULL AND phone_is_taken(p_row->>'phone', NULL) THEN
    RETURN 'phone_taken';
  END IF;
  INSERT INTO users (id, email, external_id, email_confirmed_at, locale, password_hash, password_state, two_factor, disabled_at, created_at)
  VALUES (new_id, p_row->>'email', p_row->>'external_id', CASE WHEN (p_row->>'email_confirmed')::boolean THEN t END, p_row->>'locale',
    p_row->>'password_hash', CASE WHEN p_row->>'password_hash' IS NULL THEN 'none' ELSE 'imported' END, p_row->>'two_factor',
    CASE WHEN (p_row->>'disabled')::boolean THEN t END, coalesce(to_timestamp((p_row->>'created_at')::double precision), t))
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    -- Made by somebody else at this moment.
    RETURN CASE WHEN EXISTS (SELECT FROM users WHERE email = p_row->>'email') THEN 'exists' ELSE 'external_id_taken' END;
  END IF;
  IF p_row->>'phone' IS NOT NULL THEN
    PERFORM put_factor(new_id, jsonb_build_object('method', 'sms', 'phone', p_row->'phone'), false, t);
  END IF;
  IF p_row->'totp'->>'id' IS NOT NULL THEN
    PERFORM put_factor(new_id, jsonb_build_object('id', p_row->'totp'->'id', 'method', 'totp',
      'data', jsonb_build_object('secret', p_row->'totp'->'secret')), false, t);
  END IF;
  PERFORM record_event(p_event, new_id);
  RETURN 'created';
END $$;
