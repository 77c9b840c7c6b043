-- Passwords: set by whoever has read the mailbox, changed by whoever is signed in.

-- Sets the password of a link's address, once: makes the account where there is none, confirms the address, and ends what was
-- begun before and the password's locks; what is counted of codes and texts stays, since a mailbox must not refill guesses at
-- the second factor. p_identifiers: the e-mail's keyed hashes; p_two_factor: of a new account; p_device: the hash of a device token, or NULL.
-- set (account, made, device: its id if it is known) | expired
CREATE OR REPLACE FUNCTION set_password(p_hash bytea, p_password_hash text, p_two_factor text, p_identifiers bytea[], p_device bytea, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_email text := (SELECT email FROM mail_links WHERE token_hash = p_hash);
  the_user uuid;
  t timestamptz;
  l mail_links;
  is_new boolean := false;
BEGIN
  -- What is made or decided for one address comes one after the other; whoever moves to it meanwhile takes it first.
  PERFORM lock_links(the_email);
  the_user := (SELECT id FROM users WHERE email = the_email);
  IF the_user IS NULL THEN
    INSERT INTO users (email, two_factor, locale)
    SELECT email, p_two_factor, data->>'locale' FROM live_link(p_hash, 'set_password', clock_timestamp()) WHERE user_id IS NULL
    ON CONFLICT (email) DO NOTHING RETURNING id INTO the_user;
    is_new := the_user IS NOT NULL;
    the_user := coalesce(the_user, (SELECT id FROM users WHERE email = the_email));
  END IF;
  t := lock_account(the_user);
  SELECT * INTO l FROM live_link(p_hash, 'set_password', t);
  IF NOT is_new AND (l.id IS NULL OR l.user_id IS NOT NULL AND l.user_id IS DISTINCT FROM the_user) THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  -- Since it was looked up the account may have moved to another mailbox, which has not asked.
  UPDATE users SET password_hash = p_password_hash, password_state = 'set', email_confirmed_at = coalesce(email_confirmed_at, t), email_codes_off = true
  WHERE id = the_user AND email = the_email AND disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  PERFORM forget_password_failures(the_user, p_identifiers);
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, the_email, t);
  PERFORM record_event(p_event || jsonb_build_object('type', CASE WHEN is_new THEN 'user.created' ELSE 'password.changed' END), the_user);
  IF NOT is_new THEN
    PERFORM tell(the_user, 'password.set', '{}', false, p_policy, p_event, t);
  END IF;
  RETURN jsonb_build_object('outcome', 'set', 'made', is_new,
    'device', (SELECT id FROM devices WHERE token_hash = p_device AND user_id = the_user AND expires_at > t AND failures < 20),
    'account', (SELECT account_state(u) FROM users u WHERE id = the_user));
END $$;

-- A signed-in user replaces the password that was shown right (p_old, its hash): every session ends, and a new one (p_session:
-- {id, user_agent, address}) goes on with the same level, moment and device. Where the session had proven a second factor, what
-- is counted of codes ends too. changed (with the session) | stale | ended
CREATE OR REPLACE FUNCTION change_password(p_user uuid, p_session uuid, p_old text, p_new text, p_identifiers bytea[], p_next jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
BEGIN
  PERFORM FROM sessions WHERE id = p_session FOR UPDATE;
  SELECT * INTO s FROM live_session(p_session, p_user, t);
  IF s.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'ended');
  END IF;
  UPDATE users SET password_hash = p_new, password_state = 'set' WHERE id = p_user AND password_hash = p_old;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  PERFORM forget_password_failures(p_user, p_identifiers);
  IF s.acr = 'aal2' THEN
    PERFORM forget_code_failures(p_user);
  END IF;
  PERFORM end_begun(p_user, NULL, true, t);
  PERFORM end_links(p_user, NULL, t);
  INSERT INTO sessions (id, user_id, device_id, amr, acr, remember, mailbox_proven, user_agent, address, created_at, authenticated_at, last_used_at,
                        expires_at, idle_until)
  VALUES ((p_next->>'id')::uuid, p_user, s.device_id, s.amr, s.acr, s.remember, s.mailbox_proven, p_next->>'user_agent', p_next->>'address', t,
    s.authenticated_at, t, s.expires_at, s.idle_until)
  RETURNING * INTO s;
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'password.changed', '{}', false, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'changed');
END $$;

-- An operator or a backend has a new password set: a link is mailed (invite, to an account without a password, or reset); p_force: the
-- old password is useless from now on, and sessions end. p_policy: with repeat_after, the seconds in which the same, asked once
-- more, mails nothing more and leaves the link that was mailed, as long as that is of use. The user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_password(p_whom text, p_force boolean, p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
  t timestamptz := lock_account(the_user);
  u users;
  the_topic text;
  is_repeated boolean;
BEGIN
  SELECT * INTO u FROM users WHERE id = the_user;
  IF u.id IS NULL THEN
    RETURN NULL;
  END IF;
  the_topic := CASE WHEN u.password_hash IS NULL THEN 'invite' WHEN p_force THEN 'reset_forced' ELSE 'reset' END;
  is_repeated := NOT (p_force AND u.password_state NOT IN ('none', 'reset_required')) AND EXISTS (
    SELECT FROM mails m WHERE user_id = u.id AND kind = 'link' AND topic = the_topic AND address = u.email AND delivery <> 'failed'
      AND created_at > t - seconds(p_policy->>'repeat_after') AND mail_serves(m, u, t));
  IF p_force THEN
    UPDATE users SET password_state = CASE WHEN password_hash IS NULL THEN 'none' ELSE 'reset_required' END WHERE id = u.id;
    PERFORM end_begun(u.id, NULL, true, t);
    PERFORM end_links(u.id, u.email, t) WHERE NOT is_repeated;
  END IF;
  IF NOT is_repeated THEN
    PERFORM mail_password_link(u, the_topic, t);
  END IF;
  PERFORM record_event(p_event, u.id);
  RETURN u.id;
END $$;

-- Whether a mail with a link is as good as one more: its link lives, or it is still to be sent with one; or it has told that the
-- account is closed, which it still is. Of one that is being sent, and whose link has ended meanwhile, nobody has anything.
CREATE OR REPLACE FUNCTION mail_serves(m mails, u users, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  lives boolean := (SELECT bool_or(ended_at IS NULL AND expires_at > p_now) FROM mail_links WHERE user_id = u.id AND data->>'mail' = m.id::text);
BEGIN
  RETURN coalesce(lives, m.delivery = 'queued' OR m.data->>'says' = 'closed' AND u.disabled_at IS NOT NULL);
END $$;

-- Puts a mail into the outbox by whose link the user sets a password. p_topic: invite, reset, reset_forced.
CREATE OR REPLACE FUNCTION mail_password_link(u users, p_topic text, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at) VALUES (u.id, 'link', p_topic, u.email, u.locale, p_now, p_now);
END $$;
