DROP FUNCTION is_right_answer(challenges,text,jsonb,timestamp with time zone);

DROP FUNCTION refusal_of_try(challenges,text,jsonb,timestamp with time zone);

DROP FUNCTION use_up(challenges,timestamp with time zone);

-- AlterTable
ALTER TABLE "sessions" ADD COLUMN     "mailbox_proven" BOOLEAN NOT NULL DEFAULT false;

-- AlterTable
ALTER TABLE "users" ADD COLUMN     "email_codes_off" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN     "erases_at" TIMESTAMPTZ(6),
ADD COLUMN     "password_state" TEXT NOT NULL DEFAULT 'set',
ALTER COLUMN "password_hash" DROP NOT NULL;

-- CreateTable
CREATE TABLE "mail_links" (
    "id" BIGSERIAL NOT NULL,
    "token_hash" BYTEA NOT NULL,
    "kind" TEXT NOT NULL,
    "email" TEXT NOT NULL,
    "user_id" UUID,
    "data" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,
    "ended_at" TIMESTAMPTZ(6),

    CONSTRAINT "mail_links_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "mail_links_token_hash_key" ON "mail_links"("token_hash");

-- CreateIndex
CREATE INDEX "mail_links_email_idx" ON "mail_links"("email");

-- CreateIndex
CREATE INDEX "mail_links_user_id_idx" ON "mail_links"("user_id");

-- CreateIndex
CREATE INDEX "mail_links_expires_at_idx" ON "mail_links"("expires_at");

-- CreateIndex
CREATE INDEX "mails_address_created_at_idx" ON "mails"("address", "created_at");

-- CreateIndex
CREATE INDEX "users_erases_at_idx" ON "users"("erases_at");

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
-- sessions, and the trust in devices, which stay known. A new password or phone also ends what was counted about the old
-- one, for both classes of clients. p_change: {password_hash?, phone?, two_factor?, disabled?, notices (whether the owner is
-- told)}; p_identifiers: the e-mail's keyed hashes. changed (id) | unknown | phone_taken
CREATE OR REPLACE FUNCTION change_user(p_email text, p_identifiers bytea[], p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz := lock_account(the_user);
BEGIN
  -- Of somebody who was forgotten at this moment nothing is written, here and below.
  IF NOT EXISTS (SELECT FROM users WHERE id = the_user) THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  IF p_change ? 'phone' THEN
    IF phone_is_taken(p_change->>'phone', the_user) THEN
      RETURN jsonb_build_object('outcome', 'phone_taken');
    END IF;
    PERFORM put_factor(the_user, jsonb_build_object('method', 'sms', 'phone', p_change->'phone'), false, t);
    -- What an operator decides is not taken back, here and below.
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'factor_removed' AND was->>'method' = 'sms';
  END IF;
  UPDATE users SET
    password_hash = coalesce(p_change->>'password_hash', password_hash),
    two_factor = coalesce(p_change->>'two_factor', two_factor),
    disabled_at = CASE p_change->>'disabled' WHEN 'true' THEN coalesce(disabled_at, t) WHEN 'false' THEN NULL ELSE disabled_at END,
    erases_at = CASE p_change->>'disabled' WHEN 'false' THEN NULL ELSE erases_at END,
    password_state = CASE WHEN p_change ? 'password_hash' THEN 'set' ELSE password_state END
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
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, p_email, t);
  PERFORM record_event(p_event, the_user);
  IF p_change->>'disabled' = 'true' THEN
    PERFORM tell(the_user, 'account.disabled', '{}', false, p_change, p_event, t);
  END IF;
  IF p_change ? 'password_hash' THEN
    PERFORM tell(the_user, 'password.reset', '{}', false, p_change, p_event, t);
  END IF;
  IF p_change ? 'phone' THEN
    PERFORM tell(the_user, 'phone.set', '{}', false, p_change, p_event, t);
  END IF;
  RETURN jsonb_build_object('outcome', 'changed', 'id', the_user);
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
CREATE OR REPLACE FUNCTION unlock_user(p_email text, p_identifiers bytea[], p_all boolean, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
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
-- that is nobody's.
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
  UPDATE audit_events SET user_id = nobody, address = NULL, detail = NULL, request_id = NULL WHERE user_id = OLD.id;
  RETURN NULL;
END $$;

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
  IF c.id IS NOT NULL AND NOT may_answer_by(c, the_method, p_proof->'traits'->the_method) THEN
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

-- Whether an answer by this method is heard at all: one that was begun in this login, or one that its user has and that may be
-- named at any time. In an enrolment, and to prove a mailbox, only its own.
CREATE OR REPLACE FUNCTION may_answer_by(c challenges, p_method text, p_traits jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
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
    ELSE EXISTS (SELECT FROM factors WHERE user_id = c.user_id AND method = p_method) END;
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
      RETURN FOUND;
    ELSE
      IF NOT (verdict->>'right')::boolean OR c.purpose = 'enrol' THEN
        RETURN (verdict->>'right')::boolean;
      END IF;
      -- A counter that has to rise is what makes a code good for one use, in whatever challenge.
      UPDATE factors SET counter = coalesce((verdict->>'counter')::bigint, counter), last_used_at = p_now,
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
  d := use_device(c.user_id, coalesce(s.device_id, c.device_id), CASE WHEN is_raised THEN p_device - 'token_hash' ELSE p_device END, p_now);
  IF is_raised THEN
    UPDATE sessions SET authenticated_at = p_now, last_used_at = p_now, acr = level->>'acr', proofs_failed_at = '{}',
      amr = ARRAY(SELECT jsonb_array_elements_text(level->'amr'))
    WHERE id = s.id RETURNING * INTO s;
  ELSE
    s := insert_session(c.user_id, d.id, p_session || level, p_now);
  END IF;
  IF p_policy->'factors' ? p_method OR traits->>'judged_by' = 'recovery' THEN
    UPDATE users SET email_codes_off = false WHERE id = c.user_id AND email_codes_off;
  END IF;
  PERFORM record_event(p_event || jsonb_build_object('type', 'login.succeeded', 'outcome', s.acr), c.user_id);
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

-- A sign-in from a device that was not known before is told, unless it is the account's first.
CREATE OR REPLACE FUNCTION tell_of_sign_in(p_user uuid, d devices, p_device jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF d.id = (p_device->>'id')::uuid AND (p_policy->>'notices')::boolean AND EXISTS (SELECT FROM devices WHERE user_id = p_user AND id <> d.id) THEN
    PERFORM tell(p_user, 'device.new', '{}', true, p_policy, p_event, p_now);
  END IF;
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

-- The challenge goes on with another method, with the tries that are left; what that sends is reserved, at most max_sends
-- times. switched (with the challenge's state, "message_id", "channel") | invalid | locked | exhausted | what refuses it
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
    IF sent ? 'outcome' THEN
      RETURN sent;
    END IF;
  END IF;
  c := go_on_with(c, p_candidate->>'method');
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, p_policy, t) || sent || jsonb_build_object('outcome', 'switched');
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

-- The device of a login that is finished: the one it came with (p_known), if it is still there, used once more; otherwise
-- p_device is made, if it has a token. Of more than 20 those go that were never used again, then those not used longest.
-- p_device: {id, token_hash (hex), name, address, user_agent, life, trust, trust_life}; the lives in seconds.
CREATE OR REPLACE FUNCTION use_device(p_user uuid, p_known uuid, p_device jsonb, p_now timestamptz) RETURNS devices LANGUAGE plpgsql AS $$
DECLARE
  d devices;
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
  IF (SELECT count(*) FROM devices WHERE user_id = p_user) >= 20 THEN
    DELETE FROM devices WHERE id IN (
      SELECT id FROM devices WHERE user_id = p_user ORDER BY last_used_at > created_at DESC, last_used_at DESC OFFSET 19);
  END IF;
  INSERT INTO devices (id, user_id, token_hash, name, address, user_agent, created_at, last_used_at, expires_at, trusted_until)
  VALUES ((p_device->>'id')::uuid, p_user, decode(p_device->>'token_hash', 'hex'), p_device->>'name', p_device->>'address',
    p_device->>'user_agent', p_now, p_now, p_now + seconds(p_device->>'life'),
    CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') END)
  RETURNING * INTO d;
  RETURN d;
END $$;

-- A user as the login sees it, with the factors that can finish it; secrets of factors stay here.
CREATE OR REPLACE FUNCTION account_state(u users) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', u.id, 'email', u.email, 'locale', u.locale, 'password_hash', u.password_hash, 'two_factor', u.two_factor,
    'epoch', u.epoch, 'disabled', u.disabled_at IS NOT NULL, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
    'password_state', u.password_state, 'email_codes_off', u.email_codes_off, 'user_handle', base64url(u.handle),
    'factors', (SELECT coalesce(jsonb_agg(factor_state(f) #- '{data,secret}'), '[]') FROM factors f WHERE f.user_id = u.id),
    'recovery_codes', (SELECT count(*) FROM recovery_codes r WHERE r.user_id = u.id));
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

-- All factors and recovery codes of a user go, by an operator, and everything begun before: the user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_factors(p_email text, p_identifiers bytea[], p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz := lock_account(the_user);
BEGIN
  IF NOT EXISTS (SELECT FROM users WHERE id = the_user) THEN
    RETURN NULL;
  END IF;
  DELETE FROM factors WHERE user_id = the_user;
  -- Of factors nothing is taken back any more; an e-mail or a deletion still is.
  DELETE FROM account_changes WHERE user_id = the_user AND kind IN ('factor_added', 'factor_removed', 'recovery_codes');
  PERFORM drop_recovery_codes(the_user, false, t);
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, p_email, t);
  PERFORM forget_code_failures(the_user);
  PERFORM record_event(p_event, the_user);
  PERFORM tell(the_user, 'factors.reset', '{}', false, p_policy, p_event, t);
  RETURN the_user;
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
  UPDATE factors f SET counter = (p_verdict->>'counter')::bigint, last_used_at = t, data = data || coalesce(p_verdict->'data', '{}')
  FROM users u
  WHERE f.id = (p_verdict->>'factor_id')::uuid AND f.user_id = p_user AND u.id = p_user AND u.epoch = p_epoch AND u.disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  known := (SELECT id FROM devices WHERE token_hash = p_device_token AND user_id = p_user AND expires_at > t AND failures < 20);
  d := use_device(p_user, known, p_device, t);
  s := insert_session(p_user, d.id, p_session, t);
  UPDATE users SET email_codes_off = false WHERE id = p_user AND email_codes_off;
  PERFORM record_event(p_event, p_user);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  PERFORM tell_of_verdict(p_user, p_verdict, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t));
END $$;

-- Keeps to this transaction what is decided about the links to an address, or about a budget that all of them share. It comes
-- before the account's lock: so nothing deadlocks.
CREATE OR REPLACE FUNCTION lock_links(p_of text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('links:' || p_of, 0));
END $$;

-- Asks for a mail with a link, by somebody who need not be known: queued, or mail_unavailable (retry_after) once the service
-- has sent as many as it may. p_locale: NULL, if nothing was said of it. p_data: {network, device (hash of a device token,
-- hex)}; p_policy: {link_hour, link_day}.
CREATE OR REPLACE FUNCTION request_link(p_topic text, p_email text, p_locale text, p_data jsonb, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  free_at timestamptz := links_free_at(p_policy);
  t timestamptz;
BEGIN
  -- Whoever finds it spent waits for nobody.
  IF free_at IS NULL OR free_at <= clock_timestamp() THEN
    PERFORM lock_links('service');
    free_at := links_free_at(p_policy);
  END IF;
  t := clock_timestamp();
  IF free_at > t THEN
    RETURN jsonb_build_object('outcome', 'mail_unavailable', 'retry_after', seconds_until(free_at, t));
  END IF;
  INSERT INTO mails (kind, topic, address, locale, data, created_at, next_try_at) VALUES ('link', p_topic, p_email, coalesce(p_locale, ''), p_data, t, t);
  RETURN jsonb_build_object('outcome', 'queued');
END $$;

-- From when on the service may send one more mail with a link: past, or NULL, if it may now.
CREATE OR REPLACE FUNCTION links_free_at(p_policy jsonb) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN greatest(nth_link((p_policy->>'link_hour')::integer) + interval '1 hour', nth_link((p_policy->>'link_day')::integer) + interval '24 hours');
END $$;

-- When the p_count-th newest mail with a link was asked for that somebody was sent, or is to be.
CREATE OR REPLACE FUNCTION nth_link(p_count integer) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT created_at FROM mails WHERE kind = 'link' AND state = 'open' ORDER BY created_at DESC OFFSET p_count - 1 LIMIT 1);
END $$;

-- What a mail with a link, which its caller has claimed, is to say: {topic, link (its kind), expires_in, locale} or {topic:
-- null}, when it says nothing: its budgets are spent, or it was called off. What it may say is weighed at its first try, what
-- it says at each. p_hash: of the token that the caller has made for it. p_policy: {cooldown, address_hour, address_day,
-- network_day, link_hour, link_day, registration}.
CREATE OR REPLACE FUNCTION prepare_link(p_mail bigint, p_hash bytea, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  m mails;
  u users;
  is_public boolean;
  the_user uuid;
  t timestamptz;
  a jsonb;
BEGIN
  SELECT * INTO m FROM mails WHERE id = p_mail;
  is_public := m.topic IN ('register', 'forgot');
  -- Two mails to one address are weighed one after the other, and no link is made while the account ends them.
  PERFORM lock_links(m.address);
  the_user := CASE WHEN is_public THEN (SELECT id FROM users WHERE email = m.address) ELSE m.user_id END;
  t := lock_account(the_user);
  SELECT * INTO m FROM mails WHERE id = p_mail;
  SELECT * INTO u FROM users WHERE email = m.address;
  the_user := CASE WHEN is_public THEN u.id ELSE m.user_id END;
  m.known := EXISTS (SELECT FROM devices WHERE token_hash = decode(m.data->>'device', 'hex') AND user_id = u.id AND expires_at > t AND failures < 20);
  IF is_public AND u.id IS NULL THEN
    PERFORM lock_links('strangers');
  END IF;
  a := CASE WHEN m.delivery = 'queued' THEN words_for(m, u, p_policy) ELSE '{"topic": null}' END;
  IF is_public AND NOT m.data ? 'says' AND NOT may_mail(m, u, a, p_policy, t) THEN
    a := '{"topic": null}';
  END IF;
  IF is_public AND a->>'topic' IS NULL AND NOT m.data ? 'unsure' THEN
    -- However many ask: what nobody is to be sent leaves nothing behind.
    DELETE FROM mails WHERE id = m.id;
    RETURN a;
  END IF;
  UPDATE mails SET user_id = coalesce(user_id, u.id), known = m.known,
    data = CASE WHEN a->>'topic' IS NULL THEN data ELSE data || jsonb_build_object('says', a->'topic') END
  WHERE id = m.id;
  IF a->>'link' IS NOT NULL THEN
    INSERT INTO mail_links (token_hash, kind, email, user_id, data, created_at, expires_at)
    VALUES (p_hash, a->>'link', m.address, the_user, jsonb_build_object('locale', coalesce(nullif(m.locale, ''), 'en')), t, t + seconds(a->>'expires_in'));
  END IF;
  RETURN a || jsonb_build_object('locale', coalesce(nullif(m.locale, ''), u.locale, 'en'));
END $$;

-- What a mail says, by what became of its address since it was asked for: {topic, link (its kind), expires_in}. Mails with a topic
-- that an operator or the account itself asked for (invite, reset, confirm_email, secured) say that, or nothing where the
-- account has gone from the address since.
CREATE OR REPLACE FUNCTION words_for(m mails, u users, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF m.topic = 'confirm_email' THEN
    -- The new address, which may be somebody's by now: then it is told, without a link.
    RETURN CASE WHEN u.id IS NOT NULL THEN jsonb_build_object('topic', 'email_taken')
      ELSE jsonb_build_object('topic', 'confirm_email', 'link', 'confirm_email', 'expires_in', 86400) END;
  ELSIF m.topic NOT IN ('register', 'forgot') AND m.user_id IS DISTINCT FROM u.id THEN
    RETURN '{"topic": null}';
  ELSIF u.id IS NOT NULL AND u.disabled_at IS NOT NULL THEN
    RETURN jsonb_build_object('topic', 'closed');
  ELSIF u.id IS NOT NULL THEN
    RETURN jsonb_build_object('topic', CASE m.topic WHEN 'register' THEN 'have_account' ELSE m.topic END, 'link', 'set_password',
      'expires_in', CASE m.topic WHEN 'invite' THEN 604800 ELSE 3600 END);
  ELSIF m.topic = 'forgot' THEN
    RETURN jsonb_build_object('topic', 'no_account');
  ELSIF p_policy->>'registration' = 'open' THEN
    RETURN jsonb_build_object('topic', 'register', 'link', 'set_password', 'expires_in', 86400);
  END IF;
  RETURN '{"topic": null}';
END $$;

-- Whether the budgets of an address have one more mail, of those that anybody can ask for: for strangers and for known devices
-- of the account apart; one network has three a day; to addresses without an account goes at most half of what the service
-- sends, and to each that there is none once a day. A mail that its provider refused counts for the cooldown only.
CREATE OR REPLACE FUNCTION may_mail(m mails, u users, p_words jsonb, p_policy jsonb, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  newest timestamptz;
  sent timestamptz[];
  of_network integer;
  told boolean;
BEGIN
  SELECT max(created_at), array_agg(created_at ORDER BY created_at DESC) FILTER (WHERE state = 'open'),
    count(*) FILTER (WHERE state = 'open' AND data->>'network' = m.data->>'network'),
    coalesce(bool_or(state = 'open' AND data->>'says' = 'no_account'), false)
  INTO newest, sent, of_network, told
  FROM mails WHERE address = m.address AND kind = 'link' AND topic IN ('register', 'forgot') AND known = m.known AND data ? 'says'
    AND id <> m.id AND created_at > p_now - interval '24 hours';
  IF newest > m.created_at - seconds(p_policy->>'cooldown') OR sent[(p_policy->>'address_hour')::integer] > p_now - interval '1 hour'
    OR cardinality(sent) >= (p_policy->>'address_day')::integer OR NOT m.known AND of_network >= (p_policy->>'network_day')::integer
    OR told AND p_words->>'topic' = 'no_account' THEN
    RETURN false;
  END IF;
  RETURN u.id IS NOT NULL OR strangers_mailed(p_now - interval '1 hour') < (p_policy->>'link_hour')::integer / 2
    AND strangers_mailed(p_now - interval '24 hours') < (p_policy->>'link_day')::integer / 2;
END $$;

-- How many mails that anybody can ask for went to addresses without an account, or are to.
CREATE OR REPLACE FUNCTION strangers_mailed(p_since timestamptz) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT count(*) FROM mails WHERE kind = 'link' AND state = 'open' AND data->>'says' IN ('register', 'no_account') AND created_at > p_since);
END $$;

-- A link of one kind that is still good, NULL if there is none.
CREATE OR REPLACE FUNCTION live_link(p_hash bytea, p_kind text, p_now timestamptz) RETURNS SETOF mail_links LANGUAGE sql STABLE AS $$
  SELECT * FROM mail_links WHERE token_hash = p_hash AND kind = p_kind AND ended_at IS NULL AND expires_at > p_now
$$;

-- Whose password a link sets: found (email, two_factor: NULL where it registers) | expired.
CREATE OR REPLACE FUNCTION read_link(p_hash bytea) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  l mail_links;
  u users;
BEGIN
  SELECT * INTO l FROM live_link(p_hash, 'set_password', t);
  SELECT * INTO u FROM users WHERE email = l.email;
  IF l.id IS NULL OR l.user_id IS DISTINCT FROM u.id AND l.user_id IS NOT NULL OR u.disabled_at IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  RETURN jsonb_build_object('outcome', 'found', 'email', l.email, 'two_factor', u.two_factor);
END $$;

-- The links that set a password or confirm an address end: those of a user, and those to an address.
CREATE OR REPLACE FUNCTION end_links(p_user uuid, p_email text, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE mail_links SET ended_at = p_now WHERE (user_id = p_user OR email = p_email) AND kind IN ('set_password', 'confirm_email') AND ended_at IS NULL;
END $$;

-- The link by which the owner says that a notice is not about him: made as the notice goes out. It takes back what the
-- account's sessions have changed from the notice's moment on, and lives for seven days, or as long as a user who left is
-- kept. None (false) for a mailbox that has only just become the account's, or is it no more: it may be a thief's; and none for
-- what a link has taken back since: it was mailed late. But a mailbox that was left after the notice's moment was the owner's
-- at it, and a mail that is late must not cost him the link.
CREATE OR REPLACE FUNCTION link_notice(p_mail bigint, p_hash bytea) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account((SELECT user_id FROM mails WHERE id = p_mail));
BEGIN
  INSERT INTO mail_links (token_hash, kind, email, user_id, data, created_at, expires_at)
  SELECT p_hash, 'not_me', m.address, m.user_id, jsonb_build_object('since', extract(epoch FROM m.created_at)), t,
    greatest(t + interval '168 hours', u.erases_at)
  FROM mails m JOIN users u ON u.id = m.user_id
  WHERE m.id = p_mail
    AND CASE m.data->>'to' WHEN 'old' THEN true WHEN 'new' THEN false ELSE m.address = u.email OR EXISTS (
      SELECT FROM account_changes c WHERE c.user_id = u.id AND c.kind = 'email_changed' AND c.was->>'email' = m.address AND c.at >= m.created_at) END
    AND NOT EXISTS (
      SELECT FROM mail_links used WHERE used.user_id = m.user_id AND used.kind = 'not_me' AND used.ended_at >= m.created_at
        AND (used.data->>'since')::numeric <= extract(epoch FROM m.created_at));
  RETURN FOUND;
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
  IF p_device IS NOT NULL THEN
    SELECT * INTO d FROM devices WHERE token_hash = p_device AND user_id = u.id AND expires_at > t AND failures < 20;
  END IF;
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

-- The password was wrong; its charge stays. What strangers try at e-mails that nobody has leaves no row each, but a count
-- an hour, on a few rows, so that they do not wait for each other. A device is forgotten with its 20th failure in a row.
CREATE OR REPLACE FUNCTION fail_login(p_user uuid, p_device uuid, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  -- Those who fail do not wait for each other, but for who is being forgotten: of whom nothing is written.
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_user, 0));
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user) THEN
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

-- Puts a notice to a user into the outbox, in the transaction of what it tells; its number, or NULL where there is nothing to
-- tell: notices are off (p_data is NULL), the user is gone, or (p_daily) was told the same within 24 hours. Address and
-- language are the user's own. p_data: {address?, user_agent?, method?, name?, remaining?}, never a code or password.
CREATE OR REPLACE FUNCTION record_notice(p_user uuid, p_topic text, p_data jsonb, p_daily boolean, p_now timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  notice bigint;
BEGIN
  IF p_data IS NULL THEN
    RETURN NULL;
  END IF;
  -- Whoever is recording it at this moment tells it for both: nobody waits.
  IF p_daily AND (NOT pg_try_advisory_xact_lock(hashtextextended(concat_ws(':', 'notice', p_user, p_topic), 0)) OR EXISTS (
    SELECT FROM mails
    WHERE user_id = p_user AND kind = 'notice' AND topic = p_topic AND created_at > p_now - interval '24 hours')) THEN
    RETURN NULL;
  END IF;
  INSERT INTO mails (user_id, kind, topic, address, locale, known, data, created_at, next_try_at)
  SELECT p_user, 'notice', p_topic, coalesce(p_data->>'mail_to', u.email), u.locale, false, p_data - 'mail_to', p_now, p_now FROM users u WHERE u.id = p_user
  RETURNING id INTO notice;
  RETURN notice;
END $$;

-- Deletes a batch of mails: those with codes and links after 25 hours, when no budget counts them any more, notices after 7 days.
CREATE OR REPLACE FUNCTION purge_mails(p_batch integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  deleted integer;
  others integer;
BEGIN
  DELETE FROM mails WHERE id IN (
    SELECT id FROM mails WHERE kind IN ('code', 'link') AND created_at < t - interval '25 hours' ORDER BY created_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS deleted = ROW_COUNT;
  DELETE FROM mails WHERE id IN (
    SELECT id FROM mails WHERE kind = 'notice' AND created_at < t - interval '168 hours' ORDER BY created_at LIMIT p_batch - deleted FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS others = ROW_COUNT;
  RETURN deleted + others;
END $$;

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

-- An operator has a new password set: a link is mailed (invite, to an account without a password, or reset); p_force: the old
-- password is useless from now on, and sessions end. The user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_password(p_email text, p_force boolean, p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz := lock_account(the_user);
  u users;
BEGIN
  SELECT * INTO u FROM users WHERE id = the_user;
  IF u.id IS NULL THEN
    RETURN NULL;
  END IF;
  IF p_force THEN
    UPDATE users SET password_state = CASE WHEN password_hash IS NULL THEN 'none' ELSE 'reset_required' END WHERE id = u.id;
    PERFORM end_begun(u.id, NULL, true, t);
    PERFORM end_links(u.id, u.email, t);
  END IF;
  INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at)
  VALUES (u.id, 'link', CASE WHEN u.password_hash IS NULL THEN 'invite' WHEN p_force THEN 'reset_forced' ELSE 'reset' END, u.email, u.locale, t, t);
  PERFORM record_event(p_event, u.id);
  RETURN u.id;
END $$;

-- What has run out goes (ASVS 14.2.7): each call deletes one batch of one kind, skipping rows in use, and says how many.
-- p_days: how long events are kept.
CREATE OR REPLACE FUNCTION purge(p_kind text, p_batch integer, p_days integer, p_notices boolean) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  deleted integer;
BEGIN
  CASE p_kind
    WHEN 'throttles' THEN
      -- No counter remembers more failures than are made in two days at one an hour.
      DELETE FROM login_throttles WHERE identifier IN (
        SELECT identifier FROM login_throttles WHERE counted_from < t - interval '48 hours' AND (locked_until IS NULL OR locked_until < t)
        ORDER BY counted_from LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'challenges' THEN
      RETURN purge_challenges(p_batch, p_notices, t);
    WHEN 'texts' THEN
      DELETE FROM sms_messages WHERE id IN (
        SELECT id FROM sms_messages WHERE reserved_at < t - interval '25 hours' ORDER BY reserved_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'sessions' THEN
      DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'devices' THEN
      DELETE FROM devices WHERE id IN (
        SELECT id FROM devices WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'mails' THEN
      RETURN purge_mails(p_batch);
    WHEN 'starts' THEN
      DELETE FROM used_starts WHERE id IN (
        SELECT id FROM used_starts WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'accounts' THEN
      RETURN erase_accounts(p_batch);
    WHEN 'links' THEN
      DELETE FROM mail_links WHERE id IN (
        SELECT id FROM mail_links WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'changes' THEN
      -- A deletion can be taken back until it is done, everything else while there is a link that does: it may have been mailed late.
      DELETE FROM account_changes WHERE id IN (
        SELECT id FROM account_changes change WHERE at < t - interval '168 hours' AND kind <> 'deletion' AND NOT EXISTS (
          SELECT FROM mail_links l WHERE l.user_id = change.user_id AND l.kind = 'not_me' AND l.ended_at IS NULL AND l.expires_at > t
            AND (l.data->>'since')::numeric <= extract(epoch FROM change.at))
        ORDER BY at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'events' THEN
      RETURN purge_events(p_batch, p_days);
    WHEN 'unknown_logins' THEN
      DELETE FROM unknown_logins WHERE (hour, slot) IN (
        SELECT hour, slot FROM unknown_logins WHERE hour < t - p_days * interval '24 hours' LIMIT p_batch);
  END CASE;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

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
        'address', e.address) ORDER BY e.id), '[]') FROM audit_events e WHERE e.user_id = u.id),
      'texts', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', extract(epoch FROM m.reserved_at), 'phone', m.phone, 'delivery', m.delivery)
        ORDER BY m.id), '[]') FROM sms_messages m WHERE m.user_id = u.id),
      'mails', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', extract(epoch FROM m.created_at), 'address', m.address, 'topic', m.topic,
        'delivery', m.delivery) ORDER BY m.id), '[]') FROM mails m WHERE m.user_id = u.id))
    FROM users u WHERE u.id = p_user);
END $$;

-- p_session: {id, amr, acr, remember, user_agent, address, ttl, idle_ttl}; the lives in seconds.
CREATE OR REPLACE FUNCTION insert_session(p_user uuid, p_device uuid, p_session jsonb, p_now timestamptz) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  INSERT INTO sessions (id, user_id, device_id, amr, acr, remember, mailbox_proven, user_agent, address, created_at, authenticated_at,
                        last_used_at, expires_at, idle_until)
  VALUES ((p_session->>'id')::uuid, p_user, p_device, ARRAY(SELECT jsonb_array_elements_text(p_session->'amr')), p_session->>'acr',
    (p_session->>'remember')::boolean, coalesce((p_session->>'mailbox_proven')::boolean, false), p_session->>'user_agent', p_session->>'address', p_now, p_now, p_now,
    p_now + seconds(p_session->>'ttl'), p_now + seconds(p_session->>'idle_ttl'))
  RETURNING * INTO s;
  RETURN s;
END $$;

-- What every guarded call and every introspection asks: found (the session, and what its owner may see of the account) |
-- ended.
CREATE OR REPLACE FUNCTION read_session(p_session uuid, p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  RETURN coalesce((
    SELECT jsonb_build_object('outcome', 'found', 'id', s.id, 'user_id', s.user_id, 'device_id', s.device_id, 'email', u.email,
      'email_confirmed', u.email_confirmed_at IS NOT NULL, 'locale', u.locale, 'two_factor', u.two_factor, 'epoch', u.epoch,
      'amr', s.amr, 'acr', s.acr, 'remember', s.remember, 'mailbox_proven', s.mailbox_proven,
      'authenticated_at', floor(extract(epoch FROM s.authenticated_at)),
      'age', extract(epoch FROM t - s.authenticated_at)) || methods_of(u.id)
    FROM live_session(p_session, p_user, t) s JOIN users u ON u.id = s.user_id), '{"outcome": "ended"}');
END $$;

-- Until when the texts of a class of clients at one address are spent; in the past or NULL if they are not.
CREATE OR REPLACE FUNCTION address_free_at(p_address text, p_known boolean, p_hour integer, p_day integer, p_now timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  texts timestamptz[] := ARRAY(
    SELECT reserved_at FROM sms_messages
    WHERE address = p_address AND address <> '' AND known = p_known AND state = 'open' AND reserved_at > p_now - interval '24 hours'
    ORDER BY reserved_at DESC);
BEGIN
  RETURN budget_free_at(texts, p_hour, p_day);
END $$;

-- Reserves a text, after the account's lock: its row, or which limit refuses it and for how long ("outcome", "retry_after");
-- "spend": the part of a day's texts that is used up with it, where that is worth telling.
-- p_text: {phone, address, cooldown, user_hour, user_day, phone_day, address_hour, address_day, prefix_hour, service_hour,
-- service_day, spend_day}. Of the service's budgets a quarter is kept for known devices.
CREATE OR REPLACE FUNCTION reserve_text(p_user uuid, p_challenge uuid, p_known boolean, p_text jsonb, p_now timestamptz,
  OUT id bigint, OUT outcome text, OUT retry_after integer, OUT spend text) LANGUAGE plpgsql AS $$
DECLARE
  the_phone text := p_text->>'phone';
  the_prefix text := left(the_phone, -4);
  user_hour integer := (p_text->>'user_hour')::integer;
  user_day integer := (p_text->>'user_day')::integer;
  phone_day integer := (p_text->>'phone_day')::integer;
  prefix_hour integer := (p_text->>'prefix_hour')::integer;
  share numeric := CASE WHEN p_known THEN 1 ELSE 0.75 END;
  service_hour integer := ceil((p_text->>'service_hour')::integer * share);
  service_day integer := ceil((p_text->>'service_day')::integer * share);
  spend_day integer := ceil((p_text->>'spend_day')::integer * share);
  totals text_totals;
  cooled_at timestamptz;
  free_at timestamptz;
  of_user timestamptz[];
  of_phone timestamptz[];
  all_of_phone timestamptz[];
  of_prefix timestamptz[];
BEGIN
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT hashtextextended(name, 0) AS key
    FROM unnest(ARRAY['phone:' || the_phone, 'prefix:' || the_prefix, 'address:' || (p_text->>'address')]) AS name ORDER BY 1) AS keys;

  -- A text of which the network says that it never came is no reason to wait.
  SELECT max(reserved_at) FILTER (WHERE is_cooling(m)), array_agg(reserved_at ORDER BY reserved_at DESC) FILTER (WHERE state = 'open')
  INTO cooled_at, of_user
  FROM sms_messages m WHERE m.user_id = p_user AND m.known = p_known AND m.reserved_at > p_now - interval '24 hours';
  SELECT greatest(cooled_at, max(reserved_at) FILTER (WHERE known = p_known AND is_cooling(m))) + seconds(p_text->>'cooldown'),
    array_agg(reserved_at ORDER BY reserved_at DESC) FILTER (WHERE known = p_known AND state = 'open'),
    array_agg(reserved_at ORDER BY reserved_at DESC) FILTER (WHERE state <> 'refused')
  INTO cooled_at, of_phone, all_of_phone
  FROM sms_messages m WHERE m.phone = the_phone AND m.reserved_at > p_now - interval '24 hours';
  of_prefix := ARRAY(
    SELECT reserved_at FROM sms_messages m
    WHERE m.prefix = the_prefix AND m.prefix <> '' AND m.known = p_known AND m.state = 'open' AND m.reserved_at > p_now - interval '1 hour'
    ORDER BY reserved_at DESC);
  free_at := greatest(budget_free_at(of_user, user_hour, user_day), budget_free_at(of_phone, user_hour, user_day),
    budget_free_at(all_of_phone, NULL, phone_day), budget_free_at(of_prefix, prefix_hour, NULL),
    address_free_at(p_text->>'address', p_known, (p_text->>'address_hour')::integer, (p_text->>'address_day')::integer, p_now));
  IF greatest(cooled_at, free_at) > p_now THEN
    outcome := CASE WHEN free_at > p_now THEN 'sms_limit_reached' ELSE 'resend_too_soon' END;
    retry_after := seconds_until(greatest(cooled_at, free_at), p_now);
    RETURN;
  END IF;

  -- The last texts are given out one at a time.
  totals := recent_text_totals(p_now);
  IF NOT coalesce(has_texts_to_spare(totals, service_hour, service_day, spend_day, p_now), false) THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('texts of the service', 0));
    free_at := service_spent_until(service_hour, service_day, spend_day, p_now);
    IF free_at IS NOT NULL THEN
      outcome := 'sms_unavailable';
      retry_after := CASE WHEN isfinite(free_at) THEN seconds_until(free_at, p_now) END;
      RETURN;
    END IF;
  END IF;

  INSERT INTO sms_messages AS m (user_id, challenge_id, known, phone, prefix, address, reserved_at)
  VALUES (p_user, p_challenge, p_known, the_phone, the_prefix, p_text->>'address', p_now) RETURNING m.id INTO id;
  spend := record_spend(totals, (p_text->>'spend_day')::integer, p_now);
END $$;
