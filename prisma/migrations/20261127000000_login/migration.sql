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
    "counted_from" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "locked_until" TIMESTAMPTZ(6),

    CONSTRAINT "login_throttles_pkey" PRIMARY KEY ("identifier")
);

-- CreateTable
CREATE TABLE "unknown_logins" (
    "hour" TIMESTAMPTZ(6) NOT NULL,
    "slot" SMALLINT NOT NULL,
    "failures" INTEGER NOT NULL,

    CONSTRAINT "unknown_logins_pkey" PRIMARY KEY ("hour","slot")
);

-- CreateTable
CREATE TABLE "factor_guards" (
    "user_id" UUID NOT NULL,
    "known" BOOLEAN NOT NULL,
    "streak" INTEGER NOT NULL DEFAULT 0,
    "failed_at" TIMESTAMPTZ(6)[] DEFAULT ARRAY[]::TIMESTAMPTZ(6)[],
    "locked_until" TIMESTAMPTZ(6),

    CONSTRAINT "factor_guards_pkey" PRIMARY KEY ("user_id","known")
);

-- CreateTable
CREATE TABLE "challenges" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "purpose" TEXT NOT NULL,
    "client" TEXT NOT NULL,
    "known" BOOLEAN NOT NULL,
    "device_id" UUID,
    "code_mac" BYTEA NOT NULL,
    "key_id" TEXT NOT NULL,
    "message_id" BIGINT,
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
    "id" BIGSERIAL NOT NULL,
    "user_id" UUID NOT NULL,
    "challenge_id" UUID NOT NULL,
    "known" BOOLEAN NOT NULL,
    "phone" TEXT NOT NULL,
    "prefix" TEXT NOT NULL,
    "address" TEXT NOT NULL,
    "reserved_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "state" TEXT NOT NULL DEFAULT 'open',
    "delivery" TEXT NOT NULL DEFAULT 'queued',
    "provider_id" TEXT,
    "error" TEXT,

    CONSTRAINT "sms_messages_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "text_totals" (
    "id" INTEGER NOT NULL,
    "counted_at" TIMESTAMPTZ(6) NOT NULL,
    "hour" INTEGER NOT NULL,
    "day" INTEGER NOT NULL,
    "spent" INTEGER NOT NULL,

    CONSTRAINT "text_totals_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "sessions" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "device_id" UUID,
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
    "proofs_failed_at" TIMESTAMPTZ(6)[] DEFAULT ARRAY[]::TIMESTAMPTZ(6)[],

    CONSTRAINT "sessions_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "devices" (
    "id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "token_hash" BYTEA NOT NULL,
    "name" TEXT,
    "address" TEXT,
    "user_agent" TEXT,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_used_at" TIMESTAMPTZ(6) NOT NULL,
    "expires_at" TIMESTAMPTZ(6) NOT NULL,
    "trusted_until" TIMESTAMPTZ(6),

    CONSTRAINT "devices_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "signing_keys" (
    "id" TEXT NOT NULL,
    "public_jwk" JSONB NOT NULL,
    "seals" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "active_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "signing_keys_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_events" (
    "id" BIGSERIAL NOT NULL,
    "at" TIMESTAMPTZ(6) NOT NULL DEFAULT clock_timestamp(),
    "type" TEXT NOT NULL,
    "outcome" TEXT NOT NULL,
    "user_id" UUID,
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
CREATE INDEX "login_throttles_counted_from_idx" ON "login_throttles"("counted_from");

-- CreateIndex
CREATE INDEX "challenges_ends_at_idx" ON "challenges"("ends_at");

-- CreateIndex
CREATE INDEX "sms_messages_user_id_reserved_at_idx" ON "sms_messages"("user_id", "reserved_at");

-- CreateIndex
CREATE INDEX "sms_messages_phone_reserved_at_idx" ON "sms_messages"("phone", "reserved_at");

-- CreateIndex
CREATE INDEX "sms_messages_reserved_at_idx" ON "sms_messages"("reserved_at");

-- CreateIndex
CREATE INDEX "sessions_user_id_idx" ON "sessions"("user_id");

-- CreateIndex
CREATE INDEX "sessions_expires_at_idx" ON "sessions"("expires_at");

-- CreateIndex
CREATE UNIQUE INDEX "devices_token_hash_key" ON "devices"("token_hash");

-- CreateIndex
CREATE INDEX "devices_user_id_idx" ON "devices"("user_id");

