-- The decisions of a login, in their order. Each is one statement for its caller, and committed before anybody is told.

-- Failures that are still remembered: every counter forgets one an hour.
CREATE OR REPLACE FUNCTION remembered_failures(l login_throttles, p_now timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT greatest(l.failures - floor(extract(epoch FROM p_now - l.counted_from) / 3600)::integer, 0)
$$;

-- Counts a failed password before it is looked at: NULL, or until when that counter is locked. The 5th failure in a row
-- starts a lock of 30 s, each further one doubles it, up to an hour. While it runs nothing is counted and nothing is prolonged.
-- p_keys: the device's own, or the keyed hashes of the e-mail, in order, one with each of SECRET_KEYS. Each counts, and
-- whichever is locked locks: so replicas that have only some of these keys count as one while the setting changes.
CREATE OR REPLACE FUNCTION charge_password(p_keys bytea[]) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
  charged integer;
BEGIN
  -- A lock is looked for before a row is touched: ON CONFLICT alone would lock and write it even to refuse, and a flood
  -- against one e-mail would then hold every connection in line for its row.
  INSERT INTO login_throttles AS old (identifier, failures, counted_from)
  SELECT key, 1, clock_timestamp() FROM unnest(p_keys) AS key
  WHERE NOT EXISTS (SELECT FROM login_throttles WHERE identifier = ANY (p_keys) AND locked_until > clock_timestamp())
  ON CONFLICT (identifier) DO UPDATE SET
    failures = remembered_failures(old, clock_timestamp()) + 1,
    -- The hour that has begun goes on, unless everything was forgotten.
    counted_from = CASE WHEN remembered_failures(old, clock_timestamp()) = 0 THEN clock_timestamp()
      ELSE old.counted_from + (old.failures - remembered_failures(old, clock_timestamp())) * interval '1 hour' END,
    locked_until = CASE WHEN remembered_failures(old, clock_timestamp()) >= 4 THEN clock_timestamp()
      + interval '30 seconds' * least(power(2, least(remembered_failures(old, clock_timestamp()) - 4, 16)), 120) END
  WHERE old.locked_until IS NULL OR old.locked_until <= clock_timestamp();
  GET DIAGNOSTICS charged = ROW_COUNT;
  IF charged = cardinality(p_keys) THEN
    RETURN NULL;
  END IF;
  -- Lifted since that statement, it is over in a moment.
  RETURN coalesce((SELECT max(locked_until) FROM login_throttles WHERE identifier = ANY (p_keys)), clock_timestamp());
END $$;

-- The password was right, or not evaluated after all. Strangers get back their own charge and no more: that the owner was
-- there changes nothing for them. A device that proved its password (p_reset) starts anew.
CREATE OR REPLACE FUNCTION give_back_password(p_keys bytea[], p_device uuid, p_reset boolean) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  starts_anew boolean := p_reset AND p_device IS NOT NULL;
  the_key bytea;
BEGIN
  -- One after another, in their order, as they were charged: so nothing deadlocks.
  FOREACH the_key IN ARRAY p_keys LOOP
    UPDATE login_throttles SET failures = CASE WHEN starts_anew THEN 0 ELSE greatest(failures - 1, 0) END, locked_until = NULL
    WHERE identifier = the_key;
  END LOOP;
  IF p_device IS NOT NULL THEN
    UPDATE devices SET failures = CASE WHEN starts_anew THEN 0 ELSE greatest(failures - 1, 0) END WHERE id = p_device;
  END IF;
END $$;

-- The first step begins: known device or stranger, that counter charged, the account handed out. Real and made-up e-mails
-- take the same statements. p_identifiers: the keyed hashes of the e-mail, in order; p_device: the hash of a device token, or NULL.
-- charged (account or null, device) | locked | address_spent (a stranger where strangers have no texts left: a list of
-- stolen passwords cannot be checked in silence)
CREATE OR REPLACE FUNCTION begin_login(p_email text, p_identifiers bytea[], p_device bytea, p_text jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  u users;
  d devices;
  t timestamptz := clock_timestamp();
  refused_until timestamptz;
BEGIN
  PERFORM require_read_committed();
  SELECT * INTO u FROM users WHERE email = p_email;
  SELECT * INTO d FROM devices WHERE token_hash = p_device AND user_id = u.id AND expires_at > t AND failures < 20;
  IF d.id IS NULL THEN
    refused_until := address_free_at(p_text->>'address', false, (p_text->>'address_hour')::integer, (p_text->>'address_day')::integer, t);
    IF refused_until > t THEN
      RETURN jsonb_build_object('outcome', 'address_spent', 'retry_after', seconds_until(refused_until, t));
    END IF;
  END IF;
  refused_until := charge_password(CASE WHEN d.id IS NULL THEN p_identifiers ELSE ARRAY[d.token_hash] END);
  IF refused_until IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(refused_until, clock_timestamp()));
  END IF;
  IF d.id IS NOT NULL THEN
    UPDATE devices SET failures = failures + 1 WHERE id = d.id AND failures < 20;
    -- Somebody else is making its last guess at this moment.
    IF NOT FOUND THEN
      RETURN jsonb_build_object('outcome', 'locked', 'retry_after', 1);
    END IF;
  END IF;
  RETURN jsonb_build_object('outcome', 'charged',
    'account', CASE WHEN u.id IS NOT NULL THEN account_state(u) END,
    'device', CASE WHEN d.id IS NOT NULL THEN jsonb_build_object('id', d.id, 'trusted', coalesce(d.trusted_until > t, false)) END);
END $$;

-- A user as the login sees it.
CREATE OR REPLACE FUNCTION account_state(u users) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', u.id, 'email', u.email, 'phone', u.phone, 'password_hash', u.password_hash,
    'two_factor', u.two_factor, 'epoch', u.epoch, 'disabled', u.disabled_at IS NOT NULL);
