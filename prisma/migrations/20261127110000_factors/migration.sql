DROP FUNCTION answer_challenge(uuid,uuid,jsonb,jsonb,jsonb,jsonb,jsonb);

DROP FUNCTION create_user(text,text,text,text,jsonb);

DROP FUNCTION has_texts_to_spare(integer,integer,integer,timestamp with time zone);

DROP FUNCTION is_pending(uuid,uuid);

DROP FUNCTION note_sent(challenges,bigint,jsonb,timestamp with time zone);

DROP FUNCTION open_challenge(uuid,integer,bytea[],jsonb,jsonb,jsonb);

DROP FUNCTION pending_challenge(uuid,uuid,timestamp with time zone);

DROP FUNCTION purge(text,integer,integer);

DROP FUNCTION read_challenge(uuid,uuid,jsonb);

DROP FUNCTION record_answer(bigint,text,text,text,text);

DROP FUNCTION record_spend(integer,timestamp with time zone);

DROP FUNCTION refusal_of_try(challenges,jsonb,timestamp with time zone);

DROP FUNCTION resend_code(uuid,uuid,jsonb,jsonb);

DROP FUNCTION start_session(uuid,integer,bytea[],uuid,boolean,jsonb,jsonb,jsonb);

DROP FUNCTION wrong_answer(challenges,sessions,jsonb,jsonb,timestamp with time zone);

-- DropIndex
DROP INDEX "users_phone_idx";

-- Logins under way do not know their method: they end.
DELETE FROM "challenges";

-- AlterTable
ALTER TABLE "challenges" DROP COLUMN "code_mac",
DROP COLUMN "expires_at",
DROP COLUMN "key_id",
DROP COLUMN "last_sent_at",
DROP COLUMN "message_id",
DROP COLUMN "sends",
ADD COLUMN     "begun" TEXT[] DEFAULT ARRAY[]::TEXT[],
ADD COLUMN     "method" TEXT,
ADD COLUMN     "parent_id" UUID,
ADD COLUMN     "proves_mailbox" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN     "setup" BYTEA;

-- CreateTable
CREATE TABLE "factors" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "method" TEXT NOT NULL,
    "name" TEXT,
    "phone" TEXT,
    "credential_id" BYTEA,
    "counter" BIGINT NOT NULL DEFAULT 0,
    "data" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_used_at" TIMESTAMPTZ(6),

    CONSTRAINT "factors_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "recovery_codes" (
    "user_id" UUID NOT NULL,
    "mac" BYTEA NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "recovery_codes_pkey" PRIMARY KEY ("user_id","mac")
);

-- CreateTable
CREATE TABLE "account_changes" (
    "id" BIGSERIAL NOT NULL,
    "user_id" UUID NOT NULL,
    "at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "kind" TEXT NOT NULL,
    "was" JSONB NOT NULL,

    CONSTRAINT "account_changes_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "challenge_codes" (
    "challenge_id" UUID NOT NULL,
    "method" TEXT NOT NULL,
    "channel" TEXT NOT NULL,
    "code_mac" BYTEA NOT NULL,
    "key_id" TEXT NOT NULL,
    "message_id" BIGINT NOT NULL,
    "sends" INTEGER NOT NULL DEFAULT 1,
    "last_sent_at" TIMESTAMPTZ(6) NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "challenge_codes_pkey" PRIMARY KEY ("challenge_id","method")
);

-- CreateTable
CREATE TABLE "used_starts" (
    "id" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "used_starts_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "mails" (
    "id" BIGSERIAL NOT NULL,
    "user_id" UUID,
    "challenge_id" UUID,
    "kind" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "address" TEXT NOT NULL,
    "locale" TEXT NOT NULL,
    "known" BOOLEAN NOT NULL DEFAULT false,
    "data" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "state" TEXT NOT NULL DEFAULT 'open',
    "delivery" TEXT NOT NULL DEFAULT 'queued',
    "tries" INTEGER NOT NULL DEFAULT 0,
    "next_try_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "claimed_until" TIMESTAMPTZ(6),
    "error" TEXT,

    CONSTRAINT "mails_pkey" PRIMARY KEY ("id")
);

-- The phone of a user becomes a factor, and what two_factor says gets its new names.
INSERT INTO "factors" ("id", "user_id", "method", "phone", "created_at")
SELECT gen_random_uuid(), "id", 'sms', "phone", "created_at" FROM "users";
UPDATE "users" SET "two_factor" = 'required' WHERE "two_factor" = 'sms';

