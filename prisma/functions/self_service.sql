-- What signed-in users change about their account, how they leave, and how an owner takes back what a thief has changed.

-- Asks for another e-mail: a link goes to the new one, a notice to the old; a request ends the link before it. p_policy:
-- {changes_day, notices}. queued | too_many (retry_after) | ended
CREATE OR REPLACE FUNCTION request_email_change(p_user uuid, p_session uuid, p_email text, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  asked timestamptz[] := ARRAY(
    SELECT created_at FROM mails WHERE user_id = p_user AND topic = 'confirm_email' AND created_at > t - interval '24 hours' ORDER BY created_at DESC);
  most integer := (p_policy->>'changes_day')::integer;
BEGIN
  IF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF cardinality(asked) >= most THEN
    RETURN jsonb_build_object('outcome', 'too_many', 'retry_after', seconds_until(asked[most] + interval '24 hours', t));
  END IF;
  PERFORM end_email_changes(p_user, t);
  INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at)
  SELECT p_user, 'link', 'confirm_email', p_email, locale, t, t FROM users WHERE id = p_user;
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'email.change_asked', '{}', false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'queued');
END $$;

-- No link to another e-mail is good any more, nor goes out: mails before links, as whoever sends takes them. A mail that is not
-- sent counts all the same: its notice was.
CREATE OR REPLACE FUNCTION end_email_changes(p_user uuid, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE mails SET delivery = 'failed', error = 'superseded' WHERE user_id = p_user AND topic = 'confirm_email' AND delivery = 'queued';
  UPDATE mail_links SET ended_at = p_now WHERE user_id = p_user AND kind = 'confirm_email' AND ended_at IS NULL;
END $$;

-- The new mailbox is proven, in a session of the same user: its address is the account's. changed | expired (the link is none, or
-- the address somebody's by now)
CREATE OR REPLACE FUNCTION confirm_email(p_user uuid, p_session uuid, p_hash bytea, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  l mail_links;
  u users;
BEGIN
  SELECT * INTO l FROM mail_links WHERE token_hash = p_hash AND kind = 'confirm_email' AND user_id = p_user;
  SELECT * INTO u FROM users WHERE id = p_user;
  IF l.id IS NULL OR l.ended_at IS NOT NULL OR l.expires_at <= t OR NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  BEGIN
    UPDATE users SET email = l.email, email_confirmed_at = t WHERE id = p_user;
  EXCEPTION WHEN unique_violation THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END;
  INSERT INTO account_changes (user_id, at, kind, was)
  VALUES (p_user, t, 'email_changed', jsonb_build_object('email', u.email, 'confirmed_at', u.email_confirmed_at));
  PERFORM end_begun(p_user, p_session, true, t);
  PERFORM end_links(p_user, l.email, t);
  PERFORM record_event(p_event, p_user);
  -- The new mailbox gets no link to take it back: it may be a thief's.
  PERFORM tell(p_user, 'email.changed', '{"to": "new"}', false, p_policy, p_event, t);
  PERFORM tell(p_user, 'email.changed', jsonb_build_object('to', 'old', 'mail_to', u.email), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'changed');
END $$;

CREATE OR REPLACE FUNCTION set_locale(p_user uuid, p_locale text, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM lock_account(p_user);
  UPDATE users SET locale = p_locale WHERE id = p_user;
  -- Of somebody who was forgotten a moment ago nothing is written.
  IF FOUND THEN
    PERFORM record_event(p_event, p_user);
  END IF;
END $$;

-- A user leaves: disabled from now on, forgotten after p_days; until then the owner can take it back by the mail about it. When it
-- will be (seconds since 1970), or NULL where the session is over.
CREATE OR REPLACE FUNCTION begin_deletion(p_user uuid, p_session uuid, p_days integer, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  erases timestamptz := t + p_days * interval '24 hours';
BEGIN
  IF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN NULL;
  END IF;
  UPDATE users SET disabled_at = t, erases_at = erases WHERE id = p_user;
  INSERT INTO account_changes (user_id, at, kind, was) VALUES (p_user, t, 'deletion', '{}');
  PERFORM end_begun(p_user, NULL, true, t);
  PERFORM end_links(p_user, NULL, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'deletion.begun', jsonb_build_object('erases_at', extract(epoch FROM erases)), false, p_policy, p_event, t);
  -- A number of JSON, which no setting of a session rounds.
  RETURN to_jsonb(extract(epoch FROM erases));
END $$;

-- Forgets a user at once: true if there was one. What is left of it stands in forget_user. The service's role may delete no user
-- and change no event; it borrows the owner's right for this, and below.
CREATE OR REPLACE FUNCTION forget_account(p_user uuid, p_event jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM refuse_temporary();
  PERFORM lock_account(p_user);
  PERFORM record_event(p_event, p_user) FROM users WHERE id = p_user;
  DELETE FROM users WHERE id = p_user;
  RETURN FOUND;
END $$;

-- Forgets those whose time has come: how many.
CREATE OR REPLACE FUNCTION erase_accounts(p_batch integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM refuse_temporary();
  RETURN erase_due(p_batch, clock_timestamp());
END $$;

CREATE OR REPLACE FUNCTION erase_due(p_batch integer, p_now timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  the_user uuid;
  erased integer := 0;
BEGIN
  FOR the_user IN SELECT id FROM users WHERE erases_at < p_now ORDER BY erases_at, id LIMIT p_batch LOOP
    PERFORM lock_account(the_user);
    PERFORM record_event('{"type": "user.deleted", "outcome": "erased"}', the_user) FROM users WHERE id = the_user AND erases_at < p_now;
    DELETE FROM users WHERE id = the_user AND erases_at < p_now;
    -- Another replica was faster, or it was taken back at this moment.
    erased := erased + FOUND::integer;
  END LOOP;
  RETURN erased;
END $$;

-- What borrows the owner's right does nothing where its caller has tables or types of its own: they would be found before the
-- service's, and what hangs on them run with this right. To put them last, as purge_events does, would not reach the trigger of a
-- deletion, which has a path of its own.
CREATE OR REPLACE FUNCTION refuse_temporary() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = pg_catalog.pg_my_temp_schema())
    OR EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()) THEN
    RAISE EXCEPTION 'a session with temporary tables or types borrows no right' USING ERRCODE = '42501';
  END IF;
END $$;

-- The owner says that a notice is not about him: sessions, devices, challenges and links end, what the account's sessions have
-- changed since then is as it was, and the password is worth nothing until it is set anew by the link that goes to the mailbox
-- that the account has then. Where its own address is somebody else's by now, nobody gets in until an operator decides: the one
-- it has may be a thief's. Later notices' links end, and only those: a thief who uses his first does not end the owner's.
-- secured (user) | expired
CREATE OR REPLACE FUNCTION secure_account(p_hash bytea, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT user_id FROM mail_links WHERE token_hash = p_hash AND kind = 'not_me');
  t timestamptz := lock_account(the_user);
  l mail_links;
  since timestamptz;
BEGIN
  SELECT * INTO l FROM mail_links WHERE token_hash = p_hash AND kind = 'not_me' AND user_id = the_user FOR UPDATE;
  IF l.id IS NULL OR l.ended_at IS NOT NULL OR l.expires_at <= coalesce(t, clock_timestamp()) THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  since := to_timestamp((l.data->>'since')::double precision);
  IF NOT take_back(the_user, since, t) THEN
    UPDATE users SET disabled_at = coalesce(disabled_at, t) WHERE id = the_user;
    p_event := p_event || '{"outcome": "e-mail taken, disabled"}';
  END IF;
  DELETE FROM devices WHERE user_id = the_user;
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, NULL, t);
  PERFORM end_email_changes(the_user, t);
  UPDATE mail_links SET ended_at = t
  WHERE user_id = the_user AND kind = 'not_me' AND (data->>'since')::numeric >= (l.data->>'since')::numeric AND ended_at IS NULL;
  UPDATE users SET password_state = CASE WHEN password_hash IS NULL THEN 'none' ELSE 'reset_required' END WHERE id = the_user;
  INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at)
  SELECT the_user, 'link', 'secured', email, locale, t, t FROM users WHERE id = the_user;
  PERFORM record_event(p_event, the_user);
  RETURN jsonb_build_object('outcome', 'secured', 'user', the_user);
END $$;

-- Takes back, the newest first, what the sessions of a user have changed since p_since, that moment included. A phone that serves
-- three others by now does not come back. False if the e-mail cannot, because somebody else has it.
CREATE OR REPLACE FUNCTION take_back(p_user uuid, p_since timestamptz, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  change account_changes;
  mailbox jsonb := (SELECT was FROM account_changes WHERE user_id = p_user AND at >= p_since AND kind = 'email_changed' ORDER BY id LIMIT 1);
BEGIN
  FOR change IN SELECT * FROM account_changes WHERE user_id = p_user AND at >= p_since ORDER BY id DESC LOOP
    CASE change.kind
      WHEN 'factor_added' THEN
        DELETE FROM factors WHERE id = (change.was->>'id')::uuid AND user_id = p_user;
      WHEN 'factor_removed' THEN
        -- Unless an operator has put another in its place since, or its number serves as many as it may by now.
        INSERT INTO factors SELECT * FROM jsonb_populate_record(NULL::factors, change.was)
        WHERE (method = 'passkey' OR NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND method = change.was->>'method'))
          AND (phone IS NULL OR NOT phone_is_taken(phone, p_user)) ON CONFLICT DO NOTHING;
      WHEN 'recovery_codes' THEN
        DELETE FROM recovery_codes WHERE user_id = p_user;
        INSERT INTO recovery_codes SELECT * FROM jsonb_populate_recordset(NULL::recovery_codes, change.was);
      WHEN 'email_changed' THEN
        NULL; -- Of several addresses the first is the account's again, below.
      WHEN 'deletion' THEN
        UPDATE users SET disabled_at = CASE WHEN change.was ? 'disabled' THEN disabled_at END, erases_at = NULL
        WHERE id = p_user AND erases_at IS NOT NULL;
    END CASE;
  END LOOP;
  -- Codes that came with a first factor which is gone again.
  DELETE FROM recovery_codes WHERE user_id = p_user AND created_at >= p_since;
  DELETE FROM account_changes WHERE user_id = p_user AND at >= p_since;
  BEGIN
    UPDATE users SET email = mailbox->>'email', email_confirmed_at = (mailbox->>'confirmed_at')::timestamptz WHERE id = p_user AND mailbox IS NOT NULL;
  EXCEPTION WHEN unique_violation THEN
    RETURN false;
  END;
  RETURN true;
END $$;

-- What the service knows of a user, for the user, without secrets; at most p_most times in 24 hours. exported | too_many (retry_after) |
-- ended (there is no such user any more)
CREATE OR REPLACE FUNCTION export_account(p_user uuid, p_most integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  exported timestamptz[] := ARRAY(
    SELECT at FROM audit_events WHERE user_id = p_user AND type = p_event->>'type' AND at > t - interval '24 hours' ORDER BY at DESC);
BEGIN
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF cardinality(exported) >= p_most THEN
    RETURN jsonb_build_object('outcome', 'too_many', 'retry_after', seconds_until(exported[p_most] + interval '24 hours', t));
  END IF;
  PERFORM record_event(p_event, p_user);
  RETURN (SELECT jsonb_build_object('outcome', 'exported',
      'profile', jsonb_build_object('id', u.id, 'email', u.email, 'email_confirmed', u.email_confirmed_at IS NOT NULL, 'locale', u.locale,
        'two_factor', u.two_factor, 'created_at', extract(epoch FROM u.created_at)),
      'factors', (SELECT coalesce(jsonb_agg((factor_state(f) - 'data' - 'counter' - 'credential_id') ORDER BY f.created_at), '[]') FROM factors f WHERE f.user_id = u.id),
      'recovery_codes', (SELECT count(*) FROM recovery_codes r WHERE r.user_id = u.id),
      'sessions', list_sessions(u.id), 'devices', list_devices(u.id),
      'events', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', extract(epoch FROM e.at), 'type', e.type, 'outcome', e.outcome, 'factor', e.factor,
        'address', CASE WHEN e.actor_type IS DISTINCT FROM 'client' THEN e.address END) ORDER BY e.id), '[]') FROM audit_events e WHERE e.user_id = u.id),
      'texts', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', extract(epoch FROM m.reserved_at), 'phone', m.phone, 'delivery', m.delivery)
        ORDER BY m.id), '[]') FROM sms_messages m WHERE m.user_id = u.id),
      'mails', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', extract(epoch FROM m.created_at), 'address', m.address, 'topic', m.topic,
        'delivery', m.delivery) ORDER BY m.id), '[]') FROM mails m WHERE m.user_id = u.id))
    FROM users u WHERE u.id = p_user);
END $$;