-- CreateIndex
CREATE INDEX "devices_expires_at_idx" ON "devices"("expires_at");

-- CreateIndex
CREATE INDEX "audit_events_user_id_id_idx" ON "audit_events"("user_id", "id");

-- AddForeignKey
ALTER TABLE "factor_guards" ADD CONSTRAINT "factor_guards_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "devices" ADD CONSTRAINT "devices_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- One live challenge per user, purpose and client, whatever the code above it does. The one that was used up last is in
-- the index too, until another takes its place: using it up then touches no index.
CREATE UNIQUE INDEX "challenges_live_key" ON "challenges"("user_id", "purpose", "client") WHERE "superseded_at" IS NULL;

-- What budgets are counted over that have many texts of which few are open. Each says in its condition what it is for:
-- while the table is small all indexes look the same to the planner, and it would keep the wrong one when it has grown.
CREATE INDEX "sms_messages_open_address_idx" ON "sms_messages"("address", "known", "reserved_at") WHERE "state" = 'open' AND "address" <> '';
CREATE INDEX "sms_messages_open_prefix_idx" ON "sms_messages"("prefix", "known", "reserved_at") WHERE "state" = 'open' AND "prefix" <> '';
CREATE INDEX "sms_messages_refused_idx" ON "sms_messages"("reserved_at") WHERE "state" = 'refused';

-- Rows that every login changes leave room beside them for their next version: an update then touches no index.
ALTER TABLE "login_throttles" SET (fillfactor = 50);
ALTER TABLE "factor_guards" SET (fillfactor = 50);
ALTER TABLE "sms_messages" SET (fillfactor = 50);
ALTER TABLE "challenges" SET (fillfactor = 50);
ALTER TABLE "devices" SET (fillfactor = 70);
ALTER TABLE "sessions" SET (fillfactor = 70);

-- Accounts: made, changed, unlocked, forgotten.

-- The user with a canonical e-mail, as the login sees it; NULL if there is none.
CREATE OR REPLACE FUNCTION find_account(p_email text) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT account_state(u) FROM users u WHERE u.email = p_email);
END $$;

-- Whether three users other than p_user have this phone; nobody else can take or leave it until the transaction ends.
CREATE OR REPLACE FUNCTION phone_is_taken(p_phone text, p_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));
  RETURN (SELECT count(*) FROM users WHERE phone = p_phone AND id IS DISTINCT FROM p_user) >= 3;
END $$;

-- A new account, unless its e-mail is taken or p_phone already serves three: created (id) | email_taken | phone_taken
CREATE OR REPLACE FUNCTION create_user(p_email text, p_phone text, p_password_hash text, p_two_factor text, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  new_id uuid;
BEGIN
  PERFORM require_read_committed();
  IF phone_is_taken(p_phone, NULL) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  END IF;
  INSERT INTO users (email, phone, password_hash, two_factor) VALUES (p_email, p_phone, p_password_hash, p_two_factor)
  ON CONFLICT (email) DO NOTHING RETURNING id INTO new_id;
  IF new_id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'email_taken');
  END IF;
  PERFORM record_event(p_event, new_id);
  RETURN jsonb_build_object('outcome', 'created', 'id', new_id);
END $$;

-- The one place where an account changes, and where everything begun before the change ends with it: live challenges,
-- sessions, and the trust in devices, which stay known. A new password or phone also ends what was counted about the old
-- one, for both classes of clients. p_change: {password_hash?, phone?, two_factor?, disabled?}; p_identifiers: the e-mail's
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
  -- Counters before devices, as a login that begins takes them.
  IF p_change ?| ARRAY['password_hash', 'phone'] THEN
    PERFORM forget_password_failures(the_user, p_identifiers);
    PERFORM forget_code_failures(the_user);
  END IF;
  UPDATE devices SET trusted_until = NULL WHERE user_id = the_user AND trusted_until IS NOT NULL;
  PERFORM record_event(p_event, the_user);
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

