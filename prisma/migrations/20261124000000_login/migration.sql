-- CreateTable
CREATE TABLE "users" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "email" TEXT NOT NULL,
    "phone" TEXT NOT NULL,
    "password_hash" TEXT NOT NULL,
    "two_factor" TEXT NOT NULL DEFAULT 'sms',
    "epoch" INTEGER NOT NULL DEFAULT 0,
    "disabled_at" TIMESTAMPTZ(6),
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "users_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "login_throttles" (
    "identifier" BYTEA NOT NULL,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "in_flight" INTEGER NOT NULL DEFAULT 0,
    "charged_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "locked_until" TIMESTAMPTZ(6),

    CONSTRAINT "login_throttles_pkey" PRIMARY KEY ("identifier")
);

-- CreateTable
CREATE TABLE "factor_guards" (
    "user_id" UUID NOT NULL,
    "streak" INTEGER NOT NULL DEFAULT 0,
    "failed_at" TIMESTAMPTZ(6)[] DEFAULT ARRAY[]::TIMESTAMPTZ(6)[],
    "locked_until" TIMESTAMPTZ(6),

    CONSTRAINT "factor_guards_pkey" PRIMARY KEY ("user_id")
);

-- CreateTable
CREATE TABLE "challenges" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "purpose" TEXT NOT NULL,
    "code_mac" BYTEA NOT NULL,
    "key_id" TEXT NOT NULL,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "sends" INTEGER NOT NULL DEFAULT 1,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_sent_at" TIMESTAMPTZ(6) NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,
    "ends_at" TIMESTAMPTZ(6) NOT NULL,
    "consumed_at" TIMESTAMPTZ(6),
    "superseded_at" TIMESTAMPTZ(6),

    CONSTRAINT "challenges_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "sms_messages" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "challenge_id" UUID NOT NULL,
    "reserved_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "delivery" TEXT NOT NULL DEFAULT 'queued',
    "provider_id" TEXT,
    "budgets" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "refunded" BOOLEAN NOT NULL DEFAULT false,
    "error" TEXT,

    CONSTRAINT "sms_messages_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "sms_budgets" (
    "key" TEXT NOT NULL,
    "sent_at" TIMESTAMPTZ(6)[] DEFAULT ARRAY[]::TIMESTAMPTZ(6)[],
    "touched_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "sms_budgets_pkey" PRIMARY KEY ("key")
);

-- CreateTable
CREATE TABLE "sms_totals" (
    "period" TEXT NOT NULL,
    "started_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "used" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "sms_totals_pkey" PRIMARY KEY ("period")
);