END $$;

-- The password was wrong; its charge stays. What strangers try at e-mails that nobody has leaves no row each, but a count
-- an hour, on a few rows, so that they do not wait for each other. A device is forgotten with its 20th failure in a row.
CREATE OR REPLACE FUNCTION fail_login(p_user uuid, p_device uuid, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  IF p_user IS NULL THEN
    INSERT INTO unknown_logins AS old (hour, slot, failures)
    VALUES (date_trunc('hour', now(), 'UTC'), floor(random() * 16), 1)
    ON CONFLICT (hour, slot) DO UPDATE SET failures = old.failures + 1;
    RETURN;
  END IF;
  PERFORM record_event(p_event, p_user);
  IF p_device IS NOT NULL THEN
    DELETE FROM devices WHERE id = p_device AND failures >= 20;
  END IF;
END $$;

-- Until when codes are locked for one class of clients; NULL while they are not. Three limits, of which only the first is
-- lifted by a success: the streak's own lock, 20 failures in any 24 hours, 100 in any 30 days (720 hours: what a day is
-- would depend on the time zone). failed_at is in order of time, so "20 in 24 hours" means that the 20th newest is younger.
CREATE OR REPLACE FUNCTION codes_locked_until(g factor_guards, p_now timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT nullif(greatest(p_now,
    g.locked_until,
    g.failed_at[cardinality(g.failed_at) - 19] + interval '24 hours',
    g.failed_at[cardinality(g.failed_at) - 99] + interval '720 hours'), p_now)
$$;

-- How many codes failed after p_since.
CREATE OR REPLACE FUNCTION failures_since(g factor_guards, p_since timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT coalesce(cardinality(g.failed_at) - width_bucket(p_since, g.failed_at), 0)
$$;

-- How many codes may still be tried before one of those limits locks them; p_streak: whether they make the streak longer.
CREATE OR REPLACE FUNCTION codes_left(g factor_guards, p_streak boolean, p_now timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN g.user_id IS NULL THEN 10
    WHEN codes_locked_until(g, p_now) IS NOT NULL THEN 0
    ELSE least(
      CASE WHEN NOT p_streak THEN NULL WHEN g.streak < 10 THEN 10 - g.streak ELSE 5 - g.streak % 5 END,
      20 - failures_since(g, p_now - interval '24 hours'),
      100 - failures_since(g, p_now - interval '720 hours')) END
$$;

-- Counts a wrong code for a class of clients. At a login it makes the streak longer: 10 in a row lock for 15 minutes, each
-- further 5 double that, up to 24 hours. At a step-up, where a session has proven itself, it does not.
CREATE OR REPLACE FUNCTION count_wrong_code(p_user uuid, p_known boolean, p_streak boolean, p_now timestamptz) RETURNS factor_guards LANGUAGE plpgsql AS $$
DECLARE
  g factor_guards;
BEGIN
  INSERT INTO factor_guards AS old (user_id, known, streak, failed_at) VALUES (p_user, p_known, p_streak::integer, ARRAY[p_now])
  ON CONFLICT (user_id, known) DO UPDATE SET
    streak = old.streak + p_streak::integer,
    failed_at = array_append(old.failed_at[width_bucket(p_now - interval '720 hours', old.failed_at) + 1:],
      greatest(p_now, old.failed_at[cardinality(old.failed_at)])),
    locked_until = CASE WHEN p_streak AND old.streak + 1 >= 10 AND (old.streak + 1) % 5 = 0
      THEN p_now + least(interval '15 minutes' * power(2, least((old.streak + 1 - 10) / 5, 7)), interval '24 hours')
      ELSE old.locked_until END
  RETURNING * INTO g;
  RETURN g;
END $$;

-- What the holder of a pending token may know about its challenge.
CREATE OR REPLACE FUNCTION challenge_state(c challenges, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  g factor_guards;
  m sms_messages;
  resend_at timestamptz;
BEGIN
  SELECT * INTO g FROM factor_guards WHERE user_id = c.user_id AND known = c.known;
  SELECT * INTO m FROM sms_messages WHERE id = c.message_id;
  resend_at := c.last_sent_at + CASE WHEN is_cooling(m) THEN seconds(p_policy->>'cooldown') ELSE interval '0' END;
  RETURN jsonb_build_object(
    'challenge_id', c.id,
    'key_id', c.key_id,
    'expires_in', greatest(0, floor(extract(epoch FROM c.ends_at - p_now)))::integer,
    'code_expires_in', greatest(0, floor(extract(epoch FROM c.expires_at - p_now)))::integer,
    'resend_after', CASE WHEN c.sends < (p_policy->>'max_sends')::integer AND resend_at < c.ends_at
      THEN greatest(0, ceil(extract(epoch FROM resend_at - p_now)))::integer END,
    'attempts_remaining', least((p_policy->>'max_attempts')::integer - c.attempts, codes_left(g, c.purpose = 'login', p_now),
      proofs_left(c.client, p_now)),
    'delivery', coalesce(m.delivery, 'sent'));
END $$;

-- The password was right: gives its charge back, joins this client's live challenge or opens one, and reserves the text
-- that is due. A challenge belongs to one client; at most three with a code that was sent live per account and class, a
-- fourth ends the oldest. p_epoch: the account as the password was checked on. p_keys: the counters that were charged, NULL
-- at a step-up. p_challenge: {id, purpose, client, known, device_id, code_mac (hex), key_id}.
-- opened | joined (with the challenge's state, and "message_id" when a text is due) | stale | locked |
-- resend_too_soon | sms_limit_reached | sms_unavailable (with retry_after)
CREATE OR REPLACE FUNCTION open_challenge(p_user uuid, p_epoch integer, p_keys bytea[], p_challenge jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  is_known boolean := (p_challenge->>'known')::boolean;
  c challenges;
  is_live boolean;
  locked_until timestamptz;
  text_id bigint;
  text_refusal text;
  text_retry_after integer;
  text_spend text;
BEGIN
  IF p_keys IS NOT NULL THEN
    PERFORM give_back_password(p_keys, (p_challenge->>'device_id')::uuid, true);
  END IF;
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  locked_until := (SELECT codes_locked_until(g, t) FROM factor_guards g WHERE g.user_id = p_user AND g.known = is_known);
  IF locked_until IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, t));
  END IF;

  SELECT * INTO c FROM challenges
  WHERE user_id = p_user AND purpose = p_challenge->>'purpose' AND client = p_challenge->>'client' AND superseded_at IS NULL;
  is_live := FOUND AND c.consumed_at IS NULL AND c.attempts < (p_policy->>'max_attempts')::integer AND c.expires_at > t;
  IF NOT is_live AND NOT (p_policy->>'may_send')::boolean THEN
    RETURN jsonb_build_object('outcome', 'sms_unavailable');
  END IF;
  IF NOT is_live OR (p_policy->>'may_send')::boolean AND c.sends < (p_policy->>'max_sends')::integer THEN
    SELECT * INTO text_id, text_refusal, text_retry_after, text_spend
    FROM reserve_text(p_user, CASE WHEN is_live THEN c.id ELSE (p_challenge->>'id')::uuid END, is_known, p_policy->'text', t);
    IF NOT is_live AND text_refusal IS NOT NULL THEN
      RETURN jsonb_build_object('outcome', text_refusal, 'retry_after', text_retry_after);
    END IF;
  END IF;

  IF NOT is_live THEN
    UPDATE challenges SET superseded_at = t WHERE id = c.id;
    INSERT INTO challenges (id, user_id, purpose, client, known, device_id, code_mac, key_id, message_id, created_at, last_sent_at,
                            expires_at, ends_at)
    VALUES ((p_challenge->>'id')::uuid, p_user, p_challenge->>'purpose', p_challenge->>'client', is_known,
            (p_challenge->>'device_id')::uuid, decode(p_challenge->>'code_mac', 'hex'), p_challenge->>'key_id', text_id, t, t,
            t + least(seconds(p_policy->>'code_ttl'), seconds(p_policy->>'challenge_ttl')), t + seconds(p_policy->>'challenge_ttl'))
    RETURNING * INTO c;
    PERFORM end_crowded_out(c, 3, t);
  ELSIF text_id IS NOT NULL THEN
    c := note_sent(c, text_id, p_policy, t);
  END IF;
  PERFORM record_event(p_event || jsonb_build_object('outcome', CASE WHEN is_live THEN 'joined' ELSE 'opened' END), p_user);
  RETURN challenge_state(c, p_policy, t)
      || jsonb_build_object('outcome', CASE WHEN is_live THEN 'joined' ELSE 'opened' END, 'message_id', text_id, 'spend', text_spend);
END $$;

-- Of the logins of one account and class with a code that was sent, all but the p_most youngest end.
CREATE OR REPLACE FUNCTION end_crowded_out(c challenges, p_most integer, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE challenges SET superseded_at = p_now WHERE id IN (
    SELECT id FROM challenges
    WHERE user_id = c.user_id AND known = c.known AND purpose = 'login' AND superseded_at IS NULL AND consumed_at IS NULL
      AND ends_at > p_now
    ORDER BY created_at DESC, id OFFSET p_most);
END $$;

-- The same code goes out once more: its life is counted from now, up to the challenge's end.
CREATE OR REPLACE FUNCTION note_sent(c challenges, p_text bigint, p_policy jsonb, p_now timestamptz) RETURNS challenges LANGUAGE plpgsql AS $$
BEGIN
  UPDATE challenges SET sends = sends + 1, message_id = p_text, last_sent_at = p_now,
    expires_at = least(p_now + seconds(p_policy->>'code_ttl'), ends_at)
  WHERE id = c.id RETURNING * INTO c;
  RETURN c;
END $$;

-- The challenge of a pending token, if the token is still worth anything: not used up, not replaced, not at its end,
-- and the account not disabled.
CREATE OR REPLACE FUNCTION pending_challenge(p_challenge uuid, p_user uuid, p_now timestamptz) RETURNS SETOF challenges LANGUAGE sql STABLE AS $$
  SELECT challenge.* FROM challenges challenge JOIN users u ON u.id = challenge.user_id
  WHERE challenge.id = p_challenge AND challenge.user_id = p_user AND consumed_at IS NULL AND superseded_at IS NULL
    AND ends_at > p_now AND u.disabled_at IS NULL
$$;

-- Whether a pending token is still worth anything.
CREATE OR REPLACE FUNCTION is_pending(p_challenge uuid, p_user uuid) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  RETURN EXISTS (SELECT FROM pending_challenge(p_challenge, p_user, t));
END $$;

-- How a pending token's challenge stands: found (with its state) | invalid.
CREATE OR REPLACE FUNCTION read_challenge(p_challenge uuid, p_user uuid, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  c challenges;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  RETURN challenge_state(c, p_policy, t) || jsonb_build_object('outcome', 'found', 'known', c.known,
    'phone', (SELECT phone FROM users WHERE id = p_user));
END $$;

-- Reserves the same code's next text: sent (with the challenge's state and "message_id") | invalid | locked | exhausted |
-- resend_too_soon | sms_limit_reached | sms_unavailable. Tries carry over.
CREATE OR REPLACE FUNCTION resend_code(p_challenge uuid, p_user uuid, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  refusal jsonb;
  text_id bigint;
  text_refusal text;
  text_retry_after integer;
  text_spend text;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  refusal := refusal_of_try(c, p_policy, t);
  IF refusal IS NOT NULL AND refusal->>'outcome' <> 'expired' THEN
    RETURN refusal;
  ELSIF c.sends >= (p_policy->>'max_sends')::integer THEN
    RETURN jsonb_build_object('outcome', 'sms_limit_reached',
      'retry_after', seconds_until(greatest(c.expires_at, c.last_sent_at + seconds(p_policy->>'cooldown')), t));
  ELSIF NOT (p_policy->>'may_send')::boolean THEN
    RETURN jsonb_build_object('outcome', 'sms_unavailable');
  END IF;
  SELECT * INTO text_id, text_refusal, text_retry_after, text_spend FROM reserve_text(p_user, c.id, c.known, p_policy->'text', t);
  IF text_refusal IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', text_refusal, 'retry_after', text_retry_after);
  END IF;
  c := note_sent(c, text_id, p_policy, t);
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, p_policy, t) || jsonb_build_object('outcome', 'sent', 'message_id', text_id, 'spend', text_spend);
END $$;

-- Why a challenge takes no answer, the account being locked: invalid | locked | exhausted | expired; NULL if it takes one.
CREATE OR REPLACE FUNCTION refusal_of_try(c challenges, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  locked_until timestamptz;
BEGIN
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  locked_until := (SELECT codes_locked_until(g, p_now) FROM factor_guards g WHERE g.user_id = c.user_id AND g.known = c.known);
  IF locked_until IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, p_now));
  ELSIF c.attempts >= (p_policy->>'max_attempts')::integer THEN
    RETURN jsonb_build_object('outcome', 'exhausted',
      'retry_after', seconds_until(c.last_sent_at + seconds(p_policy->>'cooldown'), p_now));
  ELSIF c.expires_at <= p_now THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  RETURN NULL;
END $$;

-- One answer to a challenge, from the count of the try to the session: nothing depends on the code that is not committed
-- together with the try. p_macs: the keyed hash of what was typed, by key id. What a code is worth is in its hash: its
-- challenge, user and purpose.
-- A login starts p_session; a step-up (p_session has no "ttl") raises the live session that it names.
-- completed (with the session and the device) | wrong (attempts_remaining) | invalid | locked | exhausted | expired
CREATE OR REPLACE FUNCTION answer_challenge(p_challenge uuid, p_user uuid, p_macs jsonb, p_policy jsonb, p_session jsonb, p_device jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  s sessions;
  d devices;
  refusal jsonb;
  is_step_up boolean := NOT p_session ? 'ttl';
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  IF is_step_up THEN
    -- Kept to this transaction first: a refresh token that comes twice ends a session without the account's lock.
    PERFORM FROM sessions WHERE id = (p_session->>'id')::uuid FOR UPDATE;
    SELECT * INTO s FROM live_session((p_session->>'id')::uuid, p_user, t);
    IF s.id IS NULL THEN
      RETURN jsonb_build_object('outcome', 'invalid');
    END IF;
  END IF;
  refusal := refusal_of_try(c, p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF decode(p_macs->>c.key_id, 'hex') IS DISTINCT FROM c.code_mac THEN
    RETURN wrong_answer(c, s, p_policy, p_event, t);
  END IF;

  UPDATE challenges SET attempts = attempts + 1, consumed_at = t WHERE id = c.id;
  UPDATE factor_guards SET streak = 0, locked_until = NULL WHERE user_id = p_user AND known = c.known AND streak > 0;
  UPDATE sms_messages SET state = 'finished' WHERE user_id = p_user AND challenge_id = c.id AND state IN ('open', 'unsure');
  d := use_device(p_user, coalesce(s.device_id, c.device_id), CASE WHEN is_step_up THEN p_device - 'token_hash' ELSE p_device END, t);
  IF is_step_up THEN
    UPDATE sessions SET authenticated_at = t, last_used_at = t, acr = p_session->>'acr', proofs_failed_at = '{}',
      amr = ARRAY(SELECT jsonb_array_elements_text(p_session->'amr'))
    WHERE id = s.id RETURNING * INTO s;
  ELSE
    s := insert_session(p_user, d.id, p_session, t);
  END IF;
  PERFORM record_event(p_event || jsonb_build_object('type', 'login.succeeded', 'outcome', s.acr), p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'completed', 'device', device_state(d, p_device, t));
END $$;

-- Counts a wrong answer on its challenge, its account and, at a step-up, its session: the fifth of one session within 24
-- hours ends that session. "locked": the class of clients whose codes it has locked; "ended": whether the session ended.
CREATE OR REPLACE FUNCTION wrong_answer(c challenges, s sessions, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  g factor_guards := count_wrong_code(c.user_id, c.known, s.id IS NULL, p_now);
  proofs integer := count_failed_proof(s, p_event, p_now);
  remaining integer := least((p_policy->>'max_attempts')::integer - c.attempts - 1, codes_left(g, s.id IS NULL, p_now), proofs);
  locked text := CASE WHEN codes_locked_until(g, p_now) IS NOT NULL THEN CASE WHEN c.known THEN 'known' ELSE 'strangers' END END;
BEGIN
  UPDATE challenges SET attempts = attempts + 1 WHERE id = c.id;
  PERFORM record_event(p_event || jsonb_build_object('type', 'code.failed', 'outcome', remaining || ' left'), c.user_id);
  IF locked IS NOT NULL THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'factor.locked', 'outcome', locked), c.user_id);
  END IF;
  RETURN jsonb_build_object('outcome', 'wrong', 'attempts_remaining', remaining, 'locked', locked, 'ended', coalesce(proofs <= 0, false));
END $$;