-- Empties the counters of codes and of texts, of both classes.
CREATE OR REPLACE FUNCTION forget_code_failures(p_user uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM factor_guards WHERE user_id = p_user;
  UPDATE sms_messages SET state = 'finished' WHERE user_id = p_user AND state IN ('open', 'unsure', 'refused');
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
  DELETE FROM sessions WHERE user_id = OLD.id;
  UPDATE audit_events SET user_id = nobody, address = NULL, detail = NULL, request_id = NULL WHERE user_id = OLD.id;
  RETURN NULL;
END $$;
-- Known devices: clients that have signed in to an account before. Some are trusted: they skip the second factor.

-- The device of a login that is finished: the one it came with (p_known), if it is still there, used once more; otherwise
-- p_device is made, if it has a token. Of more than 20 those go that were never used again, then those not used longest.
-- p_device: {id, token_hash (hex), name, address, user_agent, life, trust, trust_life}; the lives in seconds.
CREATE OR REPLACE FUNCTION use_device(p_user uuid, p_known uuid, p_device jsonb, p_now timestamptz) RETURNS devices LANGUAGE plpgsql AS $$
DECLARE
  d devices;
  trusts boolean := (p_device->>'trust')::boolean;
BEGIN
  UPDATE devices SET last_used_at = p_now, expires_at = p_now + seconds(p_device->>'life'), address = p_device->>'address',
    user_agent = p_device->>'user_agent', name = coalesce(p_device->>'name', name),
    trusted_until = CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') ELSE trusted_until END
  WHERE id = p_known AND user_id = p_user AND expires_at > p_now RETURNING * INTO d;
  IF FOUND OR NOT p_device ? 'token_hash' THEN
    RETURN d;
  END IF;
  DELETE FROM devices WHERE id IN (
    SELECT id FROM devices WHERE user_id = p_user ORDER BY last_used_at > created_at DESC, last_used_at DESC OFFSET 19);
  INSERT INTO devices (id, user_id, token_hash, name, address, user_agent, created_at, last_used_at, expires_at, trusted_until)
  VALUES ((p_device->>'id')::uuid, p_user, decode(p_device->>'token_hash', 'hex'), p_device->>'name', p_device->>'address',
    p_device->>'user_agent', p_now, p_now, p_now + seconds(p_device->>'life'),
    CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') END)
  RETURNING * INTO d;
  RETURN d;
END $$;

-- What an answer says of the device: whether it was made for this login, and until when it is trusted, if it is.
CREATE OR REPLACE FUNCTION device_state(d devices, p_device jsonb, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('made', d.id IS NOT NULL AND d.id = (p_device->>'id')::uuid,
    'trusted_until', CASE WHEN d.trusted_until > p_now THEN floor(extract(epoch FROM d.trusted_until)) END);
END $$;

-- The devices that a user is known by, the one used last first.
CREATE OR REPLACE FUNCTION list_devices(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', name, 'created_at', extract(epoch FROM created_at),
      'last_used_at', extract(epoch FROM last_used_at), 'address', address, 'user_agent', user_agent,
      'trusted_until', CASE WHEN trusted_until > clock_timestamp() THEN floor(extract(epoch FROM trusted_until)) END) ORDER BY last_used_at DESC, id), '[]')
    FROM devices WHERE user_id = p_user AND expires_at > clock_timestamp() AND failures < 20);
END $$;

-- Forgets a device of a user, and ends its sessions: false if there is none.
CREATE OR REPLACE FUNCTION forget_device(p_user uuid, p_device uuid, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  DELETE FROM devices WHERE id = p_device AND user_id = p_user;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE sessions SET ended_at = t WHERE user_id = p_user AND device_id = p_device AND ended_at IS NULL;
  PERFORM record_event(p_event, p_user);
  RETURN true;
END $$;

-- Names a device of a user anew, or ends its trust; what is NULL stays. False if there is none.
CREATE OR REPLACE FUNCTION change_device(p_user uuid, p_device uuid, p_name text, p_ends_trust boolean, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  UPDATE devices SET name = coalesce(p_name, name), trusted_until = CASE WHEN p_ends_trust THEN NULL ELSE trusted_until END
  WHERE id = p_device AND user_id = p_user AND expires_at > t;
  IF FOUND THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN FOUND;
END $$;
-- The keys that sign access tokens. Exactly one of all replicas makes or forgets one.

-- All keys, newest first: [{id, public_jwk, seals, created_at, active_at, active_in (seconds, negative once it may sign)}].
-- seals: the private half's ciphertexts (hex), by the id of the secret that each is made with.
CREATE OR REPLACE FUNCTION list_signing_keys() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'public_jwk', public_jwk, 'seals', seals,
      'created_at', extract(epoch FROM created_at), 'active_at', extract(epoch FROM active_at),
      'active_in', extract(epoch FROM active_at - clock_timestamp())) ORDER BY active_at DESC), '[]')
    FROM signing_keys);