-- CreateTable
CREATE TABLE "sessions" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "amr" TEXT[],
    "acr" TEXT NOT NULL,
    "remember" BOOLEAN NOT NULL DEFAULT false,
    "user_agent" TEXT,
    "address" TEXT,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "authenticated_at" TIMESTAMPTZ(6) NOT NULL,
    "generation" INTEGER NOT NULL DEFAULT 0,
    "rotated_at" TIMESTAMPTZ(6),
    "last_used_at" TIMESTAMPTZ(6) NOT NULL,
    "idle_until" TIMESTAMPTZ(6) NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,
    "ended_at" TIMESTAMPTZ(6),

    CONSTRAINT "sessions_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "trusted_devices" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "token_hash" BYTEA NOT NULL,
    "name" TEXT,
    "address" TEXT,
    "failed_at" TIMESTAMPTZ(6)[] DEFAULT ARRAY[]::TIMESTAMPTZ(6)[],
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_used_at" TIMESTAMPTZ(6) NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "trusted_devices_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "signing_keys" (
    "id" TEXT NOT NULL,
    "public_jwk" JSONB NOT NULL,
    "private_key" BYTEA NOT NULL,
    "secret_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "active_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "signing_keys_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_events" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "at" TIMESTAMPTZ(6) NOT NULL DEFAULT clock_timestamp(),
    "type" TEXT NOT NULL,
    "outcome" TEXT NOT NULL,
    "user_id" UUID,
    "identifier" BYTEA,
    "factor" TEXT,
    "address" TEXT,
    "request_id" TEXT,
    "detail" TEXT,

    CONSTRAINT "audit_events_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "users_email_key" ON "users"("email");

-- CreateIndex
CREATE INDEX "users_phone_idx" ON "users"("phone");

-- CreateIndex
CREATE INDEX "login_throttles_charged_at_idx" ON "login_throttles"("charged_at");

-- CreateIndex
CREATE INDEX "challenges_ends_at_idx" ON "challenges"("ends_at");

-- CreateIndex
CREATE UNIQUE INDEX "sms_messages_provider_id_key" ON "sms_messages"("provider_id");

-- CreateIndex
CREATE INDEX "sms_messages_challenge_id_reserved_at_idx" ON "sms_messages"("challenge_id", "reserved_at");

-- CreateIndex
CREATE INDEX "sms_messages_user_id_idx" ON "sms_messages"("user_id");

-- CreateIndex
CREATE INDEX "sms_messages_reserved_at_idx" ON "sms_messages"("reserved_at");

-- CreateIndex
CREATE INDEX "sms_budgets_touched_at_idx" ON "sms_budgets"("touched_at");

-- CreateIndex
CREATE INDEX "sessions_user_id_idx" ON "sessions"("user_id");

-- CreateIndex
CREATE INDEX "sessions_expires_at_idx" ON "sessions"("expires_at");

-- CreateIndex
CREATE UNIQUE INDEX "trusted_devices_token_hash_key" ON "trusted_devices"("token_hash");

-- CreateIndex
CREATE INDEX "trusted_devices_user_id_idx" ON "trusted_devices"("user_id");

-- CreateIndex
CREATE INDEX "trusted_devices_expires_at_idx" ON "trusted_devices"("expires_at");

-- CreateIndex
CREATE INDEX "audit_events_user_id_at_idx" ON "audit_events"("user_id", "at");

-- CreateIndex
CREATE INDEX "audit_events_at_idx" ON "audit_events" USING BRIN ("at");

-- AddForeignKey
ALTER TABLE "factor_guards" ADD CONSTRAINT "factor_guards_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "trusted_devices" ADD CONSTRAINT "trusted_devices_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- One live challenge per user and purpose, whatever the code above it does. The one that was used up last is in the
-- index too, until another takes its place: using it up then touches no index.
CREATE UNIQUE INDEX "challenges_live_key" ON "challenges"("user_id", "purpose") WHERE "superseded_at" IS NULL;

-- Rows that every login changes leave room beside them for their next version: an update then touches no index.
ALTER TABLE "login_throttles" SET (fillfactor = 50);
ALTER TABLE "factor_guards" SET (fillfactor = 50);
ALTER TABLE "sms_budgets" SET (fillfactor = 50);
ALTER TABLE "sms_messages" SET (fillfactor = 50);
ALTER TABLE "challenges" SET (fillfactor = 50);
ALTER TABLE "sessions" SET (fillfactor = 70);

-- Whole seconds from p_now until p_time, at least 1; NULL for a time that never comes.
CREATE OR REPLACE FUNCTION seconds_until(p_time timestamptz, p_now timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN isfinite(p_time) THEN greatest(1, ceil(extract(epoch FROM p_time - p_now)))::integer END
$$;

CREATE OR REPLACE FUNCTION record_event(p_event jsonb, p_user uuid, p_identifier bytea DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_events (type, outcome, user_id, identifier, factor, address, request_id, detail)
  VALUES (p_event->>'type', p_event->>'outcome', p_user, p_identifier, p_event->>'factor', p_event->>'address',
          p_event->>'request_id', p_event->>'detail');
END $$;

-- Keeps the account to this transaction. The lock is not on a row: a row's lock is written to the table and the log at
-- every try, this one is kept in memory.
CREATE OR REPLACE FUNCTION lock_account(p_user uuid) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(uuid_hash_extended(p_user, 0))
$$;

-- The failed codes of an account that is locked; NULL if there is no such user.
CREATE OR REPLACE FUNCTION guard_of(p_user uuid) RETURNS factor_guards LANGUAGE plpgsql AS $$
DECLARE
  g factor_guards;
BEGIN
  SELECT * INTO g FROM factor_guards WHERE user_id = p_user;
  IF NOT FOUND THEN
    INSERT INTO factor_guards (user_id) SELECT id FROM users WHERE id = p_user RETURNING * INTO g;
  END IF;
  RETURN g;
END $$;

-- Until when the second factor is locked; NULL while it is open. Three limits, of which only the first is lifted by a
-- success: the streak's own lock (for good at 100 in a row), 20 failures in any 24 hours, 100 in any 30 days (720 hours:
-- what a day is would depend on the session's time zone).
-- failed_at is in order of time (charge_code keeps it so), and "20 in 24 hours" means that the 20th newest is younger.
CREATE OR REPLACE FUNCTION factor_locked_until(g factor_guards, p_now timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT nullif(greatest(p_now,
    CASE WHEN g.streak >= 100 THEN 'infinity'::timestamptz END,
    g.locked_until,
    g.failed_at[cardinality(g.failed_at) - 19] + interval '24 hours',
    g.failed_at[cardinality(g.failed_at) - 99] + interval '720 hours'), p_now)
$$;

-- How many codes failed after p_since.
CREATE OR REPLACE FUNCTION failures_since(g factor_guards, p_since timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT coalesce(cardinality(g.failed_at) - width_bucket(p_since, g.failed_at), 0)
$$;

-- How many codes may still be tried before one of those limits locks the factor.
CREATE OR REPLACE FUNCTION factor_tries_left(g factor_guards, p_now timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN factor_locked_until(g, p_now) IS NOT NULL THEN 0 ELSE least(
    CASE WHEN g.streak < 10 THEN 10 - g.streak ELSE 5 - g.streak % 5 END,
    20 - failures_since(g, p_now - interval '24 hours'),
    100 - failures_since(g, p_now - interval '720 hours')) END
$$;

-- What the holder of a pending token may know about its challenge.
CREATE OR REPLACE FUNCTION challenge_state(c challenges, g factor_guards, p_policy jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object(
    'challenge_id', c.id,
    'key_id', c.key_id,
    'code_expires_in', greatest(0, floor(extract(epoch FROM c.expires_at - p_now)))::integer,
    'resend_after', CASE
      WHEN c.sends >= (p_policy->>'max_sends')::integer THEN NULL
      WHEN c.last_sent_at + (p_policy->>'cooldown')::integer * interval '1 second' >= c.ends_at THEN NULL
      ELSE greatest(0, ceil(extract(epoch FROM c.last_sent_at - p_now) + (p_policy->>'cooldown')::integer))::integer END,
    'attempts_remaining', least((p_policy->>'max_attempts')::integer - c.attempts, factor_tries_left(g, p_now)),
    'delivery', (SELECT m.delivery FROM sms_messages m WHERE m.challenge_id = c.id ORDER BY m.reserved_at DESC LIMIT 1));
END $$;

-- When the texts were sent that count against a budget, in their order: all but those that a success gave back.
CREATE OR REPLACE FUNCTION counted_texts(b sms_budgets) RETURNS timestamptz[] LANGUAGE plpgsql STABLE AS $$
DECLARE
  texts timestamptz[] := '{}';
  sent timestamptz;
BEGIN
  FOREACH sent IN ARRAY coalesce(b.sent_at, '{}') LOOP
    IF NOT EXISTS (SELECT FROM sms_messages m WHERE m.reserved_at = sent AND m.refunded AND b.key = ANY (m.budgets)) THEN
      texts := array_append(texts, sent);
    END IF;
  END LOOP;
  RETURN texts;
END $$;

-- Charges one text to every budget, or to none: NULL when it is reserved, otherwise which limit refuses and for how long.
-- p_rules: [{key, cooldown?, hour?, day?, refundable}], sliding windows. p_totals: [{period, max}], UTC hours and days.
CREATE OR REPLACE FUNCTION reserve_sms(p_rules jsonb, p_totals jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  r record;
  budget sms_budgets;
  total sms_totals;
  n integer;
  cooled_at timestamptz;
  allowed_at timestamptz;
  refused_until timestamptz := p_now;
  refusal text;
BEGIN
  FOR r IN SELECT * FROM jsonb_to_recordset(p_rules) AS rule(key text, cooldown integer, hour integer, day integer) ORDER BY key LOOP
    INSERT INTO sms_budgets AS old (key) VALUES (r.key)
    ON CONFLICT (key) DO UPDATE SET sent_at = counted_texts(old), touched_at = p_now RETURNING * INTO budget;
    n := cardinality(budget.sent_at);
    cooled_at := budget.sent_at[n] + r.cooldown * interval '1 second';
    allowed_at := greatest(budget.sent_at[n - r.hour + 1] + interval '1 hour', budget.sent_at[n - r.day + 1] + interval '24 hours');
    IF greatest(cooled_at, allowed_at) > refused_until THEN
      refused_until := greatest(cooled_at, allowed_at);
      refusal := CASE WHEN allowed_at > p_now THEN 'sms_limit_reached' ELSE 'resend_too_soon' END;
    END IF;
  END LOOP;
  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', refusal, 'retry_after', seconds_until(refused_until, p_now));
  END IF;

  FOR r IN SELECT * FROM jsonb_to_recordset(p_totals) AS limits(period text, max integer) ORDER BY period LOOP
    INSERT INTO sms_totals AS old (period, started_at) VALUES (r.period, date_trunc(r.period, p_now, 'UTC'))
    -- The clock is read again: this row may have been waited for, across the end of the hour.
    ON CONFLICT (period) DO UPDATE SET
      used = CASE WHEN old.started_at = date_trunc(r.period, clock_timestamp(), 'UTC') THEN old.used ELSE 0 END,
      started_at = date_trunc(r.period, clock_timestamp(), 'UTC')
    RETURNING * INTO total;
    IF total.used >= r.max THEN
      RETURN jsonb_build_object('outcome', 'sms_unavailable',
        'retry_after', seconds_until(total.started_at + CASE r.period WHEN 'hour' THEN interval '1 hour' ELSE interval '24 hours' END, p_now));
    END IF;
  END LOOP;

  UPDATE sms_budgets b SET
    sent_at = array_append(ARRAY(
      SELECT old FROM unnest(b.sent_at) old
      WHERE old > p_now - CASE WHEN rule.day IS NULL THEN interval '1 hour' ELSE interval '24 hours' END ORDER BY old), p_now),
    touched_at = p_now
  FROM jsonb_to_recordset(p_rules) AS rule(key text, day integer) WHERE b.key = rule.key;
  UPDATE sms_totals t SET used = t.used + 1 FROM jsonb_to_recordset(p_totals) AS charged(period text) WHERE t.period = charged.period;
  RETURN NULL;
END $$;

-- Writes a reserved text into the ledger, with the budgets that a success will give back.
CREATE OR REPLACE FUNCTION insert_message(p_message uuid, p_user uuid, p_challenge uuid, p_rules jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sms_messages (id, user_id, challenge_id, reserved_at, budgets)
  VALUES (p_message, p_user, p_challenge, p_now,
    ARRAY(SELECT key FROM jsonb_to_recordset(p_rules) AS rule(key text, refundable boolean) WHERE refundable));
END $$;

-- Counts a failed password before it is looked at; a success takes it back. The 5th in a row starts a lock of 30 s that
-- doubles up to an hour. While it runs nothing is counted and nothing is prolonged. p_settle: seconds after which a charge
-- that nobody settled (its process died) is no longer taken for a password that is being evaluated.
-- charged | locked | contended (the lock comes from passwords that are being evaluated at this moment); with retry_after
CREATE OR REPLACE FUNCTION charge_password(p_identifier bytea, p_settle integer) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  l login_throttles;
  t timestamptz;
BEGIN
  -- A lock is looked for before the row is touched: ON CONFLICT alone would lock and write it even to refuse, and a flood
  -- against one e-mail would then hold every connection in line for its row.
  INSERT INTO login_throttles AS old (identifier, failures, in_flight, charged_at)
  SELECT p_identifier, 1, 1, clock_timestamp()
  WHERE NOT EXISTS (SELECT FROM login_throttles WHERE identifier = p_identifier AND locked_until > clock_timestamp())
  ON CONFLICT (identifier) DO UPDATE SET
    failures = old.failures + 1,
    in_flight = CASE WHEN old.charged_at > clock_timestamp() - p_settle * interval '1 second' THEN old.in_flight + 1 ELSE 1 END,
    charged_at = clock_timestamp(),
    locked_until = CASE WHEN old.failures + 1 >= 5
      THEN clock_timestamp() + interval '30 seconds' * least(power(2, least(old.failures + 1 - 5, 16)), 120) END
  WHERE old.locked_until IS NULL OR old.locked_until <= clock_timestamp();
  IF FOUND THEN
    RETURN jsonb_build_object('outcome', 'charged');
  END IF;
  SELECT * INTO l FROM login_throttles WHERE identifier = p_identifier;
  t := clock_timestamp();
  -- The lock may have been lifted since that statement, or be about to be.
  RETURN jsonb_build_object(
    'outcome', CASE WHEN l.locked_until > t AND NOT (l.in_flight > 0 AND l.charged_at > t - p_settle * interval '1 second')
      THEN 'locked' ELSE 'contended' END,
    'retry_after', coalesce(seconds_until(l.locked_until, t), 1));
END $$;

-- The password was right: forget its failures.
CREATE OR REPLACE FUNCTION forgive_password(p_identifier bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE login_throttles SET failures = 0, locked_until = NULL, in_flight = greatest(in_flight - 1, 0) WHERE identifier = p_identifier;
END $$;

-- After a right password: joins the live challenge or opens one, and reserves the text that is due.
-- p_challenge: {id, purpose, code_mac (hex), key_id, message_id}; p_epoch: the account as the password was checked on.
-- opened | joined (with the challenge's state, and "send" when a text is due) | stale | locked |
-- resend_too_soon | sms_limit_reached | sms_unavailable (with retry_after)
CREATE OR REPLACE FUNCTION open_challenge(p_user uuid, p_epoch integer, p_identifier bytea, p_challenge jsonb, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  g factor_guards;
  t timestamptz;
  code_life interval := (p_policy->>'code_ttl')::integer * interval '1 second';
  challenge_life interval := (p_policy->>'challenge_ttl')::integer * interval '1 second';
  cooldown interval := (p_policy->>'cooldown')::integer * interval '1 second';
  may_send boolean := (p_policy->>'may_send')::boolean;
  c challenges;
  is_live boolean;
  refusal jsonb;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  g := guard_of(p_user);
  PERFORM forgive_password(p_identifier);
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  IF factor_locked_until(g, t) IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(factor_locked_until(g, t), t));
  END IF;

  SELECT * INTO c FROM challenges
  WHERE user_id = p_user AND purpose = p_challenge->>'purpose' AND superseded_at IS NULL;
  is_live := FOUND AND c.consumed_at IS NULL AND c.attempts < (p_policy->>'max_attempts')::integer AND c.expires_at > t;

  IF is_live AND (NOT may_send OR c.sends >= (p_policy->>'max_sends')::integer OR c.last_sent_at + cooldown > t) THEN
    PERFORM record_event(p_event || jsonb_build_object('outcome', 'joined'), p_user);
    RETURN challenge_state(c, g, p_policy, t) || jsonb_build_object('outcome', 'joined', 'send', false);
  END IF;
  IF NOT may_send THEN
    RETURN jsonb_build_object('outcome', 'sms_unavailable');
  END IF;
  refusal := reserve_sms(p_policy->'rules', p_policy->'totals', t);
  IF refusal IS NOT NULL AND is_live THEN
    PERFORM record_event(p_event || jsonb_build_object('outcome', 'joined'), p_user);
    RETURN challenge_state(c, g, p_policy, t) || jsonb_build_object('outcome', 'joined', 'send', false);
  ELSIF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;

  IF is_live THEN
    UPDATE challenges SET sends = sends + 1, last_sent_at = t, expires_at = least(t + code_life, ends_at)
    WHERE id = c.id RETURNING * INTO c;
  ELSE
    UPDATE challenges SET superseded_at = t WHERE id = c.id;
    INSERT INTO challenges (id, user_id, purpose, code_mac, key_id, created_at, last_sent_at, expires_at, ends_at)
    VALUES ((p_challenge->>'id')::uuid, p_user, p_challenge->>'purpose', decode(p_challenge->>'code_mac', 'hex'),
            p_challenge->>'key_id', t, t, t + least(code_life, challenge_life), t + challenge_life)
    RETURNING * INTO c;
  END IF;
  PERFORM insert_message((p_challenge->>'message_id')::uuid, p_user, c.id, p_policy->'rules', t);
  PERFORM record_event(p_event || jsonb_build_object('outcome', CASE WHEN is_live THEN 'joined' ELSE 'opened' END), p_user);
  RETURN challenge_state(c, g, p_policy, t)
      || jsonb_build_object('outcome', CASE WHEN is_live THEN 'joined' ELSE 'opened' END, 'send', true);
END $$;

-- The challenge of a pending token, if the token is still worth anything: not used up, not replaced, not at its end,
-- and the account not disabled.
CREATE OR REPLACE FUNCTION pending_challenge(p_challenge uuid, p_user uuid, p_now timestamptz) RETURNS SETOF challenges LANGUAGE sql STABLE AS $$
  SELECT challenge.* FROM challenges challenge JOIN users u ON u.id = challenge.user_id
  WHERE challenge.id = p_challenge AND challenge.user_id = p_user AND consumed_at IS NULL AND superseded_at IS NULL
    AND ends_at > p_now AND u.disabled_at IS NULL
$$;

-- How a pending token's challenge stands: found (with its state) | invalid.
CREATE OR REPLACE FUNCTION read_challenge(p_challenge uuid, p_user uuid, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  t timestamptz := clock_timestamp();
  c challenges;
  g factor_guards;
BEGIN
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  SELECT * INTO g FROM factor_guards WHERE user_id = p_user;
  RETURN challenge_state(c, g, p_policy, t) || jsonb_build_object('outcome', 'found',
    'phone', (SELECT phone FROM users WHERE id = p_user));
END $$;

-- Reserves the same code's next text: sent (with the challenge's state) | invalid | locked | exhausted |
-- resend_too_soon | sms_limit_reached | sms_unavailable. Tries carry over; the life is counted from this send.
CREATE OR REPLACE FUNCTION resend_code(p_challenge uuid, p_user uuid, p_message uuid, p_policy jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  g factor_guards;
  t timestamptz;
  c challenges;
  free_at timestamptz;
  refusal jsonb;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  g := guard_of(p_user);
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  free_at := c.last_sent_at + (p_policy->>'cooldown')::integer * interval '1 second';
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  ELSIF factor_locked_until(g, t) IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(factor_locked_until(g, t), t));
  ELSIF c.attempts >= (p_policy->>'max_attempts')::integer THEN
    RETURN jsonb_build_object('outcome', 'exhausted', 'retry_after', seconds_until(free_at, t));
  ELSIF c.sends >= (p_policy->>'max_sends')::integer THEN
    RETURN jsonb_build_object('outcome', 'sms_limit_reached', 'retry_after', seconds_until(greatest(c.expires_at, free_at), t));
  ELSIF free_at > t THEN
    RETURN jsonb_build_object('outcome', 'resend_too_soon', 'retry_after', seconds_until(free_at, t));
  ELSIF NOT (p_policy->>'may_send')::boolean THEN
    RETURN jsonb_build_object('outcome', 'sms_unavailable');
  END IF;
  refusal := reserve_sms(p_policy->'rules', p_policy->'totals', t);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  UPDATE challenges SET sends = sends + 1, last_sent_at = t,
    expires_at = least(t + (p_policy->>'code_ttl')::integer * interval '1 second', ends_at)
  WHERE id = c.id RETURNING * INTO c;
  PERFORM insert_message(p_message, p_user, c.id, p_policy->'rules', t);
  PERFORM record_event(p_event, p_user);
  RETURN challenge_state(c, g, p_policy, t) || jsonb_build_object('outcome', 'sent');
END $$;

-- Counts one try at the code, before anything is compared, on the challenge and on the account.
-- charged (with what to compare with) | invalid | locked | exhausted | expired
CREATE OR REPLACE FUNCTION charge_code(p_challenge uuid, p_user uuid, p_policy jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  g factor_guards;
  t timestamptz;
  c challenges;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  g := guard_of(p_user);
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  IF c.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'invalid');
  ELSIF factor_locked_until(g, t) IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'locked', 'retry_after', seconds_until(factor_locked_until(g, t), t));
  ELSIF c.attempts >= (p_policy->>'max_attempts')::integer THEN
    RETURN jsonb_build_object('outcome', 'exhausted',
      'retry_after', seconds_until(c.last_sent_at + (p_policy->>'cooldown')::integer * interval '1 second', t));
  ELSIF c.expires_at <= t THEN
    RETURN jsonb_build_object('outcome', 'expired');
  END IF;

  UPDATE challenges SET attempts = attempts + 1 WHERE id = c.id RETURNING * INTO c;
  UPDATE factor_guards SET
    streak = streak + 1,
    failed_at = array_append(failed_at[width_bucket(t - interval '720 hours', failed_at) + 1:],
      greatest(t, failed_at[cardinality(failed_at)])),
    locked_until = CASE WHEN streak + 1 >= 10 AND (streak + 1) % 5 = 0
      THEN t + least(interval '15 minutes' * power(2, (streak + 1 - 10) / 5), interval '24 hours')
      ELSE locked_until END
  WHERE user_id = p_user RETURNING * INTO g;
  RETURN jsonb_build_object('outcome', 'charged', 'purpose', c.purpose, 'code_mac', encode(c.code_mac, 'hex'), 'key_id', c.key_id,
    'attempts_remaining', least((p_policy->>'max_attempts')::integer - c.attempts, factor_tries_left(g, t)));
END $$;

-- p_session: {id, amr, acr, remember, user_agent, address, ttl, idle_ttl}; the lives in seconds.
CREATE OR REPLACE FUNCTION insert_session(p_user uuid, p_session jsonb, p_now timestamptz) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  INSERT INTO sessions (id, user_id, amr, acr, remember, user_agent, address, created_at, authenticated_at, last_used_at,
                        expires_at, idle_until)
  VALUES ((p_session->>'id')::uuid, p_user, ARRAY(SELECT jsonb_array_elements_text(p_session->'amr')), p_session->>'acr',
    (p_session->>'remember')::boolean, p_session->>'user_agent', p_session->>'address', p_now, p_now, p_now,
    p_now + (p_session->>'ttl')::integer * interval '1 second', p_now + (p_session->>'idle_ttl')::integer * interval '1 second')
  RETURNING * INTO s;
  RETURN s;
END $$;

-- A live session, as its user may use it: not ended, not run out, and the account not disabled.
CREATE OR REPLACE FUNCTION live_session(p_session uuid, p_user uuid, p_now timestamptz) RETURNS SETOF sessions LANGUAGE sql STABLE AS $$
  SELECT session.* FROM sessions session JOIN users u ON u.id = session.user_id
  WHERE session.id = p_session AND session.user_id = p_user AND ended_at IS NULL AND expires_at > p_now AND idle_until > p_now
    AND u.disabled_at IS NULL
$$;

-- What an answer needs to know of a session: its generation, how it was authenticated (epoch seconds) and how many
-- seconds its refresh token has left.
CREATE OR REPLACE FUNCTION session_state(s sessions, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', s.id, 'user_id', s.user_id, 'generation', s.generation, 'amr', s.amr, 'acr', s.acr,
    'authenticated_at', floor(extract(epoch FROM s.authenticated_at))::bigint,
    'refresh_expires_in', seconds_until(least(s.expires_at, s.idle_until), p_now));
END $$;

-- The code was right. Exactly one caller gets "completed"; with it, in the same transaction, go the refund of its own
-- charge, the end of the streak, the refund of the texts, the session and the audit row.
-- A login starts p_session, and trusts p_device if there is one ({id, token_hash (hex), name, address, ttl}). A step-up
-- raises the session p_session names instead: same id, new time and level. completed (with the session) | invalid
CREATE OR REPLACE FUNCTION complete_challenge(p_challenge uuid, p_user uuid, p_session jsonb, p_device jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  t timestamptz;
  c challenges;
  s sessions;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  SELECT * INTO c FROM pending_challenge(p_challenge, p_user, t);
  -- One that is to start brings its life, and is not there to be looked for.
  IF NOT p_session ? 'ttl' THEN
    SELECT * INTO s FROM live_session((p_session->>'id')::uuid, p_user, t);
  END IF;
  IF c.id IS NULL OR (c.purpose = 'step_up') <> (s.id IS NOT NULL) THEN
    -- Somebody was faster with the same right code, or ended the session that it would raise. A right code is no failure:
    -- the budgets get this charge back.
    UPDATE factor_guards SET failed_at = trim_array(failed_at, least(1, cardinality(failed_at))) WHERE user_id = p_user;
    RETURN jsonb_build_object('outcome', 'invalid');
  END IF;
  UPDATE challenges SET consumed_at = t WHERE id = c.id;
  UPDATE factor_guards SET streak = 0, locked_until = NULL, failed_at = trim_array(failed_at, least(1, cardinality(failed_at)))
  WHERE user_id = p_user;
  UPDATE sms_messages SET refunded = true WHERE user_id = p_user AND NOT refunded;
  IF c.purpose = 'step_up' THEN
    UPDATE sessions SET authenticated_at = t, last_used_at = t, acr = p_session->>'acr',
      amr = ARRAY(SELECT jsonb_array_elements_text(p_session->'amr'))
    WHERE id = s.id RETURNING * INTO s;
  ELSE
    s := insert_session(p_user, p_session, t);
  END IF;
  IF jsonb_typeof(p_device) = 'object' THEN
    INSERT INTO trusted_devices (id, user_id, token_hash, name, address, created_at, last_used_at, expires_at)
    VALUES ((p_device->>'id')::uuid, p_user, decode(p_device->>'token_hash', 'hex'), p_device->>'name', p_device->>'address', t, t,
            t + (p_device->>'ttl')::integer * interval '1 second');
  END IF;
  PERFORM record_event(p_event, p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'completed');
END $$;

-- The password was right and nothing more is asked: the account has no second factor, or the login came with a trusted
-- device (p_device, whose failures end with it). started (with the session) | untrusted (it is trusted no longer) | stale
CREATE OR REPLACE FUNCTION start_session(p_user uuid, p_epoch integer, p_identifier bytea, p_device uuid, p_session jsonb, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  t timestamptz;
  s sessions;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  PERFORM forgive_password(p_identifier);
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch AND disabled_at IS NULL) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  IF p_device IS NOT NULL THEN
    UPDATE trusted_devices SET failed_at = '{}', last_used_at = t, address = p_session->>'address'
    WHERE id = p_device AND user_id = p_user AND expires_at > t;
    IF NOT FOUND THEN
      RETURN jsonb_build_object('outcome', 'untrusted');
    END IF;
  END IF;
  s := insert_session(p_user, p_session, t);
  PERFORM record_event(p_event, p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started');
END $$;

-- Whether three users other than p_user have this phone; nobody else can take or leave it until the transaction ends.
CREATE OR REPLACE FUNCTION phone_is_taken(p_phone text, p_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));
  RETURN (SELECT count(*) FROM users WHERE phone = p_phone AND id IS DISTINCT FROM p_user) >= 3;
END $$;

-- A new account, unless its e-mail is taken or p_phone already serves three: created (id) | email_taken | phone_taken
CREATE OR REPLACE FUNCTION create_user(p_email text, p_phone text, p_password_hash text, p_two_factor text, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  new_id uuid;
BEGIN
  IF phone_is_taken(p_phone, NULL) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  END IF;
  INSERT INTO users (email, phone, password_hash, two_factor) VALUES (p_email, p_phone, p_password_hash, p_two_factor)
  ON CONFLICT (email) DO NOTHING RETURNING id INTO new_id;
  IF new_id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'email_taken');
  END IF;
  INSERT INTO factor_guards (user_id) VALUES (new_id);
  PERFORM record_event(p_event, new_id);
  RETURN jsonb_build_object('outcome', 'created', 'id', new_id);
END $$;

-- The one place where an account changes, and where everything begun before the change ends with it:
-- live challenges, sessions and trusted devices. p_change: {password_hash?, phone?, two_factor?, disabled?}.
-- changed (id) | unknown | phone_taken
CREATE OR REPLACE FUNCTION change_user(p_email text, p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
  t timestamptz;
BEGIN
  IF the_user IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  PERFORM lock_account(the_user);
  t := clock_timestamp();
  IF phone_is_taken(p_change->>'phone', the_user) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  END IF;
  UPDATE users SET
    password_hash = coalesce(p_change->>'password_hash', password_hash),
    phone = coalesce(p_change->>'phone', phone),
    two_factor = coalesce(p_change->>'two_factor', two_factor),
    disabled_at = CASE p_change->>'disabled' WHEN 'true' THEN coalesce(disabled_at, t) WHEN 'false' THEN NULL ELSE disabled_at END,
    epoch = epoch + 1
  WHERE id = the_user;
  UPDATE challenges SET superseded_at = t WHERE user_id = the_user AND consumed_at IS NULL AND superseded_at IS NULL;
  UPDATE sessions SET ended_at = t WHERE user_id = the_user AND ended_at IS NULL;
  DELETE FROM trusted_devices WHERE user_id = the_user;
  PERFORM record_event(p_event, the_user);
  RETURN jsonb_build_object('outcome', 'changed', 'id', the_user);
END $$;

-- Ends the locks of both steps, not the 24 hour and 30 day budgets. The user's id, or NULL.
CREATE OR REPLACE FUNCTION unlock_user(p_email text, p_identifiers bytea[], p_event jsonb) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  the_user uuid := (SELECT id FROM users WHERE email = p_email);
BEGIN
  PERFORM lock_account(the_user);
  DELETE FROM login_throttles WHERE identifier = ANY (p_identifiers);
  UPDATE factor_guards SET streak = 0, locked_until = NULL WHERE user_id = the_user;
  IF the_user IS NOT NULL THEN
    PERFORM record_event(p_event, the_user);
  END IF;
  RETURN the_user;
END $$;

-- Uses a refresh token of generation p_generation, at most once. The one before the newest is answered with the same
-- successor for p_grace seconds after the rotation (a second tab, a lost reply); any older one, and that one later, is a
-- copy in other hands: the session ends. p_idle_ttl: seconds a remembered session may rest.
-- rotated | within_grace (with the session) | reused (with its user) | ended
CREATE OR REPLACE FUNCTION rotate_session(p_session uuid, p_generation integer, p_grace integer, p_idle_ttl integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  the_user uuid := (SELECT user_id FROM sessions WHERE id = p_session);
  t timestamptz;
  s sessions;
BEGIN
  PERFORM lock_account(the_user);
  t := clock_timestamp();
  SELECT * INTO s FROM live_session(p_session, the_user, t);
  IF s.id IS NULL OR p_generation > s.generation THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF p_generation = s.generation THEN
    UPDATE sessions SET generation = generation + 1, rotated_at = t, last_used_at = t,
      idle_until = CASE WHEN remember THEN t + p_idle_ttl * interval '1 second' ELSE idle_until END
    WHERE id = s.id RETURNING * INTO s;
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'rotated');
  ELSIF p_generation = s.generation - 1 AND s.rotated_at > t - p_grace * interval '1 second' THEN
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'within_grace');
  END IF;
  UPDATE sessions SET ended_at = t WHERE id = s.id;
  PERFORM record_event(p_event, the_user);
  RETURN jsonb_build_object('outcome', 'reused', 'user_id', the_user);
END $$;

-- Ends sessions of one user: the one named, the others, or all. How many were ended.
CREATE OR REPLACE FUNCTION end_sessions(p_user uuid, p_session uuid, p_scope text, p_event jsonb) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
  ended integer;
BEGIN
  PERFORM lock_account(p_user);
  t := clock_timestamp();
  UPDATE sessions SET ended_at = t
  WHERE user_id = p_user AND ended_at IS NULL AND expires_at > t
    AND CASE p_scope WHEN 'local' THEN id = p_session WHEN 'others' THEN id <> p_session ELSE true END;
  GET DIAGNOSTICS ended = ROW_COUNT;
  IF ended > 0 THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN ended;
END $$;

-- Counts a failed password against a trusted device, before it is looked at; a success takes it back. Only a device of
-- the account with p_email counts, within its life. charged (id) | locked (retry_after) | unknown
CREATE OR REPLACE FUNCTION charge_device(p_token_hash bytea, p_email text, p_max integer, p_window integer) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  d trusted_devices;
  t timestamptz;
  recent timestamptz[];
BEGIN
  SELECT device.* INTO d FROM trusted_devices device JOIN users u ON u.id = device.user_id
  WHERE device.token_hash = p_token_hash AND u.email = p_email FOR UPDATE OF device;
  t := clock_timestamp();
  IF d.id IS NULL OR d.expires_at <= t THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  recent := ARRAY(SELECT f FROM unnest(d.failed_at) f WHERE f > t - p_window * interval '1 second' ORDER BY f);
  IF cardinality(recent) >= p_max THEN
    RETURN jsonb_build_object('outcome', 'locked',
      'retry_after', seconds_until(recent[cardinality(recent) - p_max + 1] + p_window * interval '1 second', t));
  END IF;
  UPDATE trusted_devices SET failed_at = array_append(recent, t) WHERE id = d.id;
  RETURN jsonb_build_object('outcome', 'charged', 'id', d.id);
END $$;

-- Adds a signing key that becomes active p_delay seconds from now, unless another is on its way or the newest is
-- younger than p_min_age seconds: true for exactly one of all replicas that ask.
-- p_key: {id, public_jwk, private_key (hex), secret_id}
CREATE OR REPLACE FUNCTION add_signing_key(p_key jsonb, p_min_age integer, p_delay integer, p_event jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  t := clock_timestamp();
  IF EXISTS (SELECT FROM signing_keys WHERE active_at > t - p_min_age * interval '1 second') THEN
    RETURN false;
  END IF;
  INSERT INTO signing_keys (id, public_jwk, private_key, secret_id, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', decode(p_key->>'private_key', 'hex'), p_key->>'secret_id', t,
          -- The very first key is needed at once.
          t + CASE WHEN EXISTS (SELECT FROM signing_keys) THEN p_delay ELSE 0 END * interval '1 second');
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;
