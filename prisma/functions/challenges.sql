-- Challenges: one proof of one method at a time, from the first step to the last. What a method is, the service says: which
-- of them are guarded (refused while codes are locked, their failures counted), and with each candidate or answer what is
-- sent and how it is judged. No function here knows a method by its name.

-- What the holder of a pending token may know about its challenge. "code": the one that its method has sent, if it sends.
CREATE OR REPLACE FUNCTION challenge_state(c challenges, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  g factor_guards;
  k challenge_codes;
  is_guarded boolean := c.purpose <> 'enrol' AND coalesce(p_policy->'guarded' ? c.method, false);
BEGIN
  SELECT * INTO g FROM factor_guards WHERE user_id = c.user_id AND known = c.known;
  SELECT * INTO k FROM challenge_codes WHERE challenge_id = c.id AND method = c.method;
  RETURN jsonb_build_object(
    'challenge_id', c.id,
    'method', c.method,
    'begun', c.begun,
    'proves_mailbox', c.proves_mailbox,
    'expires_in', greatest(0, floor(extract(epoch FROM c.ends_at - p_now)))::integer,
    'attempts_remaining', least((p_policy->>'max_attempts')::integer - c.attempts,
      CASE WHEN is_guarded THEN codes_left(g, c.purpose = 'login', p_now) END,
      CASE WHEN c.purpose = 'step_up' THEN proofs_left(c.client, p_now) END),
    'codes_locked', codes_locked_until(g, p_now) IS NOT NULL,
    -- Without a try left no further code goes out.
    'code', CASE WHEN k.challenge_id IS NOT NULL THEN code_state(k, c.ends_at, p_policy, p_now)
      || CASE WHEN c.attempts < (p_policy->>'max_attempts')::integer THEN '{}' ELSE '{"resend_after": null}' END::jsonb END);
END $$;

-- How long the next message by p_channel has to wait. p_policy: {cooldown, mail_cooldown (where that of mails is another)}.
CREATE OR REPLACE FUNCTION cooldown_of(p_policy jsonb, p_channel text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
  SELECT seconds(coalesce(CASE p_channel WHEN 'mail' THEN p_policy->>'mail_cooldown' END, p_policy->>'cooldown'))
$$;

-- How a code that was sent stands; "resend_after": seconds, null when it will not be sent again.
CREATE OR REPLACE FUNCTION code_state(k challenge_codes, p_ends_at timestamptz, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  resend_at timestamptz;
  the_delivery text;
  is_cooling boolean;
BEGIN
  IF k.channel = 'sms' THEN
    SELECT m.delivery, is_cooling(m) INTO the_delivery, is_cooling FROM sms_messages m WHERE m.id = k.message_id;
  ELSE
    SELECT m.delivery, m.state = 'open' OR m.delivery = 'failed' INTO the_delivery, is_cooling FROM mails m WHERE m.id = k.message_id;
  END IF;
  resend_at := k.last_sent_at + CASE WHEN is_cooling THEN cooldown_of(p_policy, k.channel) ELSE interval '0' END;
  RETURN jsonb_build_object(
    'key_id', k.key_id,
    'code_expires_in', greatest(0, floor(extract(epoch FROM k.expires_at - p_now)))::integer,
    'resend_after', CASE WHEN k.sends < (p_policy->>'max_sends')::integer AND resend_at < p_ends_at
      THEN greatest(0, ceil(extract(epoch FROM resend_at - p_now)))::integer END,
    'delivery', coalesce(the_delivery, 'sent'));
END $$;

-- Reserves what a candidate sends, a text or a mail: its number, or which limit refuses it and for how long.
-- p_candidate: {method, guarded, in_cooldown, sends (sms, mail or null), may_send, code {mac (hex), key_id}, text, mail}.
CREATE OR REPLACE FUNCTION reserve_message(p_user uuid, p_challenge uuid, p_known boolean, p_candidate jsonb, p_now timestamptz,
  OUT id bigint, OUT outcome text, OUT retry_after integer, OUT spend text) LANGUAGE plpgsql AS $$
BEGIN
  IF NOT (p_candidate->>'may_send')::boolean THEN
    outcome := (p_candidate->>'sends') || '_unavailable';
  ELSIF p_candidate->>'sends' = 'sms' THEN
    SELECT r.* INTO id, outcome, retry_after, spend FROM reserve_text(p_user, p_challenge, p_known, p_candidate->'text', p_now) r;
  ELSE
    SELECT r.* INTO id, outcome, retry_after FROM reserve_mail(p_user, p_challenge, p_known, p_candidate->'mail', p_now) r;
  END IF;
END $$;

-- The code of a method goes out, or the same one once more: its life is counted from now, that of a mailed one, which may
-- be slow, is its challenge's.
CREATE OR REPLACE FUNCTION note_sent(c challenges, p_candidate jsonb, p_message bigint, p_policy jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  ends timestamptz := CASE p_candidate->>'sends' WHEN 'mail' THEN c.ends_at ELSE least(p_now + seconds(p_policy->>'code_ttl'), c.ends_at) END;
BEGIN
  INSERT INTO challenge_codes AS k (challenge_id, method, channel, code_mac, key_id, message_id, last_sent_at, expires_at)
  VALUES (c.id, p_candidate->>'method', p_candidate->>'sends', decode(p_candidate->'code'->>'mac', 'hex'), p_candidate->'code'->>'key_id',
    p_message, p_now, ends)
  ON CONFLICT (challenge_id, method) DO UPDATE SET sends = k.sends + 1, message_id = p_message, last_sent_at = p_now, expires_at = ends;
END $$;

-- The password was right, or a session asks for a proof: gives the password's charge back, joins this client's live challenge
-- or opens one, goes on with the first candidate that can go on, and reserves the message that is due. A challenge belongs to
-- one client; at most three with a code that was sent live per account and class, a fourth ends the oldest. p_epoch: the
-- account as the password was checked on. p_keys: the counters that were charged, NULL at a step-up. p_challenge: {id,
-- purpose, client, known, device_id, proves_mailbox}. Without candidates it waits for the first factor (must_enrol).
-- opened | joined (with the challenge's state, and "message_id" and "channel" when something is to be sent) | stale |
-- locked | what refused the best candidate that sends (with retry_after)
CREATE OR REPLACE FUNCTION open_challenge(p_user uuid, p_epoch integer, p_keys bytea[], p_challenge jsonb, p_candidates jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  is_known boolean := (p_challenge->>'known')::boolean;
  c challenges;
  is_live boolean;
  step jsonb;
BEGIN
  IF p_keys IS NOT NULL THEN
    PERFORM give_back_password(p_keys, (p_challenge->>'device_id')::uuid, true);
  END IF;
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  SELECT * INTO c FROM challenges
  WHERE user_id = p_user AND purpose = p_challenge->>'purpose' AND client = p_challenge->>'client' AND superseded_at IS NULL;
  -- Where none of them is what it goes on with, another code would have to be sent than the one that is stored with it.
  is_live := FOUND AND may_be_joined(c, p_challenge, p_policy, t)
    AND (c.method IS NULL OR p_candidates @> jsonb_build_array(jsonb_build_object('method', c.method)));
  step := next_step(p_user, CASE WHEN is_live THEN c.id ELSE (p_challenge->>'id')::uuid END, is_known,
    CASE WHEN is_live THEN c.method END, p_candidates, p_policy, t);
  IF step ? 'refusal' THEN
    RETURN step->'refusal';
  END IF;

  IF NOT is_live THEN
    IF c.id IS NOT NULL THEN
      UPDATE challenges SET superseded_at = t WHERE id = c.id;
    END IF;
    INSERT INTO challenges (id, user_id, purpose, client, known, device_id, method, begun, proves_mailbox, created_at, ends_at)
    VALUES ((p_challenge->>'id')::uuid, p_user, p_challenge->>'purpose', p_challenge->>'client', is_known,
            (p_challenge->>'device_id')::uuid, step->'candidate'->>'method', array_remove(ARRAY[step->'candidate'->>'method'], NULL),
            coalesce((p_challenge->>'proves_mailbox')::boolean, false), t, t + seconds(p_policy->>'challenge_ttl'))
    RETURNING * INTO c;
  ELSIF c.method IS DISTINCT FROM step->'candidate'->>'method' THEN
    c := go_on_with(c, step->'candidate'->>'method');
  END IF;
  IF step ? 'message_id' THEN
    PERFORM note_sent(c, step->'candidate', (step->>'message_id')::bigint, p_policy, t);
    PERFORM end_crowded_out(c, 3, t);
  END IF;
  p_event := p_event || jsonb_build_object('outcome', CASE WHEN is_live THEN 'joined' ELSE 'opened' END, 'factor', c.method);
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, p_policy, t) || jsonb_build_object('outcome', p_event->'outcome', 'message_id', step->'message_id',
    'channel', CASE WHEN step ? 'message_id' THEN step->'candidate'->'sends' END, 'spend', step->'spend');
END $$;

-- Whether another login of the same client goes on with this challenge: tries are left, and what it has sent is still good.
CREATE OR REPLACE FUNCTION may_be_joined(c challenges, p_challenge jsonb, p_policy jsonb, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN c.consumed_at IS NULL AND c.ends_at > p_now AND c.attempts < (p_policy->>'max_attempts')::integer
    AND c.proves_mailbox = coalesce((p_challenge->>'proves_mailbox')::boolean, false)
    AND NOT EXISTS (SELECT FROM challenge_codes k WHERE k.challenge_id = c.id AND k.method = c.method AND k.expires_at <= p_now);
END $$;

-- What a challenge goes on with: p_method where that still can go on (it is joined), or the first candidate that can.
-- {candidate, message_id?, spend?} or {refusal}. While codes are locked guarded methods cannot; what would send cannot where
-- its limits refuse it, and in its cooldown not every other candidate is a way out (recovery codes are none).
CREATE OR REPLACE FUNCTION next_step(p_user uuid, p_challenge uuid, p_known boolean, p_method text, p_candidates jsonb, p_policy jsonb, p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  locked_until timestamptz := (SELECT codes_locked_until(g, p_now) FROM factor_guards g WHERE g.user_id = p_user AND g.known = p_known);
  candidate jsonb;
  goes_on boolean;
  refusal jsonb;
  r record;
BEGIN
  FOR candidate IN SELECT value FROM jsonb_array_elements(p_candidates) WITH ORDINALITY ORDER BY value->>'method' IS DISTINCT FROM p_method, ordinality LOOP
    goes_on := candidate->>'method' IS NOT DISTINCT FROM p_method;
    IF locked_until IS NOT NULL AND p_policy->'guarded' ? (candidate->>'method') THEN
      refusal := coalesce(refusal, jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, p_now)));
    ELSIF candidate->>'sends' IS NULL THEN
      IF refusal IS NULL OR refusal->>'outcome' <> 'resend_too_soon' OR (candidate->>'in_cooldown')::boolean THEN
        RETURN jsonb_build_object('candidate', candidate);
      END IF;
    ELSIF goes_on AND NOT may_send_again(p_challenge, p_method, candidate, p_policy) THEN
      RETURN jsonb_build_object('candidate', candidate);
    ELSE
      r := reserve_message(p_user, p_challenge, p_known, candidate, p_now);
      IF r.id IS NOT NULL THEN
        RETURN jsonb_build_object('candidate', candidate, 'message_id', r.id, 'spend', r.spend);
      ELSIF goes_on THEN
        -- The code that is there is good still.
        RETURN jsonb_build_object('candidate', candidate);
      END IF;
      refusal := coalesce(refusal, jsonb_build_object('outcome', r.outcome, 'retry_after', r.retry_after));
    END IF;
  END LOOP;
  IF jsonb_array_length(p_candidates) = 0 THEN
    RETURN jsonb_build_object('candidate', NULL);
  END IF;
  RETURN jsonb_build_object('refusal', refusal);
END $$;

-- Whether the code of a live challenge may go out once more.
CREATE OR REPLACE FUNCTION may_send_again(p_challenge uuid, p_method text, p_candidate jsonb, p_policy jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (p_candidate->>'may_send')::boolean AND NOT EXISTS (
    SELECT FROM challenge_codes WHERE challenge_id = p_challenge AND method = p_method AND sends >= (p_policy->>'max_sends')::integer);
END $$;

-- The same challenge goes on with another method; the codes that were sent stay good.
CREATE OR REPLACE FUNCTION go_on_with(c challenges, p_method text) RETURNS challenges LANGUAGE plpgsql AS $$
BEGIN
  UPDATE challenges SET method = p_method, begun = CASE WHEN p_method = ANY (begun) THEN begun ELSE begun || p_method END
  WHERE id = c.id RETURNING * INTO c;
  RETURN c;
END $$;

-- A login has sent a code: of its account and class's with one that was sent, it and the youngest others live on, p_most in all.
CREATE OR REPLACE FUNCTION end_crowded_out(c challenges, p_most integer, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  crowded_out uuid[] := ARRAY(
    SELECT id FROM challenges live
    WHERE user_id = c.user_id AND known = c.known AND purpose = 'login' AND superseded_at IS NULL AND consumed_at IS NULL
      AND ends_at > p_now AND id <> c.id AND c.purpose = 'login' AND EXISTS (SELECT FROM challenge_codes WHERE challenge_id = live.id)
    ORDER BY created_at DESC, id OFFSET p_most - 1);
BEGIN
  IF crowded_out <> '{}' THEN
    UPDATE challenges SET superseded_at = p_now WHERE id = ANY (crowded_out);
  END IF;
END $$;

-- The challenge of a pending token, if the token is still worth anything: of that purpose, not used up, not replaced, not at
-- its end, the account not disabled, and the session that it was begun in, if it was in one, not ended.
CREATE OR REPLACE FUNCTION pending_challenge(p_challenge uuid, p_user uuid, p_purpose text, p_now timestamptz) RETURNS SETOF challenges LANGUAGE sql STABLE AS $$
  SELECT challenge.* FROM challenges challenge JOIN users u ON u.id = challenge.user_id
  WHERE challenge.id = p_challenge AND challenge.user_id = p_user AND purpose = p_purpose AND consumed_at IS NULL AND superseded_at IS NULL
    AND ends_at > p_now AND u.disabled_at IS NULL
    AND (session_of(client) IS NULL OR EXISTS (SELECT FROM live_session(session_of(client), p_user, p_now)))
$$;

-- Whether a pending token is still worth anything.
CREATE OR REPLACE FUNCTION is_pending(p_challenge uuid, p_user uuid, p_purpose text) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  RETURN EXISTS (SELECT FROM pending_challenge(p_challenge, p_user, p_purpose, t));
END $$;

-- How a pending token's challenge stands: found (with its state, the account, and what its set-up is) | invalid.
CREATE OR REPLACE FUNCTION read_challenge(p_challenge uuid, p_user uuid, p_purpose text, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  c challenges;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  RETURN challenge_state(c, p_policy, t) || jsonb_build_object('outcome', 'found', 'known', c.known, 'parent_id', c.parent_id,
    'setup', encode(c.setup, 'hex'), 'account', (SELECT account_state(u) - 'password_hash' FROM users u WHERE u.id = p_user));
END $$;

-- The challenge goes on with another method, with the tries that are left; what that sends is reserved, at most max_sends
-- times. Where nothing may go out and its earlier code is good still, it goes back to that.
-- switched (with the challenge's state, "message_id", "channel") | invalid | locked | exhausted | what refuses it
CREATE OR REPLACE FUNCTION switch_method(p_challenge uuid, p_user uuid, p_purpose text, p_candidate jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  g factor_guards;
  refusal jsonb;
  sent jsonb := '{}';
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  SELECT * INTO g FROM factor_guards WHERE user_id = c.user_id AND known = c.known;
  refusal := refusal_of_try(c, g, p_candidate->>'method', p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF p_candidate->>'sends' IS NOT NULL THEN
    sent := send_again(c, p_candidate, p_policy, t);
    IF sent ? 'outcome' AND (p_candidate->>'method' = c.method OR NOT has_good_code(c, p_candidate->>'method', p_policy, t)) THEN
      RETURN sent;
    END IF;
    sent := sent - 'outcome' - 'retry_after';
  END IF;
  c := go_on_with(c, p_candidate->>'method');
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, p_policy, t) || sent || jsonb_build_object('outcome', 'switched');
END $$;

-- Whether a method has sent its code in this challenge, and that has not run out, nor certainly not come.
CREATE OR REPLACE FUNCTION has_good_code(c challenges, p_method text, p_policy jsonb, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM challenge_codes k WHERE k.challenge_id = c.id AND k.method = p_method AND k.expires_at > p_now
      AND code_state(k, c.ends_at, p_policy, p_now)->>'delivery' <> 'failed');
END $$;

-- Reserves the next message with the same code: sent (with the challenge's state, "message_id", "channel") | invalid |
-- locked | exhausted | what refuses it. Tries carry over.
CREATE OR REPLACE FUNCTION resend_code(p_challenge uuid, p_user uuid, p_purpose text, p_candidate jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  g factor_guards;
  refusal jsonb;
  sent jsonb;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  SELECT * INTO g FROM factor_guards WHERE user_id = c.user_id AND known = c.known;
  refusal := refusal_of_try(c, g, p_candidate->>'method', p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  sent := send_again(c, p_candidate, p_policy, t);
  IF sent ? 'outcome' THEN
    RETURN sent;
  END IF;
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, p_policy, t) || sent || jsonb_build_object('outcome', 'sent');
END $$;

-- A message with the code of a challenge, if its limits allow one: {message_id, channel, spend} or {outcome, retry_after}.
CREATE OR REPLACE FUNCTION send_again(c challenges, p_candidate jsonb, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  channel text := p_candidate->>'sends';
  refusal jsonb := CASE WHEN c.purpose = 'enrol' THEN refusal_of_new_number(c.user_id, p_candidate, p_now) END;
  k challenge_codes;
  r record;
BEGIN
  SELECT * INTO k FROM challenge_codes WHERE challenge_id = c.id AND method = p_candidate->>'method';
  IF k.sends >= (p_policy->>'max_sends')::integer THEN
    RETURN jsonb_build_object('outcome', channel || '_limit_reached',
      'retry_after', seconds_until(greatest(k.expires_at, k.last_sent_at + cooldown_of(p_policy, channel)), p_now));
  END IF;
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  r := reserve_message(c.user_id, c.id, c.known AND c.purpose <> 'enrol', p_candidate, p_now);
  IF r.id IS NULL THEN
    RETURN jsonb_build_object('outcome', r.outcome, 'retry_after', r.retry_after);
  END IF;
  PERFORM note_sent(c, p_candidate, r.id, p_policy, p_now);
  PERFORM end_crowded_out(c, 3, p_now);
  RETURN jsonb_build_object('message_id', r.id, 'channel', channel, 'spend', r.spend);
END $$;

-- A message was certainly not sent: its challenge goes on with the best candidate that sends nothing (p_methods, in order);
-- its state, or NULL where there is none or the challenge has gone on already.
CREATE OR REPLACE FUNCTION leave_method(p_challenge uuid, p_user uuid, p_method text, p_methods text[], p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
BEGIN
  SELECT * INTO c FROM challenges WHERE id = p_challenge AND user_id = p_user AND method = p_method AND consumed_at IS NULL
    AND superseded_at IS NULL AND ends_at > t;
  IF c.id IS NULL OR cardinality(p_methods) = 0 THEN
    RETURN NULL;
  END IF;
  RETURN challenge_state(go_on_with(c, p_methods[1]), p_policy, t);
END $$;

-- Why a challenge takes no answer by a method, the account being locked: invalid | locked | exhausted; NULL if it takes one.
-- g: the failed codes of its class. An enrolment is not refused while codes are locked: it proves what nobody else has.
CREATE OR REPLACE FUNCTION refusal_of_try(c challenges, g factor_guards, p_method text, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  locked_until timestamptz := codes_locked_until(g, p_now);
BEGIN
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  ELSIF locked_until IS NOT NULL AND c.purpose <> 'enrol' AND p_policy->'guarded' ? p_method THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, p_now));
  ELSIF c.attempts >= (p_policy->>'max_attempts')::integer THEN
    RETURN jsonb_build_object('outcome', 'exhausted',
      'retry_after', seconds_until(coalesce((SELECT max(last_sent_at + cooldown_of(p_policy, channel)) FROM challenge_codes WHERE challenge_id = c.id),
        p_now), p_now));
  END IF;
  RETURN NULL;
END $$;