END $$;

-- Adds a signing key that becomes active p_delay seconds from now, unless another is on its way or the newest is
-- younger than p_min_age seconds: true for exactly one of all replicas that ask.
-- p_key: {id, public_jwk, seals}
CREATE OR REPLACE FUNCTION add_signing_key(p_key jsonb, p_min_age integer, p_delay integer, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz;
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  t := clock_timestamp();
  IF EXISTS (SELECT FROM signing_keys WHERE active_at > t - p_min_age * interval '1 second') THEN
    RETURN false;
  END IF;
  INSERT INTO signing_keys (id, public_jwk, seals, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', p_key->'seals', t,
          -- The very first key is needed at once.
          t + CASE WHEN EXISTS (SELECT FROM signing_keys) THEN p_delay ELSE 0 END * interval '1 second');
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- A key has leaked: all there are go, also one on its way, and p_key signs at once.
CREATE OR REPLACE FUNCTION replace_signing_keys(p_key jsonb, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('signing_keys', 0));
  DELETE FROM signing_keys;
  INSERT INTO signing_keys (id, public_jwk, seals, created_at, active_at)
  VALUES (p_key->>'id', p_key->'public_jwk', p_key->'seals', clock_timestamp(), clock_timestamp());
  PERFORM record_event(p_event, NULL);
END $$;

-- Adds seals to those that a key has; none is replaced, since somebody may have no other secret.
CREATE OR REPLACE FUNCTION seal_signing_key(p_id text, p_seals jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE signing_keys SET seals = p_seals || seals WHERE id = p_id;
END $$;

-- Forgets keys whose successor has been active for p_seconds: nothing that they signed is alive. How many.
CREATE OR REPLACE FUNCTION forget_signing_keys(p_seconds integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  forgotten integer;
BEGIN
  DELETE FROM signing_keys old WHERE EXISTS (
    SELECT FROM signing_keys newer
    WHERE newer.active_at > old.active_at AND newer.active_at < clock_timestamp() - p_seconds * interval '1 second');
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END $$;
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
-- What has run out goes (ASVS 14.2.7): each call deletes one batch of one kind, skipping rows in use, and says how many.
-- p_days: how long events are kept.
CREATE OR REPLACE FUNCTION purge(p_kind text, p_batch integer, p_days integer) RETURNS integer LANGUAGE plpgsql
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
      DELETE FROM challenges WHERE id IN (
        SELECT id FROM challenges WHERE ends_at < t - interval '1 hour' ORDER BY ends_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'texts' THEN
      DELETE FROM sms_messages WHERE id IN (
        SELECT id FROM sms_messages WHERE reserved_at < t - interval '25 hours' ORDER BY reserved_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'sessions' THEN
      DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'devices' THEN
      DELETE FROM devices WHERE id IN (
        SELECT id FROM devices WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
    WHEN 'events' THEN
      RETURN purge_events(p_batch, p_days);
    WHEN 'unknown_logins' THEN
      DELETE FROM unknown_logins WHERE (hour, slot) IN (
        SELECT hour, slot FROM unknown_logins WHERE hour < t - p_days * interval '24 hours' LIMIT p_batch);
  END CASE;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- The same for events, of which the service's role may delete nothing (ASVS 13.2.2): it borrows the owner's right here, for
-- what is older than p_days, and than a day whatever p_days says. So a stolen role cannot hide what it does.
CREATE OR REPLACE FUNCTION purge_events(p_batch integer, p_days integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
  deleted integer;
BEGIN
  -- Otherwise a temporary table or type of the caller's would be found first, and what hangs on it run with this right.
  PERFORM set_config('search_path', current_setting('search_path') || ', pg_temp', true);
  -- Their numbers rise with time: the oldest are found without an index of times.
  DELETE FROM audit_events WHERE id IN (
    SELECT id FROM (SELECT id, at FROM audit_events ORDER BY id LIMIT p_batch) oldest
    WHERE at < clock_timestamp() - greatest(p_days, 1) * interval '24 hours');
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;
-- Sessions: how they start, go on and end.

-- A live session, as its user may use it: not ended, not run out, and the account not disabled.
CREATE OR REPLACE FUNCTION live_session(p_session uuid, p_user uuid, p_now timestamptz) RETURNS SETOF sessions LANGUAGE sql STABLE AS $$
  SELECT session.* FROM sessions session JOIN users u ON u.id = session.user_id
  WHERE session.id = p_session AND session.user_id = p_user AND ended_at IS NULL AND expires_at > p_now AND idle_until > p_now
    AND u.disabled_at IS NULL
$$;

-- p_session: {id, amr, acr, remember, user_agent, address, ttl, idle_ttl}; the lives in seconds.
CREATE OR REPLACE FUNCTION insert_session(p_user uuid, p_device uuid, p_session jsonb, p_now timestamptz) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  INSERT INTO sessions (id, user_id, device_id, amr, acr, remember, user_agent, address, created_at, authenticated_at, last_used_at,
                        expires_at, idle_until)
  VALUES ((p_session->>'id')::uuid, p_user, p_device, ARRAY(SELECT jsonb_array_elements_text(p_session->'amr')), p_session->>'acr',
    (p_session->>'remember')::boolean, p_session->>'user_agent', p_session->>'address', p_now, p_now, p_now,
    p_now + seconds(p_session->>'ttl'), p_now + seconds(p_session->>'idle_ttl'))
  RETURNING * INTO s;
  RETURN s;
END $$;

-- What an answer needs to know of a session: its generation, how and when it was authenticated, and how many seconds its
-- refresh token has left.
CREATE OR REPLACE FUNCTION session_state(s sessions, p_now timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', s.id, 'user_id', s.user_id, 'generation', s.generation, 'amr', s.amr, 'acr', s.acr,
    'authenticated_at', floor(extract(epoch FROM s.authenticated_at))::bigint,
    'refresh_expires_in', seconds_until(least(s.expires_at, s.idle_until), p_now));
END $$;

-- The password was right and nothing more is asked: the account has no second factor, or the login came from a device that
-- is trusted (p_trusted). p_keys: the counters that were charged. started (with the session and the device) |
-- untrusted (the device is trusted no longer) | stale (the account has changed)
CREATE OR REPLACE FUNCTION start_session(p_user uuid, p_epoch integer, p_keys bytea[], p_known uuid, p_trusted boolean, p_session jsonb, p_device jsonb, p_event jsonb)
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
      'phone', u.phone, 'two_factor', u.two_factor, 'epoch', u.epoch, 'amr', s.amr, 'acr', s.acr,
      'authenticated_at', floor(extract(epoch FROM s.authenticated_at)),
      'age', extract(epoch FROM t - s.authenticated_at))
    FROM live_session(p_session, p_user, t) s JOIN users u ON u.id = s.user_id), '{"outcome": "ended"}');
END $$;

-- The live sessions of a user, the one used last first.
CREATE OR REPLACE FUNCTION list_sessions(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'device_id', device_id, 'created_at', extract(epoch FROM created_at),
      'last_used_at', extract(epoch FROM last_used_at), 'user_agent', user_agent, 'address', address) ORDER BY last_used_at DESC, id), '[]')
    FROM sessions
    WHERE user_id = p_user AND ended_at IS NULL AND expires_at > clock_timestamp() AND idle_until > clock_timestamp());
END $$;

-- Uses a refresh token of generation p_generation, at most once: one guarded update. The token before the newest is
-- answered with the same successor for p_grace seconds after the rotation (a second tab, a lost reply); any older one, and
-- that one later, is a copy in other hands: the session ends. p_idle_ttl: seconds a remembered session may rest.
-- rotated | within_grace (with the session) | reused (with its user) | ended
CREATE OR REPLACE FUNCTION rotate_session(p_session uuid, p_generation integer, p_grace integer, p_idle_ttl integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  s sessions;
BEGIN
  PERFORM require_read_committed();
  UPDATE sessions session SET generation = generation + 1, rotated_at = t, last_used_at = t,
    idle_until = CASE WHEN remember THEN t + p_idle_ttl * interval '1 second' ELSE idle_until END
  FROM users u
  WHERE session.id = p_session AND generation = p_generation AND ended_at IS NULL AND expires_at > t AND idle_until > t
    AND u.id = session.user_id AND u.disabled_at IS NULL
  RETURNING session.* INTO s;
  IF FOUND THEN
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'rotated');
  END IF;
  -- Read again after that, by then whoever was faster has committed.
  SELECT live.* INTO s FROM sessions session, live_session(p_session, session.user_id, t) live WHERE session.id = p_session;
  IF s.id IS NULL OR p_generation >= s.generation THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF p_generation = s.generation - 1 AND s.rotated_at > t - p_grace * interval '1 second' THEN
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'within_grace');
  END IF;
  UPDATE sessions SET ended_at = t WHERE id = s.id AND ended_at IS NULL;
  IF FOUND THEN
    PERFORM record_event(p_event, s.user_id);
  END IF;
  RETURN jsonb_build_object('outcome', 'reused', 'user_id', s.user_id);
