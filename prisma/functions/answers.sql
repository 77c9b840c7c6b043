-- Answers to challenges: the try counted, judged, and what a right one brings, in one decision that is committed before
-- anybody is told.

-- One answer to a challenge, from the count of the try to the session: nothing depends on what was typed that is not
-- committed together with the try. p_proof: {method (the challenge's if null), traits (of the methods that it may be
-- an answer to: judged_by, any_time, may_trust, tells, amr, acr), codes (by method, the keyed hash of what was typed by key id:
-- what a code is worth is in its hash: its challenge, user, purpose and method), recovery (the same as a list), verdict (of the
-- service, about a method that it judges itself), new_factor and fresh_recovery (of an enrolment), next_id (of the challenge
-- after a mailbox proof)}.
-- A login starts p_session; where p_session has no "ttl" the live session that it names is raised.
-- completed (with the session and the device) | mailbox_proven (challenge_id, expires_in) | wrong (attempts_remaining) |
-- needs_verdict (factors, setup: nothing was counted yet) | unreadable | not_begun | conflict | invalid | locked | exhausted | expired
CREATE OR REPLACE FUNCTION answer_challenge(p_challenge uuid, p_user uuid, p_purpose text, p_proof jsonb, p_policy jsonb, p_session jsonb, p_device jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  s sessions;
  g factor_guards;
  k challenge_codes;
  the_method text;
  refusal jsonb;
  added jsonb;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  IF NOT p_session ? 'ttl' THEN
    -- Kept to this transaction first: a refresh token that comes twice ends a session without the account's lock.
    PERFORM FROM sessions WHERE id = (p_session->>'id')::uuid FOR UPDATE;
    SELECT * INTO s FROM live_session((p_session->>'id')::uuid, p_user, t);
    IF s.id IS NULL THEN
      RETURN jsonb_build_object('outcome', 'invalid');
    END IF;
  END IF;
  the_method := coalesce(p_proof->>'method', c.method);
  p_event := p_event || jsonb_build_object('factor', the_method);
  IF c.id IS NOT NULL AND NOT may_answer_by(c, the_method, p_proof->'traits'->the_method, p_policy) THEN
    RETURN jsonb_build_object('outcome', 'not_begun', 'method', the_method);
  END IF;
  SELECT * INTO g FROM factor_guards WHERE user_id = c.user_id AND known = c.known;
  refusal := refusal_of_try(c, g, the_method, p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  SELECT * INTO k FROM challenge_codes WHERE challenge_id = c.id AND method = the_method;
  IF k.expires_at <= t THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  refusal := missing_proof(c, the_method, p_proof);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  p_proof := p_proof || jsonb_build_object('verdict', weigh_verdict(p_proof->'verdict'));
  IF NOT is_right_answer(c, k, the_method, p_proof, t) THEN
    RETURN wrong_answer(c, s, the_method, p_policy, p_event, t);
  END IF;

  IF c.purpose = 'enrol' THEN
    added := add_factor(c, s.id, coalesce(p_proof->'verdict'->'new_factor', p_proof->'new_factor'), p_proof, p_policy, p_event, t);
    IF added ? 'outcome' THEN
      RETURN added;
    END IF;
  END IF;
  PERFORM use_up(c, g, t);
  IF c.proves_mailbox THEN
    RETURN let_enrol(c, p_proof, p_policy, p_event, t);
  END IF;
  RETURN complete(c, s, the_method, p_proof, p_policy, p_session, p_device, p_event, t) || coalesce(added, '{}');
END $$;

-- Whether an answer by this method is heard at all: one that was begun in this login, or one that its user has, that is used here
-- and that may be named at any time. In an enrolment, and to prove a mailbox, only its own.
CREATE OR REPLACE FUNCTION may_answer_by(c challenges, p_method text, p_traits jsonb, p_policy jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_method IS NULL THEN
    RETURN false;
  ELSIF c.purpose = 'enrol' OR c.proves_mailbox THEN
    RETURN p_method = c.method;
  ELSIF p_method = ANY (c.begun) THEN
    RETURN true;
  END IF;
  RETURN coalesce((p_traits->>'any_time')::boolean, false) AND CASE p_traits->>'judged_by'
    WHEN 'recovery' THEN EXISTS (SELECT FROM recovery_codes WHERE user_id = c.user_id)
    ELSE p_policy->'factors' ? p_method AND EXISTS (SELECT FROM factors WHERE user_id = c.user_id AND method = p_method) END;
END $$;

-- What an answer lacks to be judged by its method: NULL, if nothing. unreadable: what was typed has not the form of a code of
-- it. needs_verdict: the service is to judge it, by this.
CREATE OR REPLACE FUNCTION missing_proof(c challenges, p_method text, p_proof jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  judged_by text := p_proof->'traits'->p_method->>'judged_by';
BEGIN
  IF judged_by IS NULL
    OR judged_by = 'code' AND NOT coalesce(p_proof->'codes' ? p_method, false)
    OR judged_by = 'recovery' AND coalesce(jsonb_array_length(p_proof->'recovery'), 0) = 0 THEN
    RETURN jsonb_build_object('outcome', 'unreadable', 'method', p_method);
  ELSIF judged_by = 'service' AND p_proof->'verdict'->>'method' IS DISTINCT FROM p_method THEN
    RETURN jsonb_build_object('outcome', 'needs_verdict', 'method', p_method, 'setup', encode(c.setup, 'hex'),
      'user', (SELECT jsonb_build_object('email', email, 'user_handle', base64url(handle)) FROM users WHERE id = c.user_id),
      'factors', (SELECT coalesce(jsonb_agg(factor_state(f)), '[]') FROM factors f WHERE user_id = c.user_id AND method = p_method));
  END IF;
  RETURN NULL;
END $$;

-- Whether an answer is right, and with that whatever it can be right for once only is used up.
CREATE OR REPLACE FUNCTION is_right_answer(c challenges, k challenge_codes, p_method text, p_proof jsonb, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  verdict jsonb := p_proof->'verdict';
BEGIN
  CASE p_proof->'traits'->p_method->>'judged_by'
    WHEN 'code' THEN
      IF decode(p_proof->'codes'->p_method->>k.key_id, 'hex') IS DISTINCT FROM k.code_mac OR k.code_mac IS NULL THEN
        RETURN false;
      END IF;
      IF c.purpose <> 'enrol' THEN
        UPDATE factors SET last_used_at = p_now WHERE user_id = c.user_id AND method = p_method;
      END IF;
      RETURN true;
    WHEN 'recovery' THEN
      DELETE FROM recovery_codes
      WHERE user_id = c.user_id AND mac IN (SELECT decode(value, 'hex') FROM jsonb_array_elements_text(p_proof->'recovery'));
      IF NOT FOUND THEN
        RETURN false;
      END IF;
      UPDATE recovery_codes SET last_used_at = p_now WHERE user_id = c.user_id;
      RETURN true;
    ELSE
      IF NOT (verdict->>'right')::boolean OR c.purpose = 'enrol' THEN
        RETURN (verdict->>'right')::boolean;
      END IF;
      -- A counter that has to rise is what makes a code good for one use, in whatever challenge.
      UPDATE factors SET counter = greatest(counter, (verdict->>'counter')::bigint), last_used_at = p_now,
        data = data || coalesce(verdict->'data', '{}')
      WHERE id = (verdict->>'factor_id')::uuid AND user_id = c.user_id AND method = p_method
        AND (NOT coalesce((verdict->>'rises')::boolean, false) OR counter < (verdict->>'counter')::bigint);
      RETURN FOUND;
  END CASE;
END $$;

-- A challenge has had its success: it takes no second one, its messages count against nobody, and the failures in a row of its
-- class are over.
CREATE OR REPLACE FUNCTION use_up(c challenges, g factor_guards, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  channels text[] := ARRAY(SELECT channel FROM challenge_codes WHERE challenge_id = c.id);
BEGIN
  UPDATE challenges SET attempts = attempts + 1, consumed_at = p_now WHERE id = c.id;
  IF c.parent_id IS NOT NULL THEN
    UPDATE challenges SET consumed_at = p_now WHERE id = c.parent_id AND consumed_at IS NULL;
  END IF;
  IF g.streak > 0 AND c.purpose <> 'enrol' THEN
    UPDATE factor_guards SET streak = 0, locked_until = NULL WHERE user_id = c.user_id AND known = c.known;
  END IF;
  IF 'sms' = ANY (channels) THEN
    UPDATE sms_messages SET state = 'finished' WHERE user_id = c.user_id AND challenge_id = c.id AND state IN ('open', 'unsure');
  END IF;
  IF 'mail' = ANY (channels) THEN
    UPDATE mails SET state = 'finished' WHERE user_id = c.user_id AND challenge_id = c.id AND state = 'open';
  END IF;
END $$;

-- The mailbox is proven: from here on, and for as long as a challenge lives, the first factor can be set up.
CREATE OR REPLACE FUNCTION let_enrol(c challenges, p_proof jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  UPDATE users SET email_confirmed_at = coalesce(email_confirmed_at, p_now) WHERE id = c.user_id;
  UPDATE challenges SET superseded_at = p_now
  WHERE user_id = c.user_id AND purpose = 'must_enrol' AND client = c.client AND superseded_at IS NULL;
  INSERT INTO challenges (id, user_id, purpose, client, known, device_id, created_at, ends_at)
  VALUES ((p_proof->>'next_id')::uuid, c.user_id, 'must_enrol', c.client, c.known, c.device_id, p_now, p_now + seconds(p_policy->>'challenge_ttl'));
  -- Whoever is signed in has proven it for as long as that lasts.
  UPDATE sessions SET mailbox_proven = true WHERE id = session_of(c.client);
  PERFORM record_event(p_event || jsonb_build_object('type', 'mailbox.proven', 'outcome', 'proven'), c.user_id);
  RETURN jsonb_build_object('outcome', 'mailbox_proven', 'challenge_id', p_proof->>'next_id', 'expires_in', (p_policy->>'challenge_ttl')::integer,
    'method', c.method);
END $$;

-- What a right answer brings: the session, new or raised, and the device that it is known by.
CREATE OR REPLACE FUNCTION complete(c challenges, s sessions, p_method text, p_proof jsonb, p_policy jsonb, p_session jsonb, p_device jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  traits jsonb := p_proof->'traits'->p_method;
  level jsonb := jsonb_build_object('amr', coalesce(p_proof->'verdict'->'amr', traits->'amr'), 'acr', traits->>'acr');
  is_raised boolean := s.id IS NOT NULL;
  d devices;
  codes_left integer;
  answer jsonb;
BEGIN
  IF NOT (traits->>'may_trust')::boolean THEN
    p_device := p_device || '{"trust": false}';
  END IF;
  d := use_device(c.user_id, coalesce(s.device_id, c.device_id), CASE WHEN is_raised THEN p_device - 'token_hash' ELSE p_device END, p_event, p_now);
  IF is_raised THEN
    UPDATE sessions SET authenticated_at = p_now, last_used_at = p_now, acr = level->>'acr',
      amr = ARRAY(SELECT jsonb_array_elements_text(level->'amr'))
    WHERE id = s.id RETURNING * INTO s;
  ELSE
    s := insert_session(c.user_id, d.id, p_session || level, p_now);
  END IF;
  IF p_policy->'factors' ? p_method OR traits->>'judged_by' = 'recovery' THEN
    UPDATE users SET email_codes_off = false WHERE id = c.user_id AND email_codes_off;
  END IF;
  PERFORM record_event(p_event || jsonb_build_object('type', CASE WHEN is_raised THEN 'session.raised' ELSE 'session.started' END, 'outcome', s.acr), c.user_id);
  PERFORM record_device(c.user_id, d, p_device, p_event);
  PERFORM tell_of_sign_in(c.user_id, d, p_device, p_policy, p_event, p_now);
  answer := session_state(s, p_now) || jsonb_build_object('outcome', 'completed', 'method', p_method, 'device', device_state(d, p_device, p_now));
  IF traits->>'judged_by' = 'recovery' THEN
    codes_left := (SELECT count(*) FROM recovery_codes WHERE user_id = c.user_id);
    PERFORM record_event(p_event || jsonb_build_object('type', 'recovery_code.used', 'outcome', codes_left || ' left'), c.user_id);
    PERFORM tell(c.user_id, 'recovery_code.used', jsonb_build_object('remaining', codes_left), false, p_policy, p_event, p_now);
    answer := answer || jsonb_build_object('recovery_codes_remaining', codes_left);
  END IF;
  IF (traits->>'tells')::boolean THEN
    PERFORM tell(c.user_id, p_method || '_code.used', '{}', true, p_policy, p_event, p_now);
  END IF;
  IF p_proof->'verdict' ? 'notices' THEN
    answer := answer || tell_of_verdict(c.user_id, p_proof->'verdict', p_policy, p_event || jsonb_build_object('factor', p_method), p_now);
  END IF;
  RETURN answer;
END $$;

-- Counts a wrong answer on its challenge and, where the method is guarded, its account; at a step-up also on its session: the
-- fifth of one session within 24 hours ends that session. "locked": the class of clients whose codes it has locked;
-- "ended": whether the session ended. An enrolment counts for itself alone.
CREATE OR REPLACE FUNCTION wrong_answer(c challenges, s sessions, p_method text, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  is_guarded boolean := c.purpose <> 'enrol' AND p_policy->'guarded' ? p_method;
  g factor_guards;
  proofs integer;
  remaining integer;
  locked text;
BEGIN
  IF is_guarded THEN
    g := count_wrong_code(c.user_id, c.known, s.id IS NULL, p_now);
    locked := CASE WHEN codes_locked_until(g, p_now) IS NOT NULL THEN CASE WHEN c.known THEN 'known' ELSE 'strangers' END END;
  END IF;
  IF c.purpose = 'step_up' THEN
    proofs := count_failed_proof(s, p_event, p_now);
  END IF;
  remaining := least((p_policy->>'max_attempts')::integer - c.attempts - 1, CASE WHEN is_guarded THEN codes_left(g, s.id IS NULL, p_now) END, proofs);
  UPDATE challenges SET attempts = attempts + 1 WHERE id = c.id;
  PERFORM record_event(p_event || jsonb_build_object('type', 'code.failed', 'outcome', remaining || ' left', 'detail', nullif(c.purpose, 'login')), c.user_id);
  IF locked IS NOT NULL THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'factor.locked', 'outcome', locked), c.user_id);
    PERFORM tell(c.user_id, 'codes.locked', '{}', true, p_policy, p_event, p_now);
  END IF;
  IF c.purpose = 'login' THEN
    PERFORM tell_of_failed_codes(c.user_id, p_policy, p_event, p_now);
  END IF;
  RETURN jsonb_build_object('outcome', 'wrong', 'method', p_method, 'attempts_remaining', remaining, 'locked', locked, 'ended', coalesce(proofs <= 0, false));
END $$;

-- Puts a notice to the user in the outbox, with when and from where it happened; p_daily: at most one of its kind a day.
-- Without a mail service (p_policy: notices false) there are none. Where a backend calls from says nothing to the user.
CREATE OR REPLACE FUNCTION tell(p_user uuid, p_topic text, p_data jsonb, p_daily boolean, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (p_policy->>'notices')::boolean THEN
    PERFORM record_notice(p_user, p_topic, p_data || CASE WHEN p_event->>'actor_type' = 'client' THEN '{}'
      ELSE jsonb_strip_nulls(jsonb_build_object('address', p_event->'address', 'user_agent', p_event->'user_agent')) END, p_daily, p_now);
  END IF;
END $$;

-- A sign-in from a device that was not known before is told, unless it is the first of an account that was made within a day.
-- (Devices are forgotten, and the log has an end.) This one is in the log already.
CREATE OR REPLACE FUNCTION tell_of_sign_in(p_user uuid, d devices, p_device jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF d.id IS DISTINCT FROM (p_device->>'id')::uuid OR NOT (p_policy->>'notices')::boolean THEN
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND created_at > p_now - interval '24 hours')
    OR EXISTS (SELECT FROM devices WHERE user_id = p_user AND id <> d.id)
    OR (SELECT count(*) FROM audit_events WHERE user_id = p_user AND type = 'session.started') > 1 THEN
    PERFORM tell(p_user, 'device.new', '{}', true, p_policy, p_event, p_now);
  END IF;
END $$;

-- What a right proof had about it that is recorded, and that its owner should hear of (p_verdict: the types of such events in
-- notices), which the answer says again.
CREATE OR REPLACE FUNCTION tell_of_verdict(p_user uuid, p_verdict jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  notice text;
BEGIN
  FOR notice IN SELECT jsonb_array_elements_text(coalesce(p_verdict->'notices', '[]')) LOOP
    PERFORM record_event(p_event || jsonb_build_object('type', notice, 'outcome', 'accepted'), p_user);
    PERFORM tell(p_user, notice, '{}', true, p_policy, p_event, p_now);
  END LOOP;
  RETURN CASE WHEN notice IS NULL THEN '{}' ELSE jsonb_build_object('notices', p_verdict->'notices') END;
END $$;

-- Three codes in a day that failed, or that nobody typed, after a right password: somebody else may have the password. Those of
-- a step-up or a set-up, which have their purpose as detail, are of somebody who is signed in.
CREATE OR REPLACE FUNCTION tell_of_failed_codes(p_user uuid, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT count(*) FROM audit_events WHERE user_id = p_user AND type IN ('code.failed', 'code.abandoned') AND detail IS NULL
      AND at > p_now - interval '24 hours') >= 3 THEN
    PERFORM tell(p_user, 'codes.failed', '{}', true, p_policy, p_event, p_now);
  END IF;
END $$;
