-- Accounts: made, changed, unlocked, forgotten.

-- Whom an operator or a backend means: by canonical e-mail, which always has an @, or by id. NULL if there is none.
CREATE OR REPLACE FUNCTION user_of(p_whom text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF strpos(p_whom, '@') > 0 THEN
    RETURN (SELECT id FROM users WHERE email = p_whom);
  END IF;
  RETURN (SELECT id FROM users WHERE id = p_whom::uuid);
END $$;

-- A user (see user_of) as the login sees it; NULL if there is none.
CREATE OR REPLACE FUNCTION find_account(p_whom text) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT account_state(u) FROM users u WHERE u.id = user_of(p_whom));
END $$;

-- The first p_limit users, the oldest first, as an operator sees them.
CREATE OR REPLACE FUNCTION list_users(p_limit integer) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('id', u.id, 'email', u.email, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
      'locale', u.locale, 'two_factor', u.two_factor, 'disabled', u.disabled_at IS NOT NULL,
      'created_at', extract(epoch FROM u.created_at)) || methods_of(u.id) ORDER BY u.created_at, u.id), '[]')
    FROM (SELECT * FROM users ORDER BY created_at, id LIMIT p_limit) u);
END $$;

-- How many users besides p_user may still have this phone, of three in all; nothing keeps others from taking it.
CREATE OR REPLACE FUNCTION phone_places(p_phone text, p_user uuid) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  RETURN 3 - (SELECT count(DISTINCT user_id) FROM factors WHERE phone = p_phone AND user_id IS DISTINCT FROM p_user);
END $$;

-- Whether three users other than p_user have this phone; nobody else can take or leave it until the transaction ends.
CREATE OR REPLACE FUNCTION phone_is_taken(p_phone text, p_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));
  RETURN phone_places(p_phone, p_user) <= 0;
END $$;

-- A new account, unless its e-mail is taken or its phone, which may be NULL and counts as confirmed, already serves three;
-- without a password nobody signs in to it until one is set by a link: created (id) | email_taken | phone_taken
CREATE OR REPLACE FUNCTION create_user(p_email text, p_phone text, p_password_hash text, p_two_factor text, p_locale text, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  new_id uuid;
BEGIN
  PERFORM require_read_committed();
  IF p_phone IS NOT NULL AND phone_is_taken(p_phone, NULL) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  END IF;
  INSERT INTO users (email, password_hash, password_state, two_factor, locale)
  VALUES (p_email, p_password_hash, CASE WHEN p_password_hash IS NULL THEN 'none' ELSE 'set' END, p_two_factor, coalesce(p_locale, 'en'))
  ON CONFLICT (email) DO NOTHING RETURNING id INTO new_id;
  IF new_id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'email_taken');
  END IF;
  IF p_phone IS NOT NULL THEN
    PERFORM put_factor(new_id, jsonb_build_object('method', 'sms', 'phone', p_phone), false, clock_timestamp());
  END IF;
  PERFORM record_event(p_event, new_id);
  RETURN jsonb_build_object('outcome', 'created', 'id', new_id);
END $$;