END $$;

-- How many proofs the session that a challenge belongs to may still fail before it ends; NULL for a login, which has none.
CREATE OR REPLACE FUNCTION proofs_left(p_client text, p_now timestamptz) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT starts_with(p_client, 'session:') THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT 5 - count(f) FROM sessions s LEFT JOIN unnest(s.proofs_failed_at) f ON f > p_now - interval '24 hours'
    WHERE s.id = substr(p_client, 9)::uuid);
END $$;

-- A failed proof of somebody who is signed in: the fifth of one session within 24 hours ends it. How many it may still fail;
-- NULL for a login, which has no session.
CREATE OR REPLACE FUNCTION count_failed_proof(s sessions, p_event jsonb, p_now timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  recent timestamptz[] := ARRAY(SELECT f FROM unnest(s.proofs_failed_at) f WHERE f > p_now - interval '24 hours') || p_now;
  remaining integer := 5 - cardinality(recent);
BEGIN
  IF s.id IS NULL THEN
    RETURN NULL;
  END IF;
  UPDATE sessions SET proofs_failed_at = recent, ended_at = CASE WHEN cardinality(recent) >= 5 THEN p_now ELSE ended_at END
  WHERE id = s.id;
  IF cardinality(recent) >= 5 THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'session.ended', 'outcome', 'five failed proofs', 'detail', 'session ' || s.id), s.user_id);
  END IF;
  RETURN remaining;