-- AlterTable
ALTER TABLE "users" DROP COLUMN "phone",
ADD COLUMN     "email_confirmed_at" TIMESTAMPTZ(6),
ADD COLUMN     "handle" BYTEA NOT NULL DEFAULT (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
ADD COLUMN     "locale" TEXT NOT NULL DEFAULT 'en',
ALTER COLUMN "two_factor" SET DEFAULT 'required';

-- CreateIndex
CREATE UNIQUE INDEX "factors_credential_id_key" ON "factors"("credential_id");

-- CreateIndex
CREATE INDEX "factors_user_id_idx" ON "factors"("user_id");

-- CreateIndex
CREATE INDEX "factors_phone_idx" ON "factors"("phone");

-- CreateIndex
CREATE INDEX "account_changes_user_id_idx" ON "account_changes"("user_id");

-- CreateIndex
CREATE INDEX "account_changes_at_idx" ON "account_changes"("at");

-- CreateIndex
CREATE INDEX "used_starts_expires_at_idx" ON "used_starts"("expires_at");

-- CreateIndex
CREATE INDEX "mails_user_id_created_at_idx" ON "mails"("user_id", "created_at");

-- CreateIndex
CREATE INDEX "mails_kind_created_at_idx" ON "mails"("kind", "created_at");

-- AddForeignKey
ALTER TABLE "factors" ADD CONSTRAINT "factors_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "recovery_codes" ADD CONSTRAINT "recovery_codes_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "account_changes" ADD CONSTRAINT "account_changes_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "challenge_codes" ADD CONSTRAINT "challenge_codes_challenge_id_fkey" FOREIGN KEY ("challenge_id") REFERENCES "challenges"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- What schema.prisma cannot say: the open texts of the whole service are counted each second, among however many there are;
-- set-ups of factors are counted by user and day; mails are looked for when they are due; a factor is written at each use.
CREATE INDEX "sms_messages_open_idx" ON "sms_messages"("reserved_at") WHERE "state" = 'open' AND "id" > 0;
CREATE INDEX "challenges_enrolments_idx" ON "challenges"("user_id", "created_at") WHERE "purpose" = 'enrol';
CREATE INDEX "mails_queued_idx" ON "mails"("next_try_at") WHERE "delivery" = 'queued';
ALTER TABLE "factors" SET (fillfactor = 50);

-- How long the next message by p_channel has to wait. p_policy: {cooldown, mail_cooldown (where that of mails is another)}.
CREATE OR REPLACE FUNCTION cooldown_of(p_policy jsonb, p_channel text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
  SELECT seconds(coalesce(CASE p_channel WHEN 'mail' THEN p_policy->>'mail_cooldown' END, p_policy->>'cooldown'))
$$;

-- The challenge of a pending token, if the token is still worth anything: of that purpose, not used up, not replaced, not at
-- its end, and the account not disabled.
CREATE OR REPLACE FUNCTION pending_challenge(p_challenge uuid, p_user uuid, p_purpose text, p_now timestamptz) RETURNS SETOF challenges LANGUAGE sql STABLE AS $$
  SELECT challenge.* FROM challenges challenge JOIN users u ON u.id = challenge.user_id
  WHERE challenge.id = p_challenge AND challenge.user_id = p_user AND purpose = p_purpose AND consumed_at IS NULL AND superseded_at IS NULL
    AND ends_at > p_now AND u.disabled_at IS NULL
$$;

-- Second factors: proven ones, how they come, change and go.
CREATE OR REPLACE FUNCTION base64url(p_bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT translate(rtrim(encode(p_bytes, 'base64'), '='), E'+/\n', '-_')
$$;

-- Until when a budget is spent of which these are the texts, newest first; NULL if it never was.
CREATE OR REPLACE FUNCTION budget_free_at(p_texts timestamptz[], p_hour integer, p_day integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(p_texts[p_hour] + interval '1 hour', p_texts[p_day] + interval '24 hours')
$$;

-- How far from a limit a recent count tells enough: a hundred texts and a tenth, which is more than are sent in the time
-- that it is old.
CREATE OR REPLACE FUNCTION far_from(p_limit integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(100, p_limit / 10)
$$;

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

-- Empties the counters of codes, and of texts and mails with them, of both classes.
CREATE OR REPLACE FUNCTION forget_code_failures(p_user uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM factor_guards WHERE user_id = p_user;
  UPDATE sms_messages SET state = 'finished' WHERE user_id = p_user AND state IN ('open', 'unsure', 'refused');
  UPDATE mails SET state = 'finished' WHERE user_id = p_user AND state = 'open';
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

-- One answer to a challenge, from the count of the try to the session: nothing depends on what was typed that is not
-- committed together with the try. p_proof: {method (the challenge's if null), traits (by method: judged_by, any_time,
-- may_trust, amr, acr), codes (by method, the keyed hash of what was typed by key id: what a code is worth is in its hash:
-- its challenge, user, purpose and method), recovery (the same as a list), verdict (of the service, about a method that it
-- judges itself), new_factor and fresh_recovery (of an enrolment), next_id (of the challenge after a mailbox proof)}.
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
  the_method text;
  refusal jsonb;
  is_right boolean;
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
  refusal := refusal_of_try(c, the_method, p_policy, t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  refusal := missing_proof(c, the_method, p_proof);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  IF NOT is_right_answer(c, the_method, p_proof, t) THEN
    RETURN wrong_answer(c, s, the_method, p_policy, p_event, t);
  END IF;

  IF c.purpose = 'enrol' THEN
    added := add_factor(c, s.id, coalesce(p_proof->'verdict'->'new_factor', p_proof->'new_factor'), p_proof, p_policy, p_event, t);
    IF added ? 'outcome' THEN
      RETURN added;
    END IF;
  END IF;
  PERFORM use_up(c, t);
  IF c.proves_mailbox THEN
    RETURN let_enrol(c, p_proof, p_policy, p_event, t);
  END IF;
  RETURN complete(c, s, the_method, p_proof, p_policy, p_session, p_device, p_event, t) || coalesce(added, '{}');
END $$;

-- Whether an answer by this method is heard at all: one that was begun in this login, or one that its user has and that may be
-- named at any time. In an enrolment, and to prove a mailbox, only its own.
CREATE OR REPLACE FUNCTION may_answer_by(c challenges, p_method text, p_traits jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_traits IS NULL THEN
    RETURN false;
  ELSIF c.purpose = 'enrol' OR c.proves_mailbox THEN
    RETURN p_method = c.method;
  ELSIF p_method = ANY (c.begun) THEN
    RETURN true;
  END IF;
  RETURN (p_traits->>'any_time')::boolean AND CASE p_traits->>'judged_by'
    WHEN 'recovery' THEN EXISTS (SELECT FROM recovery_codes WHERE user_id = c.user_id)
    ELSE EXISTS (SELECT FROM factors WHERE user_id = c.user_id AND method = p_method) END;
END $$;

-- What an answer lacks to be judged by its method: NULL, if nothing. unreadable: what was typed has not the form of a code of
-- it. needs_verdict: the service is to judge it, by this.
CREATE OR REPLACE FUNCTION missing_proof(c challenges, p_method text, p_proof jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  judged_by text := p_proof->'traits'->p_method->>'judged_by';
BEGIN
  IF judged_by = 'code' AND NOT coalesce(p_proof->'codes' ? p_method, false)
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
CREATE OR REPLACE FUNCTION is_right_answer(c challenges, p_method text, p_proof jsonb, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  k challenge_codes;
  verdict jsonb := p_proof->'verdict';
BEGIN
  CASE p_proof->'traits'->p_method->>'judged_by'
    WHEN 'code' THEN
      SELECT * INTO k FROM challenge_codes WHERE challenge_id = c.id AND method = p_method;
      IF decode(p_proof->'codes'->p_method->>k.key_id, 'hex') IS DISTINCT FROM k.code_mac OR k.code_mac IS NULL THEN
        RETURN false;
      END IF;
      UPDATE factors SET last_used_at = p_now WHERE user_id = c.user_id AND method = p_method AND c.purpose <> 'enrol';
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
CREATE OR REPLACE FUNCTION use_up(c challenges, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  channels text[] := ARRAY(SELECT channel FROM challenge_codes WHERE challenge_id = c.id);
BEGIN
  UPDATE challenges SET attempts = attempts + 1, consumed_at = p_now WHERE id = c.id;
  UPDATE challenges SET consumed_at = p_now WHERE id = c.parent_id AND consumed_at IS NULL;
  IF c.purpose <> 'enrol' THEN
    UPDATE factor_guards SET streak = 0, locked_until = NULL WHERE user_id = c.user_id AND known = c.known AND streak > 0;
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
  PERFORM record_event(p_event || jsonb_build_object('type', 'login.succeeded', 'outcome', s.acr), c.user_id);
  PERFORM tell_of_sign_in(c.user_id, d, p_device, p_policy, p_event, p_now);
  IF traits->>'judged_by' = 'recovery' THEN
    codes_left := (SELECT count(*) FROM recovery_codes WHERE user_id = c.user_id);
    PERFORM record_event(p_event || jsonb_build_object('type', 'recovery_code.used', 'outcome', codes_left || ' left'), c.user_id);
    PERFORM tell(c.user_id, 'recovery_code.used', jsonb_build_object('remaining', codes_left), false, p_policy, p_event, p_now);
  END IF;
  IF (traits->>'tells')::boolean THEN
    PERFORM tell(c.user_id, p_method || '_code.used', '{}', true, p_policy, p_event, p_now);
  END IF;
  RETURN session_state(s, p_now) || jsonb_build_object('outcome', 'completed', 'method', p_method, 'device', device_state(d, p_device, p_now))
    || tell_of_verdict(c.user_id, p_proof->'verdict', p_policy, p_event || jsonb_build_object('factor', p_method), p_now)
    || CASE WHEN codes_left IS NOT NULL THEN jsonb_build_object('recovery_codes_remaining', codes_left) ELSE '{}' END;
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
-- Without a mail service (p_policy: notices false) there are none.
CREATE OR REPLACE FUNCTION tell(p_user uuid, p_topic text, p_data jsonb, p_daily boolean, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (p_policy->>'notices')::boolean THEN
    PERFORM record_notice(p_user, p_topic, p_data || jsonb_strip_nulls(jsonb_build_object('address', p_event->'address', 'user_agent', p_event->'user_agent')),
      p_daily, p_now);
  END IF;
END $$;

-- A sign-in from a device that was not known before is told, unless it is the account's first.
CREATE OR REPLACE FUNCTION tell_of_sign_in(p_user uuid, d devices, p_device jsonb, p_policy jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF d.id = (p_device->>'id')::uuid AND EXISTS (SELECT FROM devices WHERE user_id = p_user AND id <> d.id) THEN
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
    'code', CASE WHEN k.challenge_id IS NOT NULL THEN code_state(k, c.ends_at, p_policy, p_now) END);
END $$;

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
    SELECT m.delivery, m.delivery <> 'failed' INTO the_delivery, is_cooling FROM mails m WHERE m.id = k.message_id;
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
    UPDATE challenges SET superseded_at = t WHERE id = c.id;
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
  refusal jsonb;
  r record;
BEGIN
  FOR candidate IN SELECT value FROM jsonb_array_elements(p_candidates) WITH ORDINALITY ORDER BY value->>'method' IS DISTINCT FROM p_method, ordinality LOOP
    IF locked_until IS NOT NULL AND p_policy->'guarded' ? (candidate->>'method') THEN
      refusal := coalesce(refusal, jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, p_now)));
    ELSIF candidate->>'sends' IS NULL THEN
      IF refusal IS NULL OR refusal->>'outcome' <> 'resend_too_soon' OR (candidate->>'in_cooldown')::boolean THEN
        RETURN jsonb_build_object('candidate', candidate);
      END IF;
    ELSIF candidate->>'method' = p_method AND NOT may_send_again(p_challenge, p_method, candidate, p_policy) THEN
      RETURN jsonb_build_object('candidate', candidate);
    ELSE
      r := reserve_message(p_user, p_challenge, p_known, candidate, p_now);
      IF r.id IS NOT NULL THEN
        RETURN jsonb_build_object('candidate', candidate, 'message_id', r.id, 'spend', r.spend);
      ELSIF candidate->>'method' = p_method THEN
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
BEGIN
  UPDATE challenges SET superseded_at = p_now WHERE id IN (
    SELECT id FROM challenges live
    WHERE user_id = c.user_id AND known = c.known AND purpose = 'login' AND superseded_at IS NULL AND consumed_at IS NULL
      AND ends_at > p_now AND id <> c.id AND c.purpose = 'login' AND EXISTS (SELECT FROM challenge_codes WHERE challenge_id = live.id)
    ORDER BY created_at DESC, id OFFSET p_most - 1);
END $$;

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
-- times. switched (with the challenge's state, "message_id", "channel") | invalid | locked | exhausted | what refuses it
CREATE OR REPLACE FUNCTION switch_method(p_challenge uuid, p_user uuid, p_purpose text, p_candidate jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  c challenges;
  refusal jsonb;
  sent jsonb := '{}';
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  refusal := refusal_of_try(c, p_candidate->>'method', p_policy, t);
  IF refusal IS NOT NULL AND refusal->>'outcome' <> 'expired' THEN
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
  refusal jsonb;
  sent jsonb;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, p_purpose, t);
  refusal := refusal_of_try(c, p_candidate->>'method', p_policy, t);
  IF refusal IS NOT NULL AND refusal->>'outcome' <> 'expired' THEN
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

-- Why a challenge takes no answer by a method, the account being locked: invalid | locked | exhausted | expired; NULL if it
-- takes one. An enrolment is not refused while codes are locked: it proves what nobody else has.
CREATE OR REPLACE FUNCTION refusal_of_try(c challenges, p_method text, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  locked_until timestamptz;
  k challenge_codes;
BEGIN
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  IF c.purpose <> 'enrol' AND p_policy->'guarded' ? p_method THEN
    locked_until := (SELECT codes_locked_until(g, p_now) FROM factor_guards g WHERE g.user_id = c.user_id AND g.known = c.known);
  END IF;
  SELECT * INTO k FROM challenge_codes WHERE challenge_id = c.id AND method = p_method;
  IF locked_until IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(locked_until, p_now));
  ELSIF c.attempts >= (p_policy->>'max_attempts')::integer THEN
    RETURN jsonb_build_object('outcome', 'exhausted',
      'retry_after', seconds_until(coalesce((SELECT max(last_sent_at + cooldown_of(p_policy, channel)) FROM challenge_codes WHERE challenge_id = c.id),
        p_now), p_now));
  ELSIF k.expires_at <= p_now THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;
  RETURN NULL;
END $$;

-- A user as the login sees it, with the factors that can finish it; secrets of factors stay here.
CREATE OR REPLACE FUNCTION account_state(u users) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', u.id, 'email', u.email, 'locale', u.locale, 'password_hash', u.password_hash, 'two_factor', u.two_factor,
    'epoch', u.epoch, 'disabled', u.disabled_at IS NOT NULL, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
    'user_handle', base64url(u.handle), 'factors', (SELECT coalesce(jsonb_agg(factor_state(f) #- '{data,secret}'), '[]') FROM factors f WHERE f.user_id = u.id),
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
    'recovery_codes', (SELECT CASE WHEN count(*) > 0 THEN jsonb_build_object('remaining', count(*), 'created_at', extract(epoch FROM min(created_at))) END
      FROM recovery_codes r WHERE r.user_id = u.id),
    'user_handle', base64url(u.handle), 'email_confirmed', u.email_confirmed_at IS NOT NULL)
    FROM users u WHERE u.id = p_user);
END $$;

-- Begins to set up a factor: for a session (fresh, as its caller has seen to), or in a login that must (p_parent: {session,
-- challenge}). One that was begun before it in the same session or login ends. What is sent goes to nobody who is known: a
-- number that is not confirmed counts as a stranger's. p_challenge: {id, setup (hex)}; p_policy: with enrolments_day.
-- opened (as open_challenge) | invalid | conflict | too_many | what refuses the message
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
  END IF;
  the_client := CASE WHEN s.id IS NOT NULL THEN 'session:' || s.id ELSE 'login:' || parent.id END;
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
-- its credential is somebody's.
CREATE OR REPLACE FUNCTION is_taken(p_user uuid, p_method text, p_phone text, p_credential bytea, p_most integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN (p_most > 1 AND (SELECT count(*) FROM factors WHERE user_id = p_user AND method = p_method) >= p_most)
    OR (p_phone IS NOT NULL AND phone_is_taken(p_phone, p_user))
    OR (p_credential IS NOT NULL AND EXISTS (SELECT FROM factors WHERE credential_id = p_credential));
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
    PERFORM put_recovery_codes(c.user_id, p_proof->'fresh_recovery', false, p_now);
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

-- New recovery codes, next to a factor only; the old ones are dead. renewed | conflict | ended (the session)
CREATE OR REPLACE FUNCTION renew_recovery_codes(p_user uuid, p_session uuid, p_macs jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  IF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    RETURN jsonb_build_object('outcome', 'conflict');
  END IF;
  PERFORM put_recovery_codes(p_user, p_macs, true, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'recovery_codes.renewed', jsonb_build_object('remaining', jsonb_array_length(p_macs)), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'renewed');
END $$;

-- All factors and recovery codes of a user go, by an operator, and everything begun before: the user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_factors(p_email text, p_identifiers bytea[], p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz := lock_account(the_user);
BEGIN
  IF the_user IS NULL THEN
    RETURN NULL;
  END IF;
  DELETE FROM factors WHERE user_id = the_user;
  DELETE FROM account_changes WHERE user_id = the_user;
  PERFORM drop_recovery_codes(the_user, false, t);
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM forget_code_failures(the_user);
  PERFORM record_event(p_event, the_user);
  PERFORM tell(the_user, 'factors.reset', '{}', false, p_policy, p_event, t);
  RETURN the_user;
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
  UPDATE factors f SET counter = (p_verdict->>'counter')::bigint, last_used_at = t, data = data || coalesce(p_verdict->'data', '{}')
  FROM users u
  WHERE f.id = (p_verdict->>'factor_id')::uuid AND f.user_id = p_user AND u.id = p_user AND u.epoch = p_epoch AND u.disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  known := (SELECT id FROM devices WHERE token_hash = p_device_token AND user_id = p_user AND expires_at > t AND failures < 20);
  d := use_device(p_user, known, p_device, t);
  s := insert_session(p_user, d.id, p_session, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  PERFORM tell_of_verdict(p_user, p_verdict, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t));
END $$;

-- Reserves a mail code, after the account's lock: its row, or which limit refuses it and for how long ("outcome",
-- "retry_after"). Whoever reserved it sends it; where that process ends before it does, others do so after a few seconds.
-- p_mail: {address, locale, cooldown, hour, day}.
CREATE OR REPLACE FUNCTION reserve_mail(p_user uuid, p_challenge uuid, p_known boolean, p_mail jsonb, p_now timestamptz,
  OUT id bigint, OUT outcome text, OUT retry_after integer) LANGUAGE plpgsql AS $$
DECLARE
  cooled_at timestamptz;
  free_at timestamptz;
BEGIN
  SELECT max(created_at) FILTER (WHERE state = 'open' OR delivery = 'failed') + seconds(p_mail->>'cooldown'),
    budget_free_at(array_agg(created_at ORDER BY created_at DESC) FILTER (WHERE state = 'open'),
      (p_mail->>'hour')::integer, (p_mail->>'day')::integer)
  INTO cooled_at, free_at
  FROM mails m WHERE m.user_id = p_user AND m.kind = 'code' AND m.known = p_known AND m.created_at > p_now - interval '24 hours';
  IF greatest(cooled_at, free_at) > p_now THEN
    outcome := CASE WHEN free_at > p_now THEN 'mail_limit_reached' ELSE 'resend_too_soon' END;
    retry_after := seconds_until(greatest(cooled_at, free_at), p_now);
    RETURN;
  END IF;
  INSERT INTO mails AS m (user_id, challenge_id, kind, topic, address, locale, known, created_at, next_try_at)
  VALUES (p_user, p_challenge, 'code', 'code', p_mail->>'address', p_mail->>'locale', p_known, p_now, p_now + interval '5 seconds')
  RETURNING m.id INTO id;
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
  SELECT p_user, 'notice', p_topic, u.email, u.locale, false, p_data, p_now, p_now FROM users u WHERE u.id = p_user
  RETURNING id INTO notice;
  RETURN notice;
END $$;

-- The code that a mail of kind "code" carries, while it can still be used: its key, and seconds that it lives. None once the
-- login is over, or when the code went out again by a later mail.
CREATE OR REPLACE FUNCTION mailed_code(p_mail bigint, p_challenge uuid, p_now timestamptz, OUT key_id text, OUT lives integer) LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT k.key_id, floor(extract(epoch FROM least(k.expires_at, c.ends_at) - p_now))::integer INTO key_id, lives
  FROM challenges c JOIN challenge_codes k ON k.challenge_id = c.id AND k.channel = 'mail' AND k.message_id = p_mail
  WHERE c.id = p_challenge AND c.consumed_at IS NULL AND c.superseded_at IS NULL
    AND least(k.expires_at, c.ends_at) > p_now + interval '1 second';
END $$;

-- Takes mails, whose rows are locked, for 30 seconds: nobody else sends them meanwhile, and whoever is slower than that has
-- lost them ("tries" is the number of the try, by which its end is known). What is not worth another try fails instead.
CREATE OR REPLACE FUNCTION claim_mails(p_mails bigint[], p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  claimed jsonb;
BEGIN
  UPDATE mails m SET delivery = 'failed', claimed_until = NULL,
    state = CASE WHEN data ? 'unsure' OR claimed_until IS NOT NULL THEN state ELSE 'finished' END,
    error = coalesce(error, CASE WHEN kind = 'code' THEN 'code_over' ELSE 'gave_up' END)
  WHERE id = ANY (p_mails) AND (tries >= 6 OR kind = 'code' AND (mailed_code(id, challenge_id, p_now)).key_id IS NULL);
  WITH taken AS (
    -- Whoever had it and never said what became of it may have sent it.
    UPDATE mails m SET tries = tries + 1, claimed_until = p_now + interval '30 seconds',
      data = CASE WHEN claimed_until IS NULL THEN data ELSE data || '{"unsure": true}' END
    WHERE id = ANY (p_mails) AND delivery = 'queued'
    RETURNING *)
  SELECT jsonb_agg(jsonb_build_object('id', t.id, 'user_id', t.user_id, 'kind', t.kind, 'topic', t.topic, 'address', t.address,
    'locale', t.locale, 'data', t.data - 'unsure', 'created_at', extract(epoch FROM t.created_at), 'tries', t.tries,
    'challenge_id', t.challenge_id, 'key_id', k.key_id, 'code_expires_in', k.lives) ORDER BY t.next_try_at)
  INTO claimed
  FROM taken t CROSS JOIN LATERAL mailed_code(t.id, t.challenge_id, p_now) k;
  RETURN jsonb_build_object('outcome', 'claimed', 'mails', coalesce(claimed, '[]'));
END $$;

-- Takes one mail, due or not, unless it is taken or done.
CREATE OR REPLACE FUNCTION claim_mail(p_mail bigint) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  PERFORM require_read_committed();
  RETURN claim_mails(ARRAY(
    SELECT id FROM mails WHERE id = p_mail AND delivery = 'queued' AND coalesce(claimed_until, t) <= t FOR UPDATE SKIP LOCKED), t);
END $$;

-- Takes up to p_limit mails that are due, those first that have waited longest; any replica may.
CREATE OR REPLACE FUNCTION claim_due_mails(p_limit integer) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  PERFORM require_read_committed();
  RETURN claim_mails(ARRAY(
    SELECT id FROM mails WHERE delivery = 'queued' AND next_try_at <= t AND coalesce(claimed_until, t) <= t
    ORDER BY next_try_at LIMIT p_limit FOR UPDATE SKIP LOCKED), t);
END $$;

-- What became of the p_try-th try: sent | refused (for good) | later (not taken now) | unsure (no answer: it may have gone).
-- "outcome": sent | failed | queued (it will be tried again) | late (another has taken it meanwhile; nothing changes). After
-- the first try five more follow, after 5 s, 30 s, 2 min, 10 min and 1 h; those of a code only while it can be used.
CREATE OR REPLACE FUNCTION record_mail(p_mail bigint, p_try integer, p_result text, p_error text) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  m mails;
  again_at timestamptz := t + (ARRAY[5, 30, 120, 600, 3600])[p_try] * interval '1 second';
  is_over boolean;
BEGIN
  SELECT * INTO m FROM mails WHERE id = p_mail AND tries = p_try AND delivery = 'queued' AND claimed_until IS NOT NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'late');
  END IF;
  is_over := p_result = 'refused' OR again_at IS NULL
    OR m.kind = 'code' AND (mailed_code(m.id, m.challenge_id, again_at)).key_id IS NULL;
  UPDATE mails SET claimed_until = NULL, error = p_error,
    delivery = CASE WHEN p_result = 'sent' THEN 'sent' WHEN is_over THEN 'failed' ELSE 'queued' END,
    state = CASE WHEN p_result IN ('refused', 'later') AND is_over AND NOT data ? 'unsure' THEN 'finished' ELSE state END,
    data = CASE WHEN p_result = 'unsure' THEN data || '{"unsure": true}' ELSE data END,
    next_try_at = coalesce(again_at, next_try_at)
  WHERE id = m.id RETURNING * INTO m;
  RETURN jsonb_build_object('outcome', m.delivery);
END $$;

-- Deletes a batch of mails: those with codes after 25 hours, when no budget counts them any more; notices after 7 days.
CREATE OR REPLACE FUNCTION purge_mails(p_batch integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  deleted integer;
  others integer;
BEGIN
  DELETE FROM mails WHERE id IN (
    SELECT id FROM mails WHERE kind = 'code' AND created_at < t - interval '25 hours' ORDER BY created_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS deleted = ROW_COUNT;
  DELETE FROM mails WHERE id IN (
    SELECT id FROM mails WHERE kind = 'notice' AND created_at < t - interval '168 hours' ORDER BY created_at LIMIT p_batch - deleted FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS others = ROW_COUNT;
  RETURN deleted + others;
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
    WHEN 'changes' THEN
      DELETE FROM account_changes WHERE id IN (
        SELECT id FROM account_changes WHERE at < t - interval '7 days' ORDER BY at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'events' THEN
      RETURN purge_events(p_batch, p_days);
    WHEN 'unknown_logins' THEN
      DELETE FROM unknown_logins WHERE (hour, slot) IN (
        SELECT hour, slot FROM unknown_logins WHERE hour < t - p_days * interval '24 hours' LIMIT p_batch);
  END CASE;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- The same for challenges, an hour after their end; set-ups of factors are counted by the day. A login whose password was
-- right and whose code nobody typed is recorded as it goes, and may be one too many (p_notices: its owner can be told).
CREATE OR REPLACE FUNCTION purge_challenges(p_batch integer, p_notices boolean, p_now timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  deleted integer := 0;
  c challenges;
BEGIN
  FOR c IN
    DELETE FROM challenges WHERE id IN (
      SELECT id FROM challenges
      WHERE ends_at < p_now - interval '1 hour' AND (purpose <> 'enrol' OR ends_at < p_now - interval '24 hours')
      ORDER BY ends_at LIMIT p_batch FOR UPDATE SKIP LOCKED)
    RETURNING *
  LOOP
    deleted := deleted + 1;
    IF c.purpose = 'login' AND c.attempts = 0 AND c.consumed_at IS NULL THEN
      PERFORM record_event('{"type": "code.abandoned", "outcome": "abandoned"}', c.user_id);
      PERFORM tell_of_failed_codes(c.user_id, jsonb_build_object('notices', p_notices), '{}', p_now);
    END IF;
  END LOOP;
  RETURN deleted;
END $$;

-- The password was right and nothing more is asked: the account has no second factor, or the login came from a device that
-- is trusted (p_trusted). p_keys: the counters that were charged. started (with the session and the device) |
-- untrusted (the device is trusted no longer) | stale (the account has changed)
CREATE OR REPLACE FUNCTION start_session(p_user uuid, p_epoch integer, p_keys bytea[], p_known uuid, p_trusted boolean, p_session jsonb, p_device jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
  d devices;
BEGIN
  IF p_trusted AND NOT EXISTS (SELECT FROM devices WHERE id = p_known AND user_id = p_user AND trusted_until > t) THEN
    RETURN jsonb_build_object('outcome', 'untrusted');
  END IF;
  PERFORM give_back_password(p_keys, p_known, true);
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  d := use_device(p_user, p_known, p_device, t);
  s := insert_session(p_user, d.id, p_session, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t));
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
      'amr', s.amr, 'acr', s.acr, 'remember', s.remember,
      'authenticated_at', floor(extract(epoch FROM s.authenticated_at)),
      'age', extract(epoch FROM t - s.authenticated_at)) || methods_of(u.id)
    FROM live_session(p_session, p_user, t) s JOIN users u ON u.id = s.user_id), '{"outcome": "ended"}');
END $$;

-- What a user has to finish a login with, and the phone that texts go to, if there is one.
CREATE OR REPLACE FUNCTION methods_of(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  methods text[];
  the_phone text;
BEGIN
  SELECT array_agg(DISTINCT method), max(phone) INTO methods, the_phone FROM factors WHERE user_id = p_user;
  IF EXISTS (SELECT FROM recovery_codes WHERE user_id = p_user) THEN
    methods := methods || 'recovery_code'::text;
  END IF;
  RETURN jsonb_build_object('methods', coalesce(methods, '{}'), 'phone', the_phone);
END $$;

-- Somebody who is signed in, to an account without a factor, has given the password once more: the session's new
-- authentication (the session's state, outcome raised) | ended | stale (a factor is there by now, or the account changed).
CREATE OR REPLACE FUNCTION raise_session(p_user uuid, p_session uuid, p_epoch integer, p_level jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
BEGIN
  PERFORM FROM sessions WHERE id = p_session FOR UPDATE;
  SELECT * INTO s FROM live_session(p_session, p_user, t);
  IF s.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch)
    OR EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  UPDATE sessions SET authenticated_at = t, last_used_at = t, acr = p_level->>'acr', proofs_failed_at = '{}',
    amr = ARRAY(SELECT jsonb_array_elements_text(p_level->'amr'))
  WHERE id = s.id RETURNING * INTO s;
  PERFORM record_event(p_event, p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'raised');
END $$;

-- Somebody who is signed in has given a wrong password: it counts as a failed proof of a known client, and the fifth of the
-- session within 24 hours ends it. {remaining, ended}; remaining is null where there is no such session any more.
CREATE OR REPLACE FUNCTION fail_proof(p_user uuid, p_session uuid, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  s sessions;
  remaining integer;
BEGIN
  PERFORM FROM sessions WHERE id = p_session FOR UPDATE;
  SELECT * INTO s FROM live_session(p_session, p_user, t);
  PERFORM count_wrong_code(p_user, true, false, t) WHERE s.id IS NOT NULL;
  remaining := count_failed_proof(s, p_event, t);
  IF s.id IS NOT NULL THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN jsonb_build_object('remaining', remaining, 'ended', coalesce(remaining <= 0, true));
END $$;

-- Until when the texts of a class of clients at one address are spent; in the past or NULL if they are not.
CREATE OR REPLACE FUNCTION address_free_at(p_address text, p_known boolean, p_hour integer, p_day integer, p_now timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  texts timestamptz[] := (
    SELECT array_agg(reserved_at ORDER BY reserved_at DESC) FROM sms_messages
    WHERE address = p_address AND address <> '' AND known = p_known AND state = 'open' AND reserved_at > p_now - interval '24 hours');
BEGIN
  RETURN budget_free_at(texts, p_hour, p_day);
END $$;

-- When the p_count-th newest open text of the whole service was sent; at 'infinity' where there are to be none.
CREATE OR REPLACE FUNCTION nth_open_text(p_count integer) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_count < 1 THEN RETURN 'infinity'; END IF;
  RETURN (SELECT reserved_at FROM sms_messages WHERE state = 'open' AND id > 0 ORDER BY reserved_at DESC OFFSET p_count - 1 LIMIT 1);
END $$;

-- What the whole service has used of its texts, as somebody counted it in the last second: counting takes longer the more
-- of them are open (over an index of its own, which "id > 0" names), and one count is good for all. Whoever finds it too old counts anew; nobody waits for that.
CREATE OR REPLACE FUNCTION recent_text_totals(p_now timestamptz) RETURNS text_totals LANGUAGE plpgsql AS $$
DECLARE
  totals text_totals;
BEGIN
  SELECT * INTO totals FROM text_totals;
  IF totals.counted_at > p_now - interval '1 second' OR NOT pg_try_advisory_xact_lock(hashtextextended('text_totals', 0)) THEN
    RETURN totals;
  END IF;
  INSERT INTO text_totals AS old (id, counted_at, hour, day, spent) VALUES (1, p_now,
    (SELECT count(*) FROM sms_messages WHERE state = 'open' AND id > 0 AND reserved_at > p_now - interval '1 hour'),
    (SELECT count(*) FROM sms_messages WHERE state = 'open' AND id > 0 AND reserved_at > p_now - interval '24 hours'),
    (spent_texts(p_now)).spent)
  ON CONFLICT (id) DO UPDATE SET counted_at = excluded.counted_at, hour = excluded.hour, day = excluded.day, spent = excluded.spent
  RETURNING * INTO totals;
  RETURN totals;
END $$;

-- Whether the service is so far below its limits that nobody has to wait for the texts of others.
CREATE OR REPLACE FUNCTION has_texts_to_spare(p_totals text_totals, p_hour integer, p_day integer, p_spend integer, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN p_totals.counted_at > p_now - interval '3 seconds' AND p_totals.hour < p_hour - far_from(p_hour)
    AND p_totals.day < p_day - far_from(p_day) AND p_totals.spent < p_spend - far_from(p_spend);
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
  of_prefix := (
    SELECT array_agg(reserved_at ORDER BY reserved_at DESC) FROM sms_messages m
    WHERE m.prefix = the_prefix AND m.prefix <> '' AND m.known = p_known AND m.state = 'open' AND m.reserved_at > p_now - interval '1 hour');
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

-- Half, four fifths, all of what may be spent in a day: an event each, with the text that gets there; which it was. The
-- texts are counted only where it may be this one.
CREATE OR REPLACE FUNCTION record_spend(p_totals text_totals, p_spend integer, p_now timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  marks integer[] := ARRAY[ceil(p_spend * 0.5), ceil(p_spend * 0.8), p_spend];
  now_spent integer;
  reached text;
BEGIN
  IF p_totals.counted_at > p_now - interval '3 seconds'
    AND far_from(p_spend) < ALL (ARRAY[abs(p_totals.spent - marks[1]), abs(p_totals.spent - marks[2]), abs(p_totals.spent - marks[3])]) THEN
    RETURN NULL;
  END IF;
  now_spent := (spent_texts(p_now)).spent;
  reached := CASE now_spent WHEN marks[3] THEN '100 %' WHEN marks[2] THEN '80 %' WHEN marks[1] THEN '50 %' END;
  IF reached IS NOT NULL THEN
    PERFORM record_event(jsonb_build_object('type', 'sms.spend', 'outcome', reached), NULL);
  END IF;
  RETURN reached;
END $$;

-- What the provider answered, unless a receipt has said more already; p_state where it refused or failed. Where the text
-- certainly did not go, its challenge goes on with another method in the same decision (p_leaves: {challenge, user, method,
-- methods, policy}): that challenge's state then, otherwise NULL.
CREATE OR REPLACE FUNCTION record_answer(p_text bigint, p_delivery text, p_state text, p_provider_id text, p_error text, p_leaves jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  -- The account before its texts, as every other decision.
  PERFORM lock_account((p_leaves->>'user')::uuid) WHERE p_leaves IS NOT NULL;
  UPDATE sms_messages SET delivery = p_delivery, state = CASE state WHEN 'open' THEN p_state ELSE state END,
    provider_id = p_provider_id, error = p_error
  WHERE id = p_text AND delivery = 'queued';
  IF p_leaves IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN leave_method((p_leaves->>'challenge')::uuid, (p_leaves->>'user')::uuid, p_leaves->>'method',
    ARRAY(SELECT jsonb_array_elements_text(p_leaves->'methods')), p_leaves->'policy');
END $$;