-- The one place where an account changes, and where everything begun before the change ends with it: live challenges,
-- sessions, and the trust in devices, which stay known; only what nobody signs in with (external_id, locale) ends nothing. Links end
-- where password, phone or e-mail change, and where somebody is disabled or enabled. A new password or phone also ends what was
-- counted about the old one, for both classes of clients; a new e-mail is not confirmed, and the old one is told.
-- p_change: {password_hash?, phone?, two_factor?, disabled?, email?, external_id? (null: none), locale? (null: the first), notices (whether
-- the owner is told)}; p_identifiers: the e-mail's keyed hashes. changed (id, type: the event's) | unknown | phone_taken | email_taken,
-- external_id_taken (user_id: whose it is)
CREATE OR REPLACE FUNCTION change_user(p_whom text, p_identifiers bytea[], p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
  t timestamptz := lock_account(the_user);
  ends boolean := NOT p_change ?| ARRAY['external_id', 'locale'] OR p_change ?| ARRAY['password_hash', 'phone', 'two_factor', 'disabled', 'email'];
  u users;
BEGIN
  SELECT * INTO u FROM users WHERE id = the_user;
  -- Of somebody who was forgotten at this moment nothing is written, here and below.
  IF u.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  ELSIF p_change ? 'phone' AND phone_is_taken(p_change->>'phone', the_user) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  ELSIF p_change ?| ARRAY['email', 'external_id'] AND NOT name_user(the_user, p_change) THEN
    RETURN coalesce((SELECT jsonb_build_object('outcome', 'email_taken', 'user_id', id) FROM users WHERE email = p_change->>'email' AND id <> the_user),
      (SELECT jsonb_build_object('outcome', 'external_id_taken', 'user_id', id) FROM users WHERE external_id = p_change->>'external_id' AND id <> the_user),
      -- Its owner is gone again.
      '{"outcome": "email_taken"}');
  END IF;
  IF p_change ? 'phone' THEN
    IF (put_factor(the_user, jsonb_build_object('method', 'sms', 'phone', p_change->'phone'), false, t)).id IS NULL AND p_event->>'type' = 'factor.replaced' THEN
      p_event := p_event || '{"type": "factor.added"}';
    END IF;
    -- What an operator decides is not taken back, here and below.
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'factor_removed' AND was->>'method' = 'sms';
  END IF;
  UPDATE users SET
    password_hash = coalesce(p_change->>'password_hash', password_hash),
    two_factor = coalesce(p_change->>'two_factor', two_factor),
    disabled_at = CASE p_change->>'disabled' WHEN 'true' THEN coalesce(disabled_at, t) WHEN 'false' THEN NULL ELSE disabled_at END,
    erases_at = CASE p_change->>'disabled' WHEN 'false' THEN NULL ELSE erases_at END,
    password_state = CASE WHEN p_change ? 'password_hash' THEN 'set' ELSE password_state END,
    locale = CASE WHEN p_change ? 'locale' THEN coalesce(p_change->>'locale', 'en') ELSE locale END
  WHERE id = the_user;
  -- Counters before devices, as a login that begins takes them.
  IF p_change ?| ARRAY['password_hash', 'phone'] THEN
    PERFORM forget_password_failures(the_user, p_identifiers);
    PERFORM forget_code_failures(the_user);
  END IF;
  IF p_change->>'disabled' = 'true' THEN
    UPDATE account_changes SET was = was || '{"disabled": true}' WHERE user_id = the_user AND kind = 'deletion';
  ELSIF p_change->>'disabled' = 'false' THEN
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'deletion';
  END IF;
  IF ends THEN
    PERFORM end_begun(the_user, NULL, true, t);
  END IF;
  IF p_change ?| ARRAY['password_hash', 'phone', 'disabled', 'email'] THEN
    PERFORM end_links(the_user, u.email, t);
  END IF;
  IF p_change ? 'email' THEN
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'email_changed';
    PERFORM end_email_changes(the_user, t);
    PERFORM end_links(the_user, p_change->>'email', t);
  END IF;
  PERFORM record_event(p_event, the_user);
  PERFORM tell_of_change(u, p_change, p_event, t);
  RETURN jsonb_build_object('outcome', 'changed', 'id', the_user, 'type', p_event->'type');
END $$;

-- Gives a user another e-mail, which is not confirmed, or what a backend calls it; false if that is somebody else's.
CREATE OR REPLACE FUNCTION name_user(p_user uuid, p_change jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE users SET
    email = coalesce(p_change->>'email', email),
    email_confirmed_at = CASE WHEN p_change ? 'email' THEN NULL ELSE email_confirmed_at END,
    external_id = CASE WHEN p_change ? 'external_id' THEN p_change->>'external_id' ELSE external_id END
  WHERE id = p_user;
  RETURN true;
EXCEPTION WHEN unique_violation THEN
  RETURN false;
END $$;

-- Tells the owner of what an operator or a backend has changed. u: as it was.
CREATE OR REPLACE FUNCTION tell_of_change(u users, p_change jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_change->>'disabled' = 'true' THEN
    PERFORM tell(u.id, 'account.disabled', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'password_hash' THEN
    PERFORM tell(u.id, 'password.reset', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'phone' THEN
    PERFORM tell(u.id, 'phone.set', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'email' THEN
    PERFORM tell(u.id, 'email.set', jsonb_build_object('to', 'old', 'mail_to', u.email), false, p_change, p_event, p_now);
  END IF;
END $$;

-- How a hash was made: it, without the long parts at its end, which are salt and result. (PHC strings: $argon2id$v=19$m=…;
-- bcrypt: $2b$12.) An ASP.NET hash is one blob, of which version 3 (a byte 1) begins with digest and rounds: 9 bytes, 12 letters.
CREATE OR REPLACE FUNCTION hash_kind(p_hash text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(p_hash, '$aspnet$AQ') THEN left(p_hash, 20)
    ELSE regexp_replace(p_hash, '(\$[A-Za-z0-9+/._-]{8,}={0,2})+$', '') END
$$;

-- One hash of each kind that is there: [{kind, hash}]. A step in the index for each kind, however many users there are; of at
-- most 100 kinds, which are enough to say that others than today's are left.
CREATE OR REPLACE FUNCTION hash_samples() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  samples jsonb := '[]';
  the_kind text := '';
  the_hash text;
BEGIN
  LOOP
    SELECT hash_kind(password_hash), password_hash INTO the_kind, the_hash FROM users
    WHERE hash_kind(password_hash) > the_kind ORDER BY hash_kind(password_hash) LIMIT 1;
    EXIT WHEN NOT FOUND;
    samples := samples || jsonb_build_object('kind', the_kind, 'hash', the_hash);
    EXIT WHEN jsonb_array_length(samples) >= 100;
  END LOOP;
  RETURN samples;
END $$;

-- Replaces a hash made with old parameters or by another system; false if the password was changed in the meantime.
CREATE OR REPLACE FUNCTION rehash_password(p_user uuid, p_old text, p_new text) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE users SET password_hash = p_new, password_state = CASE password_state WHEN 'imported' THEN 'set' ELSE password_state END
  WHERE id = p_user AND password_hash = p_old;
  RETURN FOUND;
END $$;

-- Ends the password locks of both classes.
CREATE OR REPLACE FUNCTION forget_password_failures(p_user uuid, p_identifiers bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  p_identifiers := p_identifiers || ARRAY(SELECT token_hash FROM devices WHERE user_id = p_user);
  -- Taken in the order in which logins take them, which a DELETE alone does not promise.
  PERFORM FROM login_throttles WHERE identifier = ANY (p_identifiers) ORDER BY identifier FOR UPDATE;
  DELETE FROM login_throttles WHERE identifier = ANY (p_identifiers);
  UPDATE devices SET failures = 0 WHERE user_id = p_user AND failures > 0;
END $$;

-- Empties the counters of codes, and of texts and mails with them, of both classes.
CREATE OR REPLACE FUNCTION forget_code_failures(p_user uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM factor_guards WHERE user_id = p_user;
  UPDATE sms_messages SET state = 'finished' WHERE user_id = p_user AND state IN ('open', 'unsure', 'refused');
  UPDATE mails SET state = 'finished' WHERE user_id = p_user AND kind = 'code' AND state = 'open';
END $$;

-- Ends the locks of both steps and the streaks behind them; with p_all also the 24 hour and 30 day counters of codes and
-- the counters of texts. The user's id, or NULL.
CREATE OR REPLACE FUNCTION unlock_user(p_whom text, p_identifiers bytea[], p_all boolean, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
BEGIN
  PERFORM lock_account(the_user);
  PERFORM forget_password_failures(the_user, p_identifiers);
  the_user := (SELECT id FROM users WHERE id = the_user);
  UPDATE factor_guards SET streak = 0, locked_until = NULL WHERE user_id = the_user;
  IF p_all THEN
    PERFORM forget_code_failures(the_user);
  END IF;
  IF the_user IS NOT NULL THEN
    PERFORM record_event(p_event, the_user);
  END IF;
  RETURN the_user;
END $$;

-- After a user is deleted, by whatever statement: nothing is left that says who it was. What a login adds has no foreign key
-- to its user, which would lock the user's row at every login; it goes here. Events keep their time and type, under an id
-- that is nobody's; for two weeks it is kept beside them, for those who ask for changes, whom the last one was about.
CREATE OR REPLACE FUNCTION forget_user() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  nobody uuid := gen_random_uuid();
  -- Those that were to become the account's, and those that once were, while something tells of it.
  addresses text[];
BEGIN
  -- What a login is adding at this moment goes as well. Whoever deletes should have locked the account before the row.
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(OLD.id, 0));
  DELETE FROM challenges WHERE user_id = OLD.id;
  DELETE FROM sms_messages WHERE user_id = OLD.id;
  addresses := ARRAY(
    SELECT a FROM (SELECT address FROM mails WHERE user_id = OLD.id UNION SELECT email FROM mail_links WHERE user_id = OLD.id) known(a)
    WHERE NOT EXISTS (SELECT FROM users WHERE email = a));
  DELETE FROM mails WHERE user_id = OLD.id OR address = OLD.email OR user_id IS NULL AND address = ANY (addresses);
  DELETE FROM mail_links WHERE user_id = OLD.id OR email = OLD.email OR user_id IS NULL AND email = ANY (addresses);
  DELETE FROM sessions WHERE user_id = OLD.id;
  -- Backends are still to hear whom they have to forget as well.
  INSERT INTO forgotten_users (event_id, user_id)
  SELECT max(id), OLD.id FROM audit_events WHERE user_id = OLD.id AND type = 'user.deleted' HAVING max(id) IS NOT NULL;
  UPDATE audit_events SET user_id = nobody, address = NULL, detail = NULL, request_id = NULL WHERE user_id = OLD.id;
  RETURN NULL;
END $$;