END $$;

-- Ends sessions of one user: the one named, the others, or all. How many were ended.
CREATE OR REPLACE FUNCTION end_sessions(p_user uuid, p_session uuid, p_scope text, p_event jsonb) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  ended integer;
BEGIN
  UPDATE sessions SET ended_at = t
  WHERE user_id = p_user AND ended_at IS NULL AND expires_at > t
    AND CASE p_scope WHEN 'local' THEN id = p_session WHEN 'others' THEN id <> p_session ELSE true END;
  GET DIAGNOSTICS ended = ROW_COUNT;
  IF ended > 0 THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN ended;
END $$;
-- What the decisions of all files have in common. They are PL/pgSQL, which keeps the plans of its statements for the life
-- of a connection; in SQL are only those that become a part of the statement that calls them: one expression, or one SELECT
-- that a FROM names, and given nothing volatile. Before Postgres 18 any other is parsed and planned at every call.
-- Time is this server's clock. Durations come in and go out as whole seconds, moments as seconds since 1970: nothing that
-- leaves here depends on the time zone or date style of a session. Functions that the service calls answer with JSON that
-- has an "outcome", and find their tables whatever the search path of a session is (SET search_path FROM CURRENT).

-- Whole seconds from p_now until p_time, at least 1.
CREATE OR REPLACE FUNCTION seconds_until(p_time timestamptz, p_now timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(1, ceil(extract(epoch FROM p_time - p_now)))::integer
$$;

-- A length of time that came in as seconds.
CREATE OR REPLACE FUNCTION seconds(p_seconds text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
  SELECT p_seconds::integer * interval '1 second'
$$;

CREATE OR REPLACE FUNCTION record_event(p_event jsonb, p_user uuid) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO audit_events (type, outcome, user_id, factor, address, request_id, detail)
  VALUES (p_event->>'type', p_event->>'outcome', p_user, p_event->>'factor', p_event->>'address', p_event->>'request_id',
          p_event->>'detail');
END $$;

-- Decisions read what others have just committed, which only READ COMMITTED shows them. Where the database, the role or a
-- pooler makes it something else, nothing is decided: the service sees this code and asks again in a transaction of the
-- right kind (store/client.ts).
CREATE OR REPLACE FUNCTION require_read_committed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'decisions are made in READ COMMITTED only' USING ERRCODE = 'DS001';
  END IF;
END $$;

-- Keeps the account to this transaction, and tells the time from which on nobody else decides about it: one account, one
-- lock, on every replica. The lock is not on a row, which would be written at every try, but in memory.
-- What is locked besides comes after it, in the order of the keys (reserve_text): so nothing deadlocks.
CREATE OR REPLACE FUNCTION lock_account(p_user uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_user, 0));
  RETURN clock_timestamp();
END $$;
-- The ledger of texts is the budget: one row for each text with everything that it is counted by. A row is
--   open      nobody has signed in with it yet: it counts everywhere
--   finished  a login was finished with it: it counts against what a phone gets in a day, and as spent
--   unsure    the provider failed, and may have sent it all the same: it counts as spent, in what a phone gets in a day, and
--             for the cooldown
--   refused   certainly not sent: it counts for the cooldown only
-- "known" texts (asked for by a device of the account) and those of strangers are counted apart.

-- Until when a budget is spent of which these are the texts, newest first; NULL if it never was.
CREATE OR REPLACE FUNCTION budget_free_at(p_texts timestamptz[], p_hour integer, p_day integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(p_texts[p_hour] + interval '1 hour', p_texts[p_day] + interval '24 hours')
$$;

-- Until when the texts of a class of clients at one address are spent; in the past or NULL if they are not.
CREATE OR REPLACE FUNCTION address_free_at(p_address text, p_known boolean, p_hour integer, p_day integer, p_now timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN budget_free_at((
    SELECT array_agg(reserved_at ORDER BY reserved_at DESC) FROM sms_messages
    WHERE address = p_address AND address <> '' AND known = p_known AND state = 'open' AND reserved_at > p_now - interval '24 hours'), p_hour, p_day);
END $$;

-- When the p_count-th newest open text of the whole service was sent; at 'infinity' where there are to be none.
CREATE OR REPLACE FUNCTION nth_open_text(p_count integer) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_count < 1 THEN RETURN 'infinity'; END IF;
  RETURN (SELECT reserved_at FROM sms_messages WHERE state = 'open' ORDER BY reserved_at DESC OFFSET p_count - 1 LIMIT 1);
END $$;

-- What the whole service has used of its texts, as somebody counted it in the last second: counting takes longer the more
-- of them are open, and one count is good for all. Whoever finds it too old counts anew; nobody waits for that.
CREATE OR REPLACE FUNCTION recent_text_totals(p_now timestamptz) RETURNS text_totals LANGUAGE plpgsql AS $$
DECLARE
  totals text_totals;
BEGIN
  SELECT * INTO totals FROM text_totals;
  IF totals.counted_at > p_now - interval '1 second' OR NOT pg_try_advisory_xact_lock(hashtextextended('text_totals', 0)) THEN
    RETURN totals;
  END IF;
  INSERT INTO text_totals AS old (id, counted_at, hour, day, spent) VALUES (1, p_now,
    (SELECT count(*) FROM sms_messages WHERE state = 'open' AND reserved_at > p_now - interval '1 hour'),
    (SELECT count(*) FROM sms_messages WHERE state = 'open' AND reserved_at > p_now - interval '24 hours'),
    (spent_texts(p_now)).spent)
  ON CONFLICT (id) DO UPDATE SET counted_at = excluded.counted_at, hour = excluded.hour, day = excluded.day, spent = excluded.spent
  RETURNING * INTO totals;
  RETURN totals;
END $$;

-- Whether the service is so far from its limits that nobody has to wait for the texts of others: by more than a hundred
-- texts and a tenth, which is more than are sent in the time that the count is old.
CREATE OR REPLACE FUNCTION has_texts_to_spare(p_hour integer, p_day integer, p_spend integer, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  totals text_totals := recent_text_totals(p_now);
BEGIN
  RETURN totals.counted_at > p_now - interval '3 seconds' AND totals.hour < p_hour - greatest(100, p_hour / 10)
    AND totals.day < p_day - greatest(100, p_day / 10) AND totals.spent < p_spend - greatest(100, p_spend / 10);
END $$;

-- All texts of the last 24 hours but those that were refused: how many, and when the oldest was sent. Texts are numbered,
-- so that nothing has to be counted for it but the few that were refused. Those that were reserved at the same time may
-- have got their numbers in another order than their times, so the least number is looked for among many.
CREATE OR REPLACE FUNCTION spent_texts(p_now timestamptz, OUT spent integer, OUT oldest_at timestamptz) LANGUAGE plpgsql STABLE AS $$
DECLARE
  oldest bigint;
BEGIN
  SELECT min(id), min(reserved_at) INTO oldest, oldest_at FROM (
    SELECT id, reserved_at FROM sms_messages WHERE reserved_at > p_now - interval '24 hours' ORDER BY reserved_at LIMIT 100) first;
  spent := coalesce((SELECT max(id) FROM sms_messages) + 1 - oldest, 0)
    - (SELECT count(*) FROM sms_messages WHERE state = 'refused' AND reserved_at > p_now - interval '24 hours');
END $$;

-- Until when the service has no text left, of p_hour and p_day open ones and p_spend in all a day; NULL while it has.
CREATE OR REPLACE FUNCTION service_spent_until(p_hour integer, p_day integer, p_spend integer, p_now timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  s record;
BEGIN
  s := spent_texts(p_now);
  RETURN nullif(greatest(p_now, nth_open_text(p_hour) + interval '1 hour', nth_open_text(p_day) + interval '24 hours',
    CASE WHEN p_spend < 1 THEN 'infinity' WHEN s.spent >= p_spend THEN s.oldest_at + interval '24 hours' END), p_now);
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
  IF NOT coalesce(has_texts_to_spare(service_hour, service_day, spend_day, p_now), false) THEN
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
  spend := record_spend((p_text->>'spend_day')::integer, p_now);
END $$;

-- Whether the next text to the same user or phone has to wait for the cooldown of this one.
CREATE OR REPLACE FUNCTION is_cooling(m sms_messages) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT m.state IN ('refused', 'unsure') OR (m.state = 'open' AND m.delivery <> 'failed')
$$;

-- Half, four fifths, all of what may be spent in a day: an event each, with the text that gets there; which it was.
CREATE OR REPLACE FUNCTION record_spend(p_spend integer, p_now timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  now_spent integer := (spent_texts(p_now)).spent;
  reached text := (SELECT max(percent) || ' %' FROM unnest(ARRAY[50, 80, 100]) percent WHERE now_spent = ceil(p_spend * (percent / 100.0)));
BEGIN
  IF reached IS NOT NULL THEN
    PERFORM record_event(jsonb_build_object('type', 'sms.spend', 'outcome', reached), NULL);
  END IF;
  RETURN reached;
END $$;

-- What the provider answered, unless a receipt has said more already; p_state where it refused or failed.
CREATE OR REPLACE FUNCTION record_answer(p_text bigint, p_delivery text, p_state text, p_provider_id text, p_error text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE sms_messages SET delivery = p_delivery, state = CASE state WHEN 'open' THEN p_state ELSE state END,
    provider_id = p_provider_id, error = p_error
  WHERE id = p_text AND delivery = 'queued';
END $$;

-- A later word of the provider, also one that overtook its answer: true if it says more than is known. The end of a text
-- (delivered, failed) stays, whatever comes late; a text of which nobody was sure has gone after all. p_text: our number of
-- it, which the address that is called carries; where that is missing (NULL) the provider's own is looked for.
CREATE OR REPLACE FUNCTION record_receipt(p_text bigint, p_provider_id text, p_delivery text, p_error text) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE sms_messages SET delivery = p_delivery, state = CASE state WHEN 'unsure' THEN 'open' ELSE state END,
    provider_id = p_provider_id, error = p_error
  WHERE id = coalesce(p_text, (SELECT id FROM sms_messages WHERE provider_id = p_provider_id))
    AND coalesce(provider_id, p_provider_id) = p_provider_id
    AND (delivery = 'queued' OR delivery = 'sent' AND p_delivery <> 'sent' OR state = 'unsure');
  RETURN FOUND;
END $$;

-- What the whole service has used of its texts: open ones of the last hour and 24 hours, and all of 24 hours.
CREATE OR REPLACE FUNCTION texts_used() RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  totals text_totals := recent_text_totals(clock_timestamp());
BEGIN
  RETURN jsonb_build_object('outcome', 'counted', 'hour', totals.hour, 'day', totals.day, 'spent', totals.spent);
END $$;

-- The kinds of hashes that are there, found by a step for each.
CREATE INDEX "users_hash_kind_idx" ON "users"(hash_kind("password_hash"));

CREATE TRIGGER "forget_user" AFTER DELETE ON "users" FOR EACH ROW EXECUTE FUNCTION forget_user();
