-- Second factors: proven ones, how they come, change and go.

CREATE OR REPLACE FUNCTION base64url(p_bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT translate(rtrim(encode(p_bytes, 'base64'), '='), E'+/\n', '-_')
$$;

-- A user as the login sees it, with the factors that can finish it; secrets of factors stay here.
CREATE OR REPLACE FUNCTION account_state(u users) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', u.id, 'email', u.email, 'locale', u.locale, 'password_hash', u.password_hash, 'two_factor', u.two_factor,
    'epoch', u.epoch, 'disabled', u.disabled_at IS NOT NULL, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
    'password_state', u.password_state, 'email_codes_off', u.email_codes_off, 'user_handle', base64url(u.handle),
    'factors', (SELECT coalesce(jsonb_agg(factor_state(f) #- '{data,secret}'), '[]') FROM factors f WHERE f.user_id = u.id),
    'recovery_codes', (SELECT count(*) FROM recovery_codes r WHERE r.user_id = u.id));
END $$;

CREATE OR REPLACE FUNCTION factor_state(f factors) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', f.id, 'method', f.method, 'name', f.name, 'phone', f.phone, 'credential_id', base64url(f.credential_id),
    'counter', f.counter, 'data', f.data, 'created_at', extract(epoch FROM f.created_at), 'last_used_at', extract(epoch FROM f.last_used_at));
END $$;

-- What a user has to finish a login with, the oldest first, and the recovery codes that are left.
CREATE OR REPLACE FUNCTION list_factors(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_build_object(
    'factors', (SELECT coalesce(jsonb_agg(factor_state(f) #- '{data,secret}' ORDER BY f.created_at, f.id), '[]') FROM factors f WHERE f.user_id = u.id),
    'recovery_codes', (SELECT CASE WHEN count(*) > 0 THEN jsonb_build_object('remaining', count(*), 'created_at', extract(epoch FROM min(created_at)),
        'last_used_at', extract(epoch FROM max(last_used_at))) END
      FROM recovery_codes r WHERE r.user_id = u.id),
    'user_handle', base64url(u.handle), 'email_confirmed', u.email_confirmed_at IS NOT NULL)
    FROM users u WHERE u.id = p_user);
END $$;

-- Begins to set up a factor: for a session (fresh, as its caller has seen to while the account was in p_parent's epoch), or in a
-- login that must (p_parent: {session, epoch, challenge}). One that was begun before it in the same session or login ends. What
-- is sent goes to nobody who is known: a number that is not confirmed counts as a stranger's. p_challenge: {id, setup (hex)};
-- p_policy: with enrolments_day. opened (as open_challenge) | invalid | stale | conflict | too_many | what refuses the message
CREATE OR REPLACE FUNCTION begin_enrolment(p_user uuid, p_parent jsonb, p_challenge jsonb, p_candidate jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  parent challenges;
  s sessions;
  the_client text;
  c challenges;
  refusal jsonb;
  message bigint;
  message_refusal text;
  message_retry_after integer;
  message_spend text;
BEGIN
  SELECT * INTO parent FROM pending_challenge((p_parent->>'challenge')::uuid, p_user, 'must_enrol', t);
  SELECT * INTO s FROM live_session((p_parent->>'session')::uuid, p_user, t);
  IF p_parent->>'challenge' IS NOT NULL AND parent.id IS NULL OR p_parent->>'session' IS NOT NULL AND s.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  ELSIF s.id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = (p_parent->>'epoch')::integer) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  -- What a session has let begin ends with it, however many steps it takes.
  the_client := CASE WHEN s.id IS NOT NULL THEN 'session:' || s.id WHEN session_of(parent.client) IS NOT NULL THEN parent.client
    ELSE 'login:' || parent.id END;
  -- All that a text is counted by, in its order, before a phone is looked at: so nothing deadlocks.
  PERFORM lock_text(p_candidate->'text') WHERE p_candidate->>'sends' = 'sms';
  refusal := refusal_of_enrolment(p_user, p_candidate, p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF p_candidate->>'sends' IS NOT NULL THEN
    SELECT * INTO message, message_refusal, message_retry_after, message_spend
    FROM reserve_message(p_user, (p_challenge->>'id')::uuid, false, p_candidate, t);
    IF message IS NULL THEN
      RETURN jsonb_build_object('outcome', message_refusal, 'retry_after', message_retry_after);
    END IF;
  END IF;
  UPDATE challenges SET superseded_at = t WHERE user_id = p_user AND purpose = 'enrol' AND client = the_client AND superseded_at IS NULL;
  INSERT INTO challenges (id, user_id, purpose, client, known, device_id, method, begun, parent_id, setup, created_at, ends_at)
  VALUES ((p_challenge->>'id')::uuid, p_user, 'enrol', the_client, s.id IS NOT NULL OR parent.known, coalesce(s.device_id, parent.device_id),
    p_candidate->>'method', ARRAY[p_candidate->>'method'], parent.id, decode(p_challenge->>'setup', 'hex'), t, t + seconds(p_policy->>'challenge_ttl'))
  RETURNING * INTO c;
  IF message IS NOT NULL THEN
    PERFORM note_sent(c, p_candidate, message, p_policy, t);
  END IF;
  PERFORM record_event(p_event || jsonb_build_object('factor', c.method), p_user);
  RETURN challenge_state(c, p_policy, t) || jsonb_build_object('outcome', 'opened', 'message_id', message, 'channel', p_candidate->'sends', 'spend', message_spend);
END $$;

-- Why no factor like this can be set up now: conflict (ten passkeys, a phone that serves three) | too_many in 24 hours |
-- sms_limit_reached (three texts to new numbers in 24 hours); NULL if it can.
CREATE OR REPLACE FUNCTION refusal_of_enrolment(p_user uuid, p_candidate jsonb, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  begun timestamptz[] := ARRAY(
    SELECT created_at FROM challenges WHERE user_id = p_user AND purpose = 'enrol' AND created_at > p_now - interval '24 hours' ORDER BY created_at DESC);
  most integer := (p_policy->>'enrolments_day')::integer;
BEGIN
  IF is_taken(p_user, p_candidate->>'method', p_candidate->'text'->>'phone', NULL, (p_candidate->>'at_most')::integer) THEN
    RETURN jsonb_build_object('outcome', 'conflict');
  ELSIF cardinality(begun) >= most THEN
    RETURN jsonb_build_object('outcome', 'too_many', 'retry_after', seconds_until(begun[most] + interval '24 hours', p_now));
  END IF;
  RETURN refusal_of_new_number(p_user, p_candidate, p_now);
END $$;

-- Why no further text goes to a number that is not confirmed, the first or the same code again: three did in 24 hours. Those
-- that certainly did not go, and those that tell the old number, are none of them. NULL if one may go.
CREATE OR REPLACE FUNCTION refusal_of_new_number(p_user uuid, p_candidate jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  texted timestamptz[] := ARRAY(
    SELECT m.reserved_at FROM sms_messages m JOIN challenges c ON c.id = m.challenge_id
    WHERE m.user_id = p_user AND c.purpose = 'enrol' AND NOT m.known AND m.state <> 'refused' AND m.reserved_at > p_now - interval '24 hours'
    ORDER BY m.reserved_at DESC);
BEGIN
  IF p_candidate->>'sends' = 'sms' AND cardinality(texted) >= 3 THEN
    RETURN jsonb_build_object('outcome', 'sms_limit_reached', 'retry_after', seconds_until(texted[3] + interval '24 hours', p_now));
  END IF;
  RETURN NULL;
END $$;

-- Whether a factor cannot be this user's: there are as many of its method as may be (p_most), its phone serves three others,
-- its credential is somebody's, or was until somebody else may have removed it: without attestation anybody can claim one.
CREATE OR REPLACE FUNCTION is_taken(p_user uuid, p_method text, p_phone text, p_credential bytea, p_most integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN (p_most > 1 AND (SELECT count(*) FROM factors WHERE user_id = p_user AND method = p_method) >= p_most)
    OR (p_phone IS NOT NULL AND phone_is_taken(p_phone, p_user))
    OR (p_credential IS NOT NULL AND (EXISTS (SELECT FROM factors WHERE credential_id = p_credential)
      OR EXISTS (SELECT FROM account_changes WHERE kind = 'factor_removed' AND was->>'credential_id' = p_credential::text)));
END $$;

-- A factor is proven: it counts from now on. One of the same method is replaced, unless its user may have several
-- (at_most): then other sessions and the trust in devices end. With the first factor come the recovery codes. Challenges end.
-- {recovery_issued, replaced, notice_text?} or {outcome: conflict}. "notice_text": tells the number that was replaced.
CREATE OR REPLACE FUNCTION add_factor(c challenges, p_session uuid, p_new jsonb, p_proof jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  is_first boolean := NOT EXISTS (SELECT FROM factors WHERE user_id = c.user_id AND p_policy->'factors' ? method);
  before factors;
  replaces boolean;
  result jsonb;
BEGIN
  IF is_taken(c.user_id, p_new->>'method', p_new->>'phone', decode(p_new->>'credential_id', 'hex'), (p_new->>'at_most')::integer) THEN
    RETURN jsonb_build_object('outcome', 'conflict');
  END IF;
  before := put_factor(c.user_id, p_new, true, p_now);
  replaces := before.id IS NOT NULL;
  result := jsonb_build_object('recovery_issued', is_first, 'replaced', replaces);
  IF is_first THEN
    PERFORM put_recovery_codes(c.user_id, p_proof->'fresh_recovery', true, p_now);
  END IF;
  PERFORM end_begun(c.user_id, CASE WHEN replaces THEN p_session END, replaces, p_now);
  p_event := p_event || jsonb_build_object('type', CASE WHEN replaces THEN 'factor.replaced' ELSE 'factor.added' END, 'outcome', p_new->>'method');
  PERFORM record_event(p_event, c.user_id);
  PERFORM tell(c.user_id, p_event->>'type', jsonb_build_object('method', p_new->>'method', 'name', p_new->>'name'), false, p_policy, p_event, p_now);
  IF before.phone <> p_new->>'phone' THEN
    INSERT INTO sms_messages AS m (user_id, challenge_id, known, phone, prefix, address, reserved_at, state)
    VALUES (c.user_id, c.id, true, before.phone, left(before.phone, -4), '', p_now, 'finished')
    RETURNING result || jsonb_build_object('notice_text', jsonb_build_object('message_id', m.id, 'phone', before.phone)) INTO result;
  END IF;
  RETURN result;
END $$;

-- Stores a factor in place of the one of its method, unless its user may have several; p_keeps: the old one can be had back for
-- a while. p_new: {id, method, name, phone, credential_id (hex), counter, data, at_most}. The old one, if there was one.
CREATE OR REPLACE FUNCTION put_factor(p_user uuid, p_new jsonb, p_keeps boolean, p_now timestamptz) RETURNS factors LANGUAGE plpgsql AS $$
DECLARE
  old factors;
  new_id uuid;
BEGIN
  IF coalesce((p_new->>'at_most')::integer, 1) = 1 THEN
    DELETE FROM factors WHERE user_id = p_user AND method = p_new->>'method' RETURNING * INTO old;
    IF FOUND AND p_keeps THEN
      INSERT INTO account_changes (user_id, at, kind, was) VALUES (p_user, p_now, 'factor_removed', to_jsonb(old));
    END IF;
  END IF;
  INSERT INTO factors (id, user_id, method, name, phone, credential_id, counter, data, created_at, last_used_at)
  VALUES (coalesce((p_new->>'id')::uuid, gen_random_uuid()), p_user, p_new->>'method', p_new->>'name', p_new->>'phone', decode(p_new->>'credential_id', 'hex'),
    coalesce((p_new->>'counter')::bigint, 0), coalesce(p_new->'data', '{}'), p_now, CASE WHEN p_keeps THEN p_now END)
  RETURNING id INTO new_id;
  IF p_keeps THEN
    INSERT INTO account_changes (user_id, at, kind, was) VALUES (p_user, p_now, 'factor_added', jsonb_build_object('id', new_id));
  END IF;
  RETURN old;
END $$;

-- Stores recovery codes in place of the old ones, which can be had back for a while where p_keeps says so. p_macs: hex.
CREATE OR REPLACE FUNCTION put_recovery_codes(p_user uuid, p_macs jsonb, p_keeps boolean, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM drop_recovery_codes(p_user, p_keeps, p_now);
  INSERT INTO recovery_codes (user_id, mac, created_at) SELECT p_user, decode(value, 'hex'), p_now FROM jsonb_array_elements_text(p_macs);
END $$;

CREATE OR REPLACE FUNCTION drop_recovery_codes(p_user uuid, p_keeps boolean, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_keeps THEN
    INSERT INTO account_changes (user_id, at, kind, was)
    SELECT p_user, p_now, 'recovery_codes', jsonb_agg(to_jsonb(r)) FROM recovery_codes r WHERE user_id = p_user HAVING count(*) > 0;
  END IF;
  DELETE FROM recovery_codes WHERE user_id = p_user;
END $$;

-- What was begun before a factor changed ends: challenges and, where one was replaced or removed (p_ends), all sessions but
-- p_session and the trust in devices.
CREATE OR REPLACE FUNCTION end_begun(p_user uuid, p_session uuid, p_ends boolean, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE users SET epoch = epoch + 1 WHERE id = p_user;
  UPDATE challenges SET superseded_at = p_now WHERE user_id = p_user AND consumed_at IS NULL AND superseded_at IS NULL;
  IF p_ends THEN
    UPDATE sessions SET ended_at = p_now WHERE user_id = p_user AND ended_at IS NULL AND id IS DISTINCT FROM p_session;
    UPDATE devices SET trusted_until = NULL WHERE user_id = p_user AND trusted_until IS NOT NULL;
  END IF;
END $$;

-- Names a factor anew: the factor, or NULL if its user has none with this id.
CREATE OR REPLACE FUNCTION rename_factor(p_user uuid, p_factor uuid, p_name text) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  f factors;
BEGIN
  PERFORM lock_account(p_user);
  UPDATE factors SET name = p_name WHERE id = p_factor AND user_id = p_user RETURNING * INTO f;
  RETURN CASE WHEN f.id IS NOT NULL THEN factor_state(f) #- '{data,secret}' END;
END $$;

-- Takes a factor away, and with the last one the recovery codes. p_policy: "factors", the methods that count as one.
-- removed | last_factor (the account's policy wants one) | unknown | ended (the session)
CREATE OR REPLACE FUNCTION remove_factor(p_user uuid, p_session uuid, p_factor uuid, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  f factors;
  is_last boolean;
BEGIN
  SELECT * INTO f FROM factors WHERE id = p_factor AND user_id = p_user;
  IF f.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  ELSIF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  END IF;
  is_last := NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND id <> f.id AND p_policy->'factors' ? method);
  IF is_last AND p_policy->'factors' ? f.method AND EXISTS (SELECT FROM users WHERE id = p_user AND two_factor = 'required') THEN
    RETURN jsonb_build_object('outcome', 'last_factor');
  END IF;
  DELETE FROM factors WHERE id = f.id;
  INSERT INTO account_changes (user_id, at, kind, was) VALUES (p_user, t, 'factor_removed', to_jsonb(f));
  IF is_last THEN
    PERFORM drop_recovery_codes(p_user, true, t);
  END IF;
  PERFORM end_begun(p_user, p_session, true, t);
  p_event := p_event || jsonb_build_object('factor', f.method);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'factor.removed', jsonb_build_object('method', f.method, 'name', f.name), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'removed', 'method', f.method);
END $$;

-- New recovery codes, next to a factor only; the old ones are dead. p_epoch: of the account, as the session was found fresh.
-- renewed | conflict | stale | ended (the session)
CREATE OR REPLACE FUNCTION renew_recovery_codes(p_user uuid, p_session uuid, p_epoch integer, p_macs jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  IF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  ELSIF NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    RETURN jsonb_build_object('outcome', 'conflict');
  END IF;
  PERFORM put_recovery_codes(p_user, p_macs, true, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'recovery_codes.renewed', jsonb_build_object('remaining', jsonb_array_length(p_macs)), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'renewed');
END $$;

-- All factors and recovery codes of a user go, by an operator, and everything begun before: the user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_factors(p_whom text, p_identifiers bytea[], p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
  t timestamptz := lock_account(the_user);
  the_email text := (SELECT email FROM users WHERE id = the_user);
BEGIN
  IF the_email IS NULL THEN
    RETURN NULL;
  END IF;
  DELETE FROM factors WHERE user_id = the_user;
  -- Of factors nothing is taken back any more; an e-mail or a deletion still is.
  DELETE FROM account_changes WHERE user_id = the_user AND kind IN ('factor_added', 'factor_removed', 'recovery_codes');
  PERFORM drop_recovery_codes(the_user, false, t);
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, the_email, t);
  PERFORM forget_code_failures(the_user);
  PERFORM record_event(p_event, the_user);
  PERFORM tell(the_user, 'factors.reset', '{}', false, p_policy, p_event, t);
  RETURN the_user;
END $$;

-- A verdict of the service, with what only shows under the account's lock: a counter that is no higher than the one that is
-- stored tells of a copy, where a method's does ("if_back": the type of that event).
CREATE OR REPLACE FUNCTION weigh_verdict(p_verdict jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_verdict ? 'if_back' AND EXISTS (
    SELECT FROM factors WHERE id = (p_verdict->>'factor_id')::uuid AND counter > 0 AND counter >= (p_verdict->>'counter')::bigint) THEN
    RETURN p_verdict || jsonb_build_object('notices', jsonb_build_array(p_verdict->'if_back'));
  END IF;
  RETURN p_verdict;
END $$;

-- Whose passkey a credential is: {user_id, email, epoch, disabled, user_handle, factor}, or NULL.
CREATE OR REPLACE FUNCTION find_passkey(p_credential bytea) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_build_object('user_id', u.id, 'email', u.email, 'epoch', u.epoch, 'disabled', u.disabled_at IS NOT NULL,
      'user_handle', base64url(u.handle), 'factor', factor_state(f))
    FROM factors f JOIN users u ON u.id = f.user_id WHERE f.credential_id = p_credential);
END $$;

-- A passkey alone has proven its user: starts the session, once for each start. p_start: {jti, expires_at}; p_device_token: the
-- hash of a device token, or NULL. started (as start_session) | used | stale
CREATE OR REPLACE FUNCTION start_passkey_session(p_user uuid, p_epoch integer, p_start jsonb, p_verdict jsonb, p_device_token bytea, p_session jsonb, p_device jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  known uuid;
  d devices;
  s sessions;
BEGIN
  INSERT INTO used_starts (id, expires_at) VALUES (p_start->>'jti', to_timestamp((p_start->>'expires_at')::bigint)) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'used');
  END IF;
  p_verdict := weigh_verdict(p_verdict);
  UPDATE factors f SET counter = greatest(f.counter, (p_verdict->>'counter')::bigint), last_used_at = t, data = data || coalesce(p_verdict->'data', '{}')
  FROM users u
  WHERE f.id = (p_verdict->>'factor_id')::uuid AND f.user_id = p_user AND u.id = p_user AND u.epoch = p_epoch AND u.disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  known := (SELECT id FROM devices WHERE token_hash = p_device_token AND user_id = p_user AND expires_at > t AND failures < 20);
  d := use_device(p_user, known, p_device, p_event, t);
  s := insert_session(p_user, d.id, p_session, t);
  UPDATE users SET email_codes_off = false WHERE id = p_user AND email_codes_off;
  PERFORM record_event(p_event, p_user);
  PERFORM record_device(p_user, d, p_device, p_event);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t))
    || tell_of_verdict(p_user, p_verdict, p_policy, p_event, t);
END $$;
