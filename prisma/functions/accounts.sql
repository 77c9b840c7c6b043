-- Accounts: made, changed, unlocked, forgotten.

-- The user with a canonical e-mail, as the login sees it; NULL if there is none.
CREATE OR REPLACE FUNCTION find_account(p_email text) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT account_state(u) FROM users u WHERE u.email = p_email);
END $$;

-- The first p_limit users, the oldest first, as an operator sees them.
CREATE OR REPLACE FUNCTION list_users(p_limit integer) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('id', u.id, 'email', u.email, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
      'locale', u.locale, 'two_factor', u.two_factor, 'disabled', u.disabled_at IS NOT NULL,
      'created_at', extract(epoch FROM u.created_at)) || methods_of(u.id) ORDER BY u.created_at, u.id), '[]')
    FROM (SELECT * FROM users ORDER BY created_at, id LIMIT p_limit) u);
END $$;

-- Whether three users other than p_user have this phone; nobody else can take or leave it until the transaction ends.
CREATE OR REPLACE FUNCTION phone_is_taken(p_phone text, p_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));
  RETURN (SELECT count(DISTINCT user_id) FROM factors WHERE phone = p_phone AND user_id IS DISTINCT FROM p_user) >= 3;
END $$;

-- A new account, unless its e-mail is taken or its phone, which may be NULL and counts as confirmed, already serves three:
-- created (id) | email_taken | phone_taken
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
  INSERT INTO users (email, password_hash, two_factor, locale) VALUES (p_email, p_password_hash, p_two_factor, coalesce(p_locale, 'en'))
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
-- sessions, and the trust in devices, which stay known. A new password or phone also ends what was counted about the old
-- one, for both classes of clients. p_change: {password_hash?, phone?, two_factor?, disabled?,
-- notices (whether the owner is told)}; p_identifiers: the e-mail's
-- keyed hashes. changed (id) | unknown | phone_taken
CREATE OR REPLACE FUNCTION change_user(p_email text, p_identifiers bytea[], p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz := lock_account(the_user);
BEGIN
  IF the_user IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  IF p_change ? 'phone' THEN
    IF phone_is_taken(p_change->>'phone', the_user) THEN
      RETURN jsonb_build_object('outcome', 'phone_taken');
    END IF;
    PERFORM put_factor(the_user, jsonb_build_object('method', 'sms', 'phone', p_change->'phone'), false, t);
  END IF;
  UPDATE users SET
    password_hash = coalesce(p_change->>'password_hash', password_hash),
    two_factor = coalesce(p_change->>'two_factor', two_factor),
    disabled_at = CASE p_change->>'disabled' WHEN 'true' THEN coalesce(disabled_at, t) WHEN 'false' THEN NULL ELSE disabled_at END
  WHERE id = the_user;
  -- Counters before devices, as a login that begins takes them.
  IF p_change ?| ARRAY['password_hash', 'phone'] THEN
    PERFORM forget_password_failures(the_user, p_identifiers);
    PERFORM forget_code_failures(the_user);
  END IF;
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM record_event(p_event, the_user);
  IF p_change->>'disabled' = 'true' THEN
    PERFORM tell(the_user, 'account.disabled', '{}', false, p_change, p_event, t);
  END IF;
  RETURN jsonb_build_object('outcome', 'changed', 'id', the_user);
END $$;

-- How a hash was made: it, without the long parts at its end, which are salt and result. (PHC strings: $argon2id$v=19$m=…;
-- bcrypt: $2b$12.)
CREATE OR REPLACE FUNCTION hash_kind(p_hash text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT regexp_replace(p_hash, '(\$[A-Za-z0-9+/._-]{8,}={0,2})+$', '')
$$;

-- One hash of each kind that is there: [{kind, hash}]. A step in the index for each kind, however many users there are.
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
  END LOOP;
  RETURN samples;
END $$;

-- Replaces a hash made with old parameters; false if the password was changed in the meantime.
CREATE OR REPLACE FUNCTION rehash_password(p_user uuid, p_old text, p_new text) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE users SET password_hash = p_new WHERE id = p_user AND password_hash = p_old;
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
  UPDATE mails SET state = 'finished' WHERE user_id = p_user AND state = 'open';
END $$;

-- Ends the locks of both steps and the streaks behind them; with p_all also the 24 hour and 30 day counters of codes and
-- the counters of texts. The user's id, or NULL.
CREATE OR REPLACE FUNCTION unlock_user(p_email text, p_identifiers bytea[], p_all boolean, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
BEGIN
  PERFORM lock_account(the_user);
  PERFORM forget_password_failures(the_user, p_identifiers);
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
-- that is nobody's.
CREATE OR REPLACE FUNCTION forget_user() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  nobody uuid := gen_random_uuid();
BEGIN
  -- What a login is adding at this moment goes as well. Whoever deletes should have locked the account before the row.
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(OLD.id, 0));
  DELETE FROM challenges WHERE user_id = OLD.id;
  DELETE FROM sms_messages WHERE user_id = OLD.id;
  DELETE FROM mails WHERE user_id = OLD.id;
  DELETE FROM sessions WHERE user_id = OLD.id;
  UPDATE audit_events SET user_id = nobody, address = NULL, detail = NULL, request_id = NULL WHERE user_id = OLD.id;
  RETURN NULL;
END $$;
