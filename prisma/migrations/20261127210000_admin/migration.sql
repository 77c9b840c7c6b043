DROP FUNCTION change_device(uuid,uuid,text,boolean,jsonb);

DROP FUNCTION change_user(text,bytea[],jsonb,jsonb);

DROP FUNCTION find_account(text);

DROP FUNCTION may_answer_by(challenges,text,jsonb);

DROP FUNCTION renew_recovery_codes(uuid,uuid,jsonb,jsonb,jsonb);

DROP FUNCTION reset_factors(text,bytea[],jsonb,jsonb);

DROP FUNCTION reset_password(text,boolean,jsonb,jsonb);

DROP FUNCTION unlock_user(text,bytea[],boolean,jsonb);

DROP FUNCTION use_device(uuid,uuid,jsonb,timestamp with time zone);

-- AlterTable
ALTER TABLE "audit_events" ADD COLUMN     "actor_id" TEXT,
ADD COLUMN     "actor_type" TEXT;

-- AlterTable
ALTER TABLE "recovery_codes" ADD COLUMN     "last_used_at" TIMESTAMPTZ(6);

-- AlterTable
ALTER TABLE "sessions" ADD COLUMN     "rotated_from" TEXT;

-- AlterTable
ALTER TABLE "users" ADD COLUMN     "external_id" TEXT;

-- CreateTable
CREATE TABLE "clients" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "scopes" TEXT[],
    "networks" TEXT[],
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(6),
    "disabled_at" TIMESTAMPTZ(6),
    "last_used_at" TIMESTAMPTZ(6),

    CONSTRAINT "clients_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "client_secrets" (
    "secret_hash" BYTEA NOT NULL,
    "client_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(6),

    CONSTRAINT "client_secrets_pkey" PRIMARY KEY ("secret_hash")
);

-- CreateTable
CREATE TABLE "forgotten_users" (
    "event_id" BIGINT NOT NULL,
    "user_id" UUID NOT NULL,
    "at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "forgotten_users_pkey" PRIMARY KEY ("event_id")
);

-- CreateTable
CREATE TABLE "webhooks" (
    "id" UUID NOT NULL,
    "url" TEXT NOT NULL,
    "events" TEXT[],
    "description" TEXT,
    "secret" TEXT NOT NULL,
    "old_secrets" JSONB NOT NULL DEFAULT '[]',
    "status" TEXT NOT NULL DEFAULT 'active',
    "disabled_reason" TEXT,
    "read_up_to" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "failing_since" TIMESTAMPTZ(6),
    "held_until" TIMESTAMPTZ(6),
    "last_delivered_at" TIMESTAMPTZ(6),
    "last_error" TEXT,

    CONSTRAINT "webhooks_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "webhook_deliveries" (
    "webhook_id" UUID NOT NULL,
    "event_id" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "tries" INTEGER NOT NULL DEFAULT 0,
    "next_try_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "claimed_until" TIMESTAMPTZ(6),
    "error" TEXT,

    CONSTRAINT "webhook_deliveries_pkey" PRIMARY KEY ("webhook_id","event_id")
);

-- CreateIndex
CREATE INDEX "client_secrets_client_id_idx" ON "client_secrets"("client_id");

-- CreateIndex
CREATE INDEX "forgotten_users_at_idx" ON "forgotten_users"("at");

-- CreateIndex
CREATE INDEX "webhook_deliveries_webhook_id_next_try_at_idx" ON "webhook_deliveries"("webhook_id", "next_try_at");

-- CreateIndex
CREATE INDEX "webhook_deliveries_created_at_idx" ON "webhook_deliveries"("created_at");

-- CreateIndex
CREATE UNIQUE INDEX "users_external_id_key" ON "users"("external_id");

-- CreateIndex
CREATE INDEX "users_created_at_id_idx" ON "users"("created_at", "id");

-- CreateIndex
CREATE INDEX "users_email_prefix_idx" ON "users" USING SPGIST ("email");

-- AddForeignKey
ALTER TABLE "client_secrets" ADD CONSTRAINT "client_secrets_client_id_fkey" FOREIGN KEY ("client_id") REFERENCES "clients"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_deliveries" ADD CONSTRAINT "webhook_deliveries_webhook_id_fkey" FOREIGN KEY ("webhook_id") REFERENCES "webhooks"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Whom an operator or a backend means: by canonical e-mail, which always has an @, or by id. NULL if there is none.
CREATE OR REPLACE FUNCTION user_of(p_whom text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF strpos(p_whom, '@') > 0 THEN
    RETURN (SELECT id FROM users WHERE email = p_whom);
  END IF;
  RETURN (SELECT id FROM users WHERE id = p_whom::uuid);
END $$;

-- A user (see user_of) as the login sees it; NULL if there is none.
CREATE OR REPLACE FUNCTION find_account(p_whom text) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT account_state(u) FROM users u WHERE u.id = user_of(p_whom));
END $$;

-- How many users besides p_user may still have this phone, of three in all; nothing keeps others from taking it.
CREATE OR REPLACE FUNCTION phone_places(p_phone text, p_user uuid) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  RETURN 3 - (SELECT count(DISTINCT user_id) FROM factors WHERE phone = p_phone AND user_id IS DISTINCT FROM p_user);
END $$;

-- Whether three users other than p_user have this phone; nobody else can take or leave it until the transaction ends.
CREATE OR REPLACE FUNCTION phone_is_taken(p_phone text, p_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));
  RETURN phone_places(p_phone, p_user) <= 0;
END $$;

-- The one place where an account changes, and where everything begun before the change ends with it: live challenges,
-- sessions, and the trust in devices, which stay known; only what nobody signs in with (external_id, locale) ends nothing. Links end
-- where password, phone or e-mail change, and where somebody is disabled or enabled. A new password or phone also ends what was
-- counted about the old one, for both classes of clients; a new e-mail is not confirmed, and the old one is told.
-- p_change: {password_hash?, phone?, two_factor?, disabled?, email?, external_id? (null: none), locale? (null: the first), notices (whether
-- the owner is told)}; p_identifiers: the e-mail's keyed hashes. changed (id, type: the event's) | unknown | phone_taken | email_taken,
-- external_id_taken (user_id: whose it is)
CREATE OR REPLACE FUNCTION change_user(p_whom text, p_identifiers bytea[], p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
  t timestamptz := lock_account(the_user);
  ends boolean := NOT p_change ?| ARRAY['external_id', 'locale'] OR p_change ?| ARRAY['password_hash', 'phone', 'two_factor', 'disabled', 'email'];
  u users;
BEGIN
  SELECT * INTO u FROM users WHERE id = the_user;
  -- Of somebody who was forgotten at this moment nothing is written, here and below.
  IF u.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  ELSIF p_change ? 'phone' AND phone_is_taken(p_change->>'phone', the_user) THEN
    RETURN jsonb_build_object('outcome', 'phone_taken');
  ELSIF p_change ?| ARRAY['email', 'external_id'] AND NOT name_user(the_user, p_change) THEN
    RETURN coalesce((SELECT jsonb_build_object('outcome', 'email_taken', 'user_id', id) FROM users WHERE email = p_change->>'email' AND id <> the_user),
      (SELECT jsonb_build_object('outcome', 'external_id_taken', 'user_id', id) FROM users WHERE external_id = p_change->>'external_id' AND id <> the_user),
      -- Its owner is gone again.
      '{"outcome": "email_taken"}');
  END IF;
  IF p_change ? 'phone' THEN
    IF (put_factor(the_user, jsonb_build_object('method', 'sms', 'phone', p_change->'phone'), false, t)).id IS NULL AND p_event->>'type' = 'factor.replaced' THEN
      p_event := p_event || '{"type": "factor.added"}';
    END IF;
    -- What an operator decides is not taken back, here and below.
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'factor_removed' AND was->>'method' = 'sms';
  END IF;
  UPDATE users SET
    password_hash = coalesce(p_change->>'password_hash', password_hash),
    two_factor = coalesce(p_change->>'two_factor', two_factor),
    disabled_at = CASE p_change->>'disabled' WHEN 'true' THEN coalesce(disabled_at, t) WHEN 'false' THEN NULL ELSE disabled_at END,
    erases_at = CASE p_change->>'disabled' WHEN 'false' THEN NULL ELSE erases_at END,
    password_state = CASE WHEN p_change ? 'password_hash' THEN 'set' ELSE password_state END,
    locale = CASE WHEN p_change ? 'locale' THEN coalesce(p_change->>'locale', 'en') ELSE locale END
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
  IF ends THEN
    PERFORM end_begun(the_user, NULL, true, t);
  END IF;
  IF p_change ?| ARRAY['password_hash', 'phone', 'disabled', 'email'] THEN
    PERFORM end_links(the_user, u.email, t);
  END IF;
  IF p_change ? 'email' THEN
    DELETE FROM account_changes WHERE user_id = the_user AND kind = 'email_changed';
    PERFORM end_email_changes(the_user, t);
    PERFORM end_links(the_user, p_change->>'email', t);
  END IF;
  PERFORM record_event(p_event, the_user);
  PERFORM tell_of_change(u, p_change, p_event, t);
  RETURN jsonb_build_object('outcome', 'changed', 'id', the_user, 'type', p_event->'type');
END $$;

-- Gives a user another e-mail, which is not confirmed, or what a backend calls it; false if that is somebody else's.
CREATE OR REPLACE FUNCTION name_user(p_user uuid, p_change jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE users SET
    email = coalesce(p_change->>'email', email),
    email_confirmed_at = CASE WHEN p_change ? 'email' THEN NULL ELSE email_confirmed_at END,
    external_id = CASE WHEN p_change ? 'external_id' THEN p_change->>'external_id' ELSE external_id END
  WHERE id = p_user;
  RETURN true;
EXCEPTION WHEN unique_violation THEN
  RETURN false;
END $$;

-- Tells the owner of what an operator or a backend has changed. u: as it was.
CREATE OR REPLACE FUNCTION tell_of_change(u users, p_change jsonb, p_event jsonb, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_change->>'disabled' = 'true' THEN
    PERFORM tell(u.id, 'account.disabled', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'password_hash' THEN
    PERFORM tell(u.id, 'password.reset', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'phone' THEN
    PERFORM tell(u.id, 'phone.set', '{}', false, p_change, p_event, p_now);
  END IF;
  IF p_change ? 'email' THEN
    PERFORM tell(u.id, 'email.set', jsonb_build_object('to', 'old', 'mail_to', u.email), false, p_change, p_event, p_now);
  END IF;
END $$;

-- How a hash was made: it, without the long parts at its end, which are salt and result. (PHC strings: $argon2id$v=19$m=…;
-- bcrypt: $2b$12.) An ASP.NET hash is one blob, of which version 3 (a byte 1) begins with digest and rounds: 9 bytes, 12 letters.
CREATE OR REPLACE FUNCTION hash_kind(p_hash text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(p_hash, '$aspnet$AQ') THEN left(p_hash, 20)
    ELSE regexp_replace(p_hash, '(\$[A-Za-z0-9+/._-]{8,}={0,2})+$', '') END
$$;

-- One hash of each kind that is there: [{kind, hash}]. A step in the index for each kind, however many users there are; of at
-- most 100 kinds, which are enough to say that others than today's are left.
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
    EXIT WHEN jsonb_array_length(samples) >= 100;
  END LOOP;
  RETURN samples;
END $$;

-- Replaces a hash made with old parameters or by another system; false if the password was changed in the meantime.
CREATE OR REPLACE FUNCTION rehash_password(p_user uuid, p_old text, p_new text) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE users SET password_hash = p_new, password_state = CASE password_state WHEN 'imported' THEN 'set' ELSE password_state END
  WHERE id = p_user AND password_hash = p_old;
  RETURN FOUND;
END $$;

-- Ends the locks of both steps and the streaks behind them; with p_all also the 24 hour and 30 day counters of codes and
-- the counters of texts. The user's id, or NULL.
CREATE OR REPLACE FUNCTION unlock_user(p_whom text, p_identifiers bytea[], p_all boolean, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
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
-- that is nobody's; for two weeks it is kept beside them, for those who ask for changes, whom the last one was about.
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
  -- Backends are still to hear whom they have to forget as well.
  INSERT INTO forgotten_users (event_id, user_id)
  SELECT max(id), OLD.id FROM audit_events WHERE user_id = OLD.id AND type = 'user.deleted' HAVING max(id) IS NOT NULL;
  UPDATE audit_events SET user_id = nobody, address = NULL, detail = NULL, request_id = NULL WHERE user_id = OLD.id;
  RETURN NULL;
END $$;

-- Where an account stands: its user has left and it is kept for a while, or it is disabled, or nobody has set a password yet.
CREATE OR REPLACE FUNCTION user_status(u users) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN u.erases_at IS NOT NULL THEN 'erasing' WHEN u.disabled_at IS NOT NULL THEN 'disabled'
    WHEN u.password_hash IS NULL THEN 'invited' ELSE 'active' END
$$;

-- When a user last signed in, read from what logins write anyway: events, of which the newest 200 are looked at, and devices, which
-- are kept for 90 days. NULL if neither knows of one.
CREATE OR REPLACE FUNCTION last_login(p_user uuid) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN greatest(
    (SELECT max(at) FROM (SELECT at, type FROM audit_events WHERE user_id = p_user ORDER BY id DESC LIMIT 200) newest WHERE type IN ('session.started', 'login.succeeded')),
    (SELECT max(last_used_at) FROM devices WHERE user_id = p_user));
END $$;

-- A user as backends see it.
CREATE OR REPLACE FUNCTION user_view(u users) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', u.id, 'external_id', u.external_id, 'email', u.email, 'email_confirmed', u.email_confirmed_at IS NOT NULL,
    'locale', u.locale, 'status', user_status(u), 'two_factor', u.two_factor, 'password', u.password_state,
    'created_at', extract(epoch FROM u.created_at), 'last_login_at', extract(epoch FROM last_login(u.id))) || methods_of(u.id);
END $$;

-- Users that match all of p_filter ({email, email_prefix, phone, external_id, status, created_after, created_before: seconds since 1970}), the
-- newest first, those after p_after ({at: microseconds since 1970, id}) only. Times are shown to the millisecond: after one is later than
-- all that are shown as it. Each with the "position" that the next page begins after. A statement of fixed pieces: values go in as
-- parameters only, and each search gets the plan that its filters deserve.
CREATE OR REPLACE FUNCTION search_users(p_filter jsonb, p_after jsonb, p_limit integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  conditions text := 'true';
  found jsonb;
BEGIN
  conditions := conditions
    || CASE WHEN p_filter ? 'email' THEN ' AND u.email = $1->>''email''' ELSE '' END
    -- Begins with: what the index of another kind on this column can do.
    || CASE WHEN p_filter ? 'email_prefix' THEN ' AND u.email ^@ ($1->>''email_prefix'')' ELSE '' END
    || CASE WHEN p_filter ? 'phone' THEN ' AND u.id IN (SELECT f.user_id FROM factors f WHERE f.phone = $1->>''phone'')' ELSE '' END
    || CASE WHEN p_filter ? 'external_id' THEN ' AND u.external_id = $1->>''external_id''' ELSE '' END
    || CASE WHEN p_filter ? 'status' THEN ' AND user_status(u) = $1->>''status''' ELSE '' END
    || CASE WHEN p_filter ? 'created_after' THEN ' AND u.created_at >= to_timestamp(($1->>''created_after'')::double precision) + interval ''1 millisecond''' ELSE '' END
    || CASE WHEN p_filter ? 'created_before' THEN ' AND u.created_at < to_timestamp(($1->>''created_before'')::double precision)' ELSE '' END
    || CASE WHEN p_after IS NOT NULL THEN
      ' AND (u.created_at, u.id) < (timestamptz ''epoch'' + ($2->>''at'')::bigint * interval ''1 microsecond'', ($2->>''id'')::uuid)' ELSE '' END;
  EXECUTE 'SELECT coalesce(jsonb_agg(user_view(page.u) || jsonb_build_object(''position'', jsonb_build_object(
        ''at'', (extract(epoch FROM (page.u).created_at) * 1000000)::bigint, ''id'', (page.u).id))
      ORDER BY (page.u).created_at DESC, (page.u).id DESC), ''[]'')
    FROM (SELECT u FROM users u WHERE ' || conditions || ' ORDER BY u.created_at DESC, u.id DESC LIMIT $3) page'
    INTO found USING p_filter, p_after, p_limit;
  PERFORM record_event(p_event, NULL);
  RETURN found;
END $$;

-- Everything that a backend sees of one user, or NULL. p_identifiers: the e-mail's keyed hashes. Locks are the latest of both
-- classes of clients.
CREATE OR REPLACE FUNCTION read_user(p_user uuid, p_identifiers bytea[], p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz;
  seen jsonb;
BEGIN
  -- Those who read do not wait for each other, but for who is being forgotten: of whom nothing is written.
  PERFORM require_read_committed();
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_user, 0));
  t := clock_timestamp();
  SELECT user_view(u) || list_factors(u.id) || jsonb_build_object('sessions', list_sessions(u.id), 'devices', list_devices(u.id),
    'login_locked_until', (SELECT extract(epoch FROM max(locked_until)) FROM login_throttles
      WHERE identifier = ANY (p_identifiers || ARRAY(SELECT token_hash FROM devices WHERE user_id = u.id)) AND locked_until > t),
    'second_factor_locked_until', (SELECT extract(epoch FROM max(codes_locked_until(g, t))) FROM factor_guards g WHERE g.user_id = u.id))
  INTO seen FROM users u WHERE u.id = p_user;
  IF seen IS NOT NULL THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN seen;
END $$;

-- A user without a password, made by a backend, and perhaps invited to set one. p_new: {email, external_id, phone (confirmed), locale,
-- two_factor, email_confirmed, invite}. created (user) | email_taken, external_id_taken (user_id: whose it is) | phone_taken
CREATE OR REPLACE FUNCTION add_user(p_new jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  made jsonb;
  u users;
BEGIN
  BEGIN
    -- Said once more, what is told is whose the e-mail is, even if the phone serves three by now.
    made := CASE WHEN EXISTS (SELECT FROM users WHERE email = p_new->>'email') THEN '{"outcome": "email_taken"}'
      ELSE create_user(p_new->>'email', p_new->>'phone', NULL, p_new->>'two_factor', p_new->>'locale', p_event) END;
    IF made->>'outcome' = 'created' THEN
      UPDATE users SET external_id = p_new->>'external_id', email_confirmed_at = CASE WHEN (p_new->>'email_confirmed')::boolean THEN clock_timestamp() END
      WHERE id = (made->>'id')::uuid RETURNING * INTO u;
    END IF;
  EXCEPTION WHEN unique_violation THEN
    RETURN jsonb_build_object('outcome', 'external_id_taken', 'user_id', (SELECT id FROM users WHERE external_id = p_new->>'external_id'));
  END;
  IF u.id IS NULL THEN
    RETURN made || jsonb_build_object('user_id', (SELECT id FROM users WHERE email = p_new->>'email'));
  END IF;
  IF (p_new->>'invite')::boolean THEN
    PERFORM mail_password_link(u, 'invite', clock_timestamp());
  END IF;
  RETURN jsonb_build_object('outcome', 'created', 'user', user_view(u));
END $$;

-- Changes a user as change_user does, but what is so already is no change: said once more, it ends and tells nothing. An event for each
-- kind of change, one if nothing was to be done. changed (user, events: their types and outcomes) | unknown | email_taken,
-- external_id_taken (user_id: whose it is)
CREATE OR REPLACE FUNCTION admin_change_user(p_user uuid, p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  u users;
  events jsonb := '[]';
  changed jsonb := '{"outcome": "changed"}';
  event jsonb;
BEGIN
  PERFORM lock_account(p_user);
  SELECT * INTO u FROM users WHERE id = p_user;
  IF u.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  END IF;
  p_change := new_in(u, p_change);
  IF p_change ? 'email' THEN
    events := events || '{"type": "email.changed", "outcome": "by a client"}';
  END IF;
  IF p_change ? 'disabled' THEN
    events := events || CASE p_change->>'disabled' WHEN 'true' THEN '{"type": "user.disabled", "outcome": "disabled"}'::jsonb
      ELSE '{"type": "user.enabled", "outcome": "enabled"}' END;
  END IF;
  IF p_change ?| ARRAY['external_id', 'locale', 'two_factor'] OR events = '[]' THEN
    events := events || jsonb_build_object('type', 'user.changed', 'outcome', coalesce(
      (SELECT string_agg(name, ', ' ORDER BY name) FROM jsonb_object_keys(p_change) name WHERE name IN ('external_id', 'locale', 'two_factor')), 'nothing'));
  END IF;
  IF p_change ?| ARRAY['email', 'disabled', 'external_id', 'locale', 'two_factor'] THEN
    changed := change_user(p_user::text, '{}', p_change, p_event || (events->0));
    IF changed->>'outcome' <> 'changed' THEN
      RETURN changed;
    END IF;
    FOR event IN SELECT value FROM jsonb_array_elements(events - 0) LOOP
      PERFORM record_event(p_event || event, p_user);
    END LOOP;
  ELSE
    PERFORM record_event(p_event || (events->0), p_user);
  END IF;
  RETURN (SELECT jsonb_build_object('outcome', 'changed', 'user', user_view(users), 'events', events) FROM users WHERE id = p_user);
END $$;

-- Of a change, what is not so already. Who has left is not disabled by an operator yet.
CREATE OR REPLACE FUNCTION new_in(u users, p_change jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  is_disabled boolean := u.disabled_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM account_changes WHERE user_id = u.id AND kind = 'deletion' AND NOT was ? 'disabled');
BEGIN
  RETURN p_change - ARRAY(SELECT name FROM jsonb_object_keys(p_change) name WHERE CASE name
    WHEN 'email' THEN p_change->>'email' = u.email
    WHEN 'external_id' THEN p_change->>'external_id' IS NOT DISTINCT FROM u.external_id
    WHEN 'locale' THEN coalesce(p_change->>'locale', 'en') = u.locale
    WHEN 'two_factor' THEN p_change->>'two_factor' = u.two_factor
    WHEN 'disabled' THEN CASE p_change->>'disabled' WHEN 'true' THEN is_disabled ELSE u.disabled_at IS NULL END
    ELSE false END);
END $$;

-- One factor of a user goes, by a backend, whatever the policy wants: the next login sets up another. With the last of p_policy's
-- "factors" the recovery codes go. Of an operator's doing nothing is taken back. removed (method) | unknown (no such user) | none
CREATE OR REPLACE FUNCTION admin_remove_factor(p_user uuid, p_factor uuid, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  u users;
  f factors;
BEGIN
  SELECT * INTO u FROM users WHERE id = p_user;
  DELETE FROM factors WHERE id = p_factor AND user_id = p_user RETURNING * INTO f;
  IF f.id IS NULL THEN
    RETURN jsonb_build_object('outcome', CASE WHEN u.id IS NULL THEN 'unknown' ELSE 'none' END);
  END IF;
  DELETE FROM account_changes WHERE user_id = p_user AND kind = 'factor_added' AND was->>'id' = p_factor::text;
  IF NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    PERFORM drop_recovery_codes(p_user, false, t);
    DELETE FROM account_changes WHERE user_id = p_user AND kind = 'recovery_codes';
  END IF;
  PERFORM end_begun(p_user, NULL, true, t);
  PERFORM end_links(p_user, u.email, t);
  p_event := p_event || jsonb_build_object('factor', f.method);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'factor.reset', jsonb_build_object('method', f.method, 'name', f.name), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'removed', 'method', f.method);
END $$;

-- All factors of a user go, by a backend. Where there are none nothing ends and nobody is told. False if there is no such user.
CREATE OR REPLACE FUNCTION admin_reset_factors(p_user uuid, p_identifiers bytea[], p_policy jsonb, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM lock_account(p_user);
  IF EXISTS (SELECT FROM factors WHERE user_id = p_user) OR EXISTS (SELECT FROM recovery_codes WHERE user_id = p_user) THEN
    RETURN reset_factors(p_user::text, p_identifiers, p_policy, p_event) IS NOT NULL;
  END IF;
  PERFORM record_event(p_event, p_user) FROM users WHERE id = p_user;
  RETURN FOUND;
END $$;

-- Ends a session of a user, or all (p_session is NULL), by a backend: how many, or NULL if there is no such user.
CREATE OR REPLACE FUNCTION admin_end_sessions(p_user uuid, p_session uuid, p_event jsonb) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  ended integer;
BEGIN
  PERFORM lock_account(p_user);
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user) THEN
    RETURN NULL;
  END IF;
  ended := end_sessions(p_user, p_session, CASE WHEN p_session IS NULL THEN 'all' ELSE 'local' END, p_event);
  IF ended = 0 AND p_session IS NULL THEN
    PERFORM record_event(p_event, p_user);
  END IF;
  RETURN ended;
END $$;

-- Forgets a device of a user, or all (p_device is NULL), by a backend, and ends their sessions: how many, or NULL if there is no such
-- user.
CREATE OR REPLACE FUNCTION admin_forget_devices(p_user uuid, p_device uuid, p_event jsonb) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  gone uuid[];
BEGIN
  IF NOT EXISTS (SELECT FROM users WHERE id = p_user) THEN
    RETURN NULL;
  ELSIF p_device IS NOT NULL THEN
    RETURN forget_device(p_user, p_device, p_event)::integer;
  END IF;
  WITH deleted AS (DELETE FROM devices WHERE user_id = p_user RETURNING id) SELECT coalesce(array_agg(id), '{}') INTO gone FROM deleted;
  UPDATE sessions SET ended_at = t WHERE user_id = p_user AND device_id = ANY (gone) AND ended_at IS NULL;
  PERFORM record_event(p_event, p_user);
  RETURN cardinality(gone);
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

-- A new client and its first secret. p_client: {id, name, scopes, networks, expires_at (seconds since 1970)}.
CREATE OR REPLACE FUNCTION create_client(p_client jsonb, p_hash bytea, p_event jsonb) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
BEGIN
  INSERT INTO clients (id, name, scopes, networks, created_at, expires_at)
  VALUES (p_client->>'id', p_client->>'name', ARRAY(SELECT jsonb_array_elements_text(p_client->'scopes')),
    ARRAY(SELECT jsonb_array_elements_text(p_client->'networks')), t, to_timestamp((p_client->>'expires_at')::double precision));
  INSERT INTO client_secrets (secret_hash, client_id, created_at) VALUES (p_hash, p_client->>'id', t);
  PERFORM record_event(p_event, NULL);
END $$;

-- Whom a secret (its hash) stands for, asked at every call: accepted (id, scopes) | refused (why, for the records alone). Whatever is
-- wrong, the same statements run. That it was used is written once an hour, by whoever is first. p_address: NULL where it cannot
-- be read, which is in no network.
CREATE OR REPLACE FUNCTION use_client(p_id text, p_hash bytea, p_address text) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  c clients;
  refusal text;
BEGIN
  SELECT client.* INTO c FROM client_secrets s JOIN clients client ON client.id = s.client_id
  WHERE s.secret_hash = p_hash AND s.client_id = p_id AND (s.expires_at IS NULL OR s.expires_at > t);
  refusal := CASE
    WHEN c.id IS NULL THEN 'wrong id or secret'
    WHEN c.disabled_at IS NOT NULL THEN 'disabled'
    WHEN c.expires_at <= t THEN 'expired'
    WHEN cardinality(c.networks) > 0 AND NOT coalesce(p_address::inet <<= ANY (c.networks::inet[]), false) THEN 'wrong network' END;
  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', 'refused', 'reason', refusal);
  END IF;
  UPDATE clients SET last_used_at = t WHERE id = c.id AND (last_used_at IS NULL OR last_used_at <= t - interval '1 hour');
  RETURN jsonb_build_object('outcome', 'accepted', 'id', c.id, 'scopes', c.scopes);
END $$;

-- One more secret; the newest of those before it works for another 24 hours, older ones no more: rotated (old_expires_at) | unknown |
-- disabled
CREATE OR REPLACE FUNCTION rotate_client(p_id text, p_hash bytea, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz;
  c clients;
BEGIN
  PERFORM require_read_committed();
  SELECT * INTO c FROM clients WHERE id = p_id FOR UPDATE;
  t := clock_timestamp();
  IF c.id IS NULL OR c.disabled_at IS NOT NULL THEN
    RETURN jsonb_build_object('outcome', CASE WHEN c.id IS NULL THEN 'unknown' ELSE 'disabled' END);
  END IF;
  DELETE FROM client_secrets WHERE client_id = p_id AND expires_at IS NOT NULL;
  UPDATE client_secrets SET expires_at = t + interval '24 hours' WHERE client_id = p_id;
  INSERT INTO client_secrets (secret_hash, client_id, created_at) VALUES (p_hash, p_id, t);
  PERFORM record_event(p_event, NULL);
  RETURN jsonb_build_object('outcome', 'rotated', 'old_expires_at', extract(epoch FROM t + interval '24 hours'));
END $$;

-- No secret of the client works from now on: false if there is no such client.
CREATE OR REPLACE FUNCTION disable_client(p_id text, p_event jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE clients SET disabled_at = coalesce(disabled_at, clock_timestamp()) WHERE id = p_id;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- All clients, the oldest first, with when their secrets were made and run out.
CREATE OR REPLACE FUNCTION list_clients() RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'name', c.name, 'scopes', c.scopes, 'networks', c.networks,
      'created_at', extract(epoch FROM c.created_at), 'expires_at', extract(epoch FROM c.expires_at),
      'disabled_at', extract(epoch FROM c.disabled_at), 'last_used_at', extract(epoch FROM c.last_used_at),
      'secrets', (SELECT coalesce(jsonb_agg(jsonb_build_object('created_at', extract(epoch FROM s.created_at),
          'expires_at', extract(epoch FROM s.expires_at)) ORDER BY s.created_at), '[]')
        FROM client_secrets s WHERE s.client_id = c.id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())))
      ORDER BY c.created_at, c.id), '[]')
    FROM clients c);
END $$;

-- The device of a login that is finished: the one it came with (p_known), if it is still there, used once more; otherwise
-- p_device is made, if it has a token. Of more than 20 those go that were never used again, then those not used longest.
-- p_device: {id, token_hash (hex), name, address, user_agent, life, trust, trust_life}; the lives in seconds.
CREATE OR REPLACE FUNCTION use_device(p_user uuid, p_known uuid, p_device jsonb, p_event jsonb, p_now timestamptz) RETURNS devices LANGUAGE plpgsql AS $$
DECLARE
  d devices;
  crowded_out uuid;
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
  FOR crowded_out IN SELECT id FROM devices WHERE user_id = p_user ORDER BY last_used_at > created_at DESC, last_used_at DESC OFFSET 19 LOOP
    DELETE FROM devices WHERE id = crowded_out;
    PERFORM record_removed_device(p_user, crowded_out, 'more than twenty', p_event);
  END LOOP;
  INSERT INTO devices (id, user_id, token_hash, name, address, user_agent, created_at, last_used_at, expires_at, trusted_until)
  VALUES ((p_device->>'id')::uuid, p_user, decode(p_device->>'token_hash', 'hex'), p_device->>'name', p_device->>'address',
    p_device->>'user_agent', p_now, p_now, p_now + seconds(p_device->>'life'),
    CASE WHEN trusts THEN p_now + seconds(p_device->>'trust_life') END)
  RETURNING * INTO d;
  RETURN d;
END $$;

-- A device that nobody has asked to forget is forgotten: why.
CREATE OR REPLACE FUNCTION record_removed_device(p_user uuid, p_device uuid, p_why text, p_event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM record_event(p_event || jsonb_build_object('type', 'device.removed', 'outcome', p_why, 'factor', NULL, 'detail', 'device ' || p_device), p_user);
END $$;

-- What a finished login has changed about its device: it became known, or trusted, or both. One that was known, and nothing
-- asked for, is no event: the session's is enough.
CREATE OR REPLACE FUNCTION record_device(p_user uuid, d devices, p_device jsonb, p_event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF d.id = (p_device->>'id')::uuid THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'device.added', 'outcome', 'by sign-in', 'factor', NULL, 'detail', 'device ' || d.id), p_user);
  END IF;
  IF d.id IS NOT NULL AND (p_device->>'trust')::boolean THEN
    PERFORM record_event(p_event || jsonb_build_object('type', 'device.trusted', 'outcome', 'by sign-in', 'factor', NULL, 'detail', 'device ' || d.id), p_user);
  END IF;
END $$;

-- Names a device of a user anew, or ends its trust; what is NULL stays. What that has changed: trust ended | named | nothing;
-- NULL if there is none.
CREATE OR REPLACE FUNCTION change_device(p_user uuid, p_device uuid, p_name text, p_ends_trust boolean, p_event jsonb) RETURNS text LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
  d devices;
  changed text;
BEGIN
  SELECT * INTO d FROM devices WHERE id = p_device AND user_id = p_user AND expires_at > t;
  IF d.id IS NULL THEN
    RETURN NULL;
  END IF;
  changed := CASE WHEN p_ends_trust AND d.trusted_until > t THEN 'trust ended' WHEN p_name <> coalesce(d.name, '') THEN 'named' ELSE 'nothing' END;
  IF changed <> 'nothing' THEN
    UPDATE devices SET name = coalesce(p_name, name), trusted_until = CASE WHEN p_ends_trust THEN NULL ELSE trusted_until END WHERE id = d.id;
    PERFORM record_event(p_event || jsonb_build_object('outcome', changed), p_user);
  END IF;
  RETURN changed;
END $$;

-- Appends one event to the log. Its number comes after the lock, so that whoever reads knows that it may still appear: the
-- lock names the last number given before it, and is held until the event is seen or undone (readable_events). The first
-- lock of a transaction stands for all its events: a purge records a thousand, and the server's table of locks is small.
CREATE OR REPLACE FUNCTION record_event(p_event jsonb, p_user uuid) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF coalesce(current_setting('doorstep.records', true), '') = '' THEN
    PERFORM pg_advisory_xact_lock_shared(event_lock(), (last_event() % 2147483648)::integer);
    -- Undone where the lock is undone: with the transaction, or with the part of it that fails.
    PERFORM set_config('doorstep.records', 'yes', true);
  END IF;
  INSERT INTO audit_events (type, outcome, user_id, factor, address, request_id, detail, actor_type, actor_id)
  VALUES (p_event->>'type', p_event->>'outcome', p_user, p_event->>'factor', p_event->>'address', p_event->>'request_id',
          p_event->>'detail', coalesce(p_event->>'actor_type', 'system'), p_event->>'actor_id');
END $$;

-- The number up to which every event is committed or undone: whoever has read up to there will never find one behind. To be
-- asked before the statement that reads, not within it: its snapshot must be the newer one.
CREATE OR REPLACE FUNCTION readable_events() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  given bigint := last_event();
BEGIN
  -- Who has no lock yet gets a number above `given`. The lock has room for 31 bits of the number before it, whose distance
  -- from `given` is below half of that, either way: it may have been taken after `given` was read, and then hides nothing.
  RETURN least(given, (
    SELECT min(given - CASE WHEN distance < 1073741824 THEN distance ELSE 0 END)
    FROM (SELECT (given - objid::bigint) & 2147483647 AS distance FROM pg_locks
      WHERE locktype = 'advisory' AND classid = event_lock()::oid AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) held));
END $$;

-- The number that was given last; 0: none yet.
CREATE OR REPLACE FUNCTION last_event() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RETURN coalesce(pg_sequence_last_value('audit_events_id_seq'), 0);
END $$;

-- The first half of the name of those locks: the log itself, since a database may have several, each in its schema.
CREATE OR REPLACE FUNCTION event_lock() RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN ('audit_events'::regclass::oid::bigint & 2147483647)::integer;
END $$;

-- An event's number as everybody outside knows it: of one length, so that the later one is the greater text.
CREATE OR REPLACE FUNCTION event_name(p_number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'evt_' || lpad(p_number::text, 19, '0')
$$;

-- The greatest number of an event that is older than p_at, 0 where none is: by halves, since numbers rise with time and there
-- is no index of times, which every login would have to keep. NULL for no time.
CREATE OR REPLACE FUNCTION last_event_before(p_at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
  low bigint := coalesce((SELECT min(id) FROM audit_events), 1) - 1;
  high bigint := coalesce((SELECT max(id) FROM audit_events), 0);
  middle bigint;
  found_id bigint;
  found_at timestamptz;
BEGIN
  WHILE low < high LOOP
    middle := (low + high + 1) / 2;
    SELECT id, at INTO found_id, found_at FROM audit_events WHERE id >= middle ORDER BY id LIMIT 1;
    IF found_at < p_at THEN
      low := found_id;
    ELSE
      high := middle - 1;
    END IF;
  END LOOP;
  RETURN greatest(low, 0);
END $$;

-- What an event was, for those outside. Who was forgotten has no name here but in the event that says so, for as long as
-- backends are still to hear of it (forgotten_users). Before it was recorded who did something, a request meant its user.
CREATE OR REPLACE FUNCTION event_state(e audit_events) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  the_user uuid := e.user_id;
  actor text := coalesce(e.actor_type, CASE WHEN e.request_id IS NULL THEN 'system' ELSE 'user' END);
BEGIN
  IF e.type = 'user.deleted' THEN
    the_user := coalesce((SELECT f.user_id FROM forgotten_users f WHERE f.event_id = e.id), e.user_id);
  END IF;
  RETURN jsonb_build_object('id', event_name(e.id), 'at', extract(epoch FROM e.at), 'type', e.type, 'outcome', e.outcome, 'user_id', the_user,
    'actor', jsonb_build_object('type', actor, 'id', CASE WHEN actor = 'user' THEN the_user::text ELSE e.actor_id END),
    'factor', e.factor, 'address', e.address, 'request_id', e.request_id, 'detail', e.detail);
END $$;

-- A page of the log. p_query: {limit, order (asc | desc), user_id?, type? (a name, or a group: factor.*), after_id?, before_id?,
-- after_at?, before_at? (seconds since 1970), cursor?}; p_event, unless NULL, tells that it was read. {events, next_cursor}.
-- Without a user at most p_query.span numbers are looked through, whatever they hold: the page may then be short, or empty,
-- and the next goes on behind them.
CREATE OR REPLACE FUNCTION read_events(p_query jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  readable bigint;
  the_user uuid := (p_query->>'user_id')::uuid;
  of_type text := p_query->>'type';
  -- Times are shown to the millisecond: later than all that are shown as this one.
  after_at timestamptz := to_timestamp((p_query->>'after_at')::double precision) + interval '1 millisecond';
  before_at timestamptz := to_timestamp((p_query->>'before_at')::double precision);
  is_rising boolean := p_query->>'order' = 'asc';
  most integer := (p_query->>'limit')::integer;
  span bigint := CASE WHEN the_user IS NULL THEN (p_query->>'span')::bigint END;
  low bigint;
  high bigint;
  first_number bigint;
  last_number bigint;
  rows jsonb;
  next bigint;
BEGIN
  PERFORM require_read_committed();
  readable := readable_events();
  -- Times of neighbours may be a moment out of order: a minute more is looked through, and each event by its own time.
  low := greatest((p_query->>'after_id')::bigint, last_event_before(after_at - interval '1 minute'), (SELECT min(id) FROM audit_events) - 1, 0);
  high := least(readable, (p_query->>'before_id')::bigint - 1, last_event_before(before_at + interval '1 minute'));
  IF p_query ? 'cursor' THEN
    IF is_rising THEN
      low := greatest(low, (p_query->>'cursor')::bigint);
    ELSE
      high := least(high, (p_query->>'cursor')::bigint - 1);
    END IF;
  END IF;
  first_number := CASE WHEN is_rising THEN low ELSE greatest(low, high - span) END;
  last_number := CASE WHEN is_rising THEN least(high, low + span) ELSE high END;
  -- Made anew each time: one plan for all would read the whole log for one user.
  EXECUTE format('SELECT coalesce(jsonb_agg(event_state(e) ORDER BY e.id %1$s), ''[]''), %2$s(e.id) FROM (SELECT * FROM audit_events '
    'WHERE id > $1 AND id <= $2 %3$s %4$s %5$s %6$s ORDER BY id %1$s LIMIT $7) e',
    CASE WHEN is_rising THEN 'ASC' ELSE 'DESC' END, CASE WHEN is_rising THEN 'max' ELSE 'min' END,
    CASE WHEN the_user IS NOT NULL THEN 'AND user_id = $3' END,
    CASE WHEN of_type LIKE '%.*' THEN 'AND starts_with(type, left($4, -1))' WHEN of_type IS NOT NULL THEN 'AND type = $4' END,
    CASE WHEN after_at IS NOT NULL THEN 'AND at >= $5' END, CASE WHEN before_at IS NOT NULL THEN 'AND at < $6' END)
  INTO rows, next USING first_number, last_number, the_user, of_type, after_at, before_at, most;
  IF jsonb_array_length(rows) < most THEN
    next := CASE WHEN is_rising AND last_number < high THEN last_number WHEN NOT is_rising AND first_number > low THEN first_number + 1 END;
  END IF;
  IF p_event IS NOT NULL THEN
    -- Of somebody who was forgotten nothing is written.
    PERFORM lock_account(the_user);
    PERFORM record_event(p_event, (SELECT id FROM users WHERE id = the_user));
  END IF;
  RETURN jsonb_build_object('outcome', 'read', 'events', rows, 'next_cursor', event_name(next));
END $$;

-- What a user has to finish a login with, the oldest first, and the recovery codes that are left.
CREATE OR REPLACE FUNCTION list_factors(p_user uuid) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_build_object(
    'factors', (SELECT coalesce(jsonb_agg(factor_state(f) #- '{data,secret}' ORDER BY f.created_at, f.id), '[]') FROM factors f WHERE f.user_id = u.id),
    'recovery_codes', (SELECT CASE WHEN count(*) > 0 THEN jsonb_build_object('remaining', count(*), 'created_at', extract(epoch FROM min(created_at)),
        'last_used_at', extract(epoch FROM max(last_used_at))) END
      FROM recovery_codes r WHERE r.user_id = u.id),
    'user_handle', base64url(u.handle), 'email_confirmed', u.email_confirmed_at IS NOT NULL)
    FROM users u WHERE u.id = p_user);
END $$;

-- Begins to set up a factor: for a session (fresh, as its caller has seen to while the account was in p_parent's epoch), or in a
-- login that must (p_parent: {session, epoch, challenge}). One that was begun before it in the same session or login ends. What
-- is sent goes to nobody who is known: a number that is not confirmed counts as a stranger's. p_challenge: {id, setup (hex)};
-- p_policy: with enrolments_day. opened (as open_challenge) | invalid | stale | conflict | too_many | what refuses the message
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
  ELSIF s.id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = (p_parent->>'epoch')::integer) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  -- What a session has let begin ends with it, however many steps it takes.
  the_client := CASE WHEN s.id IS NOT NULL THEN 'session:' || s.id WHEN session_of(parent.client) IS NOT NULL THEN parent.client
    ELSE 'login:' || parent.id END;
  -- All that a text is counted by, in its order, before a phone is looked at: so nothing deadlocks.
  PERFORM lock_text(p_candidate->'text') WHERE p_candidate->>'sends' = 'sms';
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

-- New recovery codes, next to a factor only; the old ones are dead. p_epoch: of the account, as the session was found fresh.
-- renewed | conflict | stale | ended (the session)
CREATE OR REPLACE FUNCTION renew_recovery_codes(p_user uuid, p_session uuid, p_epoch integer, p_macs jsonb, p_policy jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := lock_account(p_user);
BEGIN
  IF NOT EXISTS (SELECT FROM live_session(p_session, p_user, t)) THEN
    RETURN jsonb_build_object('outcome', 'ended');
  ELSIF NOT EXISTS (SELECT FROM users WHERE id = p_user AND epoch = p_epoch) THEN
    RETURN jsonb_build_object('outcome', 'stale');
  ELSIF NOT EXISTS (SELECT FROM factors WHERE user_id = p_user AND p_policy->'factors' ? method) THEN
    RETURN jsonb_build_object('outcome', 'conflict');
  END IF;
  PERFORM put_recovery_codes(p_user, p_macs, true, t);
  PERFORM record_event(p_event, p_user);
  PERFORM tell(p_user, 'recovery_codes.renewed', jsonb_build_object('remaining', jsonb_array_length(p_macs)), false, p_policy, p_event, t);
  RETURN jsonb_build_object('outcome', 'renewed');
END $$;

-- All factors and recovery codes of a user go, by an operator, and everything begun before: the user's id, or NULL.
CREATE OR REPLACE FUNCTION reset_factors(p_whom text, p_identifiers bytea[], p_policy jsonb, p_event jsonb) RETURNS uuid LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_user uuid := user_of(p_whom);
  t timestamptz := lock_account(the_user);
  the_email text := (SELECT email FROM users WHERE id = the_user);
BEGIN
  IF the_email IS NULL THEN
    RETURN NULL;
  END IF;
  DELETE FROM factors WHERE user_id = the_user;
  -- Of factors nothing is taken back any more; an e-mail or a deletion still is.
  DELETE FROM account_changes WHERE user_id = the_user AND kind IN ('factor_added', 'factor_removed', 'recovery_codes');
  PERFORM drop_recovery_codes(the_user, false, t);
  PERFORM end_begun(the_user, NULL, true, t);
  PERFORM end_links(the_user, the_email, t);
  PERFORM forget_code_failures(the_user);
  PERFORM record_event(p_event, the_user);
  PERFORM tell(the_user, 'factors.reset', '{}', false, p_policy, p_event, t);
  RETURN the_user;
END $$;

-- A verdict of the service, with what only shows under the account's lock: a counter that is no higher than the one that is
-- stored tells of a copy, where a method's does ("if_back": the type of that event).
CREATE OR REPLACE FUNCTION weigh_verdict(p_verdict jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_verdict ? 'if_back' AND EXISTS (
    SELECT FROM factors WHERE id = (p_verdict->>'factor_id')::uuid AND counter > 0 AND counter >= (p_verdict->>'counter')::bigint) THEN
    RETURN p_verdict || jsonb_build_object('notices', jsonb_build_array(p_verdict->'if_back'));
  END IF;
  RETURN p_verdict;
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
  p_verdict := weigh_verdict(p_verdict);
  UPDATE factors f SET counter = greatest(f.counter, (p_verdict->>'counter')::bigint), last_used_at = t, data = data || coalesce(p_verdict->'data', '{}')
  FROM users u
  WHERE f.id = (p_verdict->>'factor_id')::uuid AND f.user_id = p_user AND u.id = p_user AND u.epoch = p_epoch AND u.disabled_at IS NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'stale');
  END IF;
  known := (SELECT id FROM devices WHERE token_hash = p_device_token AND user_id = p_user AND expires_at > t AND failures < 20);
  d := use_device(p_user, known, p_device, p_event, t);
  s := insert_session(p_user, d.id, p_session, t);
  UPDATE users SET email_codes_off = false WHERE id = p_user AND email_codes_off;
  PERFORM record_event(p_event, p_user);
  PERFORM record_device(p_user, d, p_device, p_event);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t))
    || tell_of_verdict(p_user, p_verdict, p_policy, p_event, t);
END $$;

-- Imports users, each by itself: an array with what became of each, in their order. p_rows: [{id, email, external_id, email_confirmed,
-- locale, password_hash, two_factor, disabled, created_at (seconds since 1970), phone (confirmed), totp {id, secret (sealed)}}]:
-- created | exists | external_id_taken | phone_taken
CREATE OR REPLACE FUNCTION import_users(p_rows jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  the_row jsonb;
  outcomes jsonb := '[]';
BEGIN
  PERFORM require_read_committed();
  -- One import at a time, and its phones in the order of their keys before a row is written: so nothing deadlocks.
  PERFORM pg_advisory_xact_lock(hashtextextended('import', 0));
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('phone:' || (value->>'phone'), 0) AS key FROM jsonb_array_elements(p_rows)
    WHERE value->>'phone' IS NOT NULL ORDER BY key) phones;
  FOR the_row IN SELECT value FROM jsonb_array_elements(p_rows) WITH ORDINALITY ORDER BY ordinality LOOP
    outcomes := outcomes || to_jsonb(import_user(the_row, p_event));
  END LOOP;
  RETURN outcomes;
END $$;

-- What is taken by now of what users would bring along (p_rows, as above), without anything being written, in their order:
-- [{email, external_id, phone_places (how many users may still have the phone)}].
CREATE OR REPLACE FUNCTION foresee_import(p_rows jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_agg(jsonb_build_object(
      'email', EXISTS (SELECT FROM users WHERE email = value->>'email'),
      'external_id', EXISTS (SELECT FROM users WHERE external_id = value->>'external_id'),
      'phone_places', phone_places(value->>'phone', NULL)) ORDER BY ordinality)
    FROM jsonb_array_elements(p_rows) WITH ORDINALITY);
END $$;

-- One of them. Whoever is there already stays as he is.
CREATE OR REPLACE FUNCTION import_user(p_row jsonb, p_event jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz := clock_timestamp();
  new_id uuid := (p_row->>'id')::uuid;
BEGIN
  IF EXISTS (SELECT FROM users WHERE email = p_row->>'email') THEN
    RETURN 'exists';
  ELSIF EXISTS (SELECT FROM users WHERE external_id = p_row->>'external_id') THEN
    RETURN 'external_id_taken';
  ELSIF p_row->>'phone' IS NOT NULL AND phone_is_taken(p_row->>'phone', NULL) THEN
    RETURN 'phone_taken';
  END IF;
  INSERT INTO users (id, email, external_id, email_confirmed_at, locale, password_hash, password_state, two_factor, disabled_at, created_at)
  VALUES (new_id, p_row->>'email', p_row->>'external_id', CASE WHEN (p_row->>'email_confirmed')::boolean THEN t END, p_row->>'locale',
    p_row->>'password_hash', CASE WHEN p_row->>'password_hash' IS NULL THEN 'none' ELSE 'imported' END, p_row->>'two_factor',
    CASE WHEN (p_row->>'disabled')::boolean THEN t END, coalesce(to_timestamp((p_row->>'created_at')::double precision), t))
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    -- Made by somebody else at this moment.
    RETURN CASE WHEN EXISTS (SELECT FROM users WHERE email = p_row->>'email') THEN 'exists' ELSE 'external_id_taken' END;
  END IF;
  IF p_row->>'phone' IS NOT NULL THEN
    PERFORM put_factor(new_id, jsonb_build_object('method', 'sms', 'phone', p_row->'phone'), false, t);
  END IF;
  IF p_row->'totp'->>'id' IS NOT NULL THEN
    PERFORM put_factor(new_id, jsonb_build_object('id', p_row->'totp'->'id', 'method', 'totp',
      'data', jsonb_build_object('secret', p_row->'totp'->'secret')), false, t);
  END IF;
  PERFORM record_event(p_event, new_id);
  RETURN 'created';
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
    VALUES (p_hash, a->>'link', m.address, the_user, jsonb_build_object('locale', coalesce(nullif(m.locale, ''), 'en'), 'mail', m.id), t,
      t + seconds(a->>'expires_in'));
  END IF;
  RETURN a || jsonb_build_object('locale', coalesce(nullif(m.locale, ''), u.locale, 'en'));
END $$;

-- The links that set a password or confirm an address end: those of a user, those to the user's address (whoever they were made
-- for: an account may have come into being since), and those to another one.
CREATE OR REPLACE FUNCTION end_links(p_user uuid, p_email text, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE mail_links SET ended_at = p_now
  WHERE (user_id = p_user OR email IN (p_email, (SELECT email FROM users WHERE id = p_user))) AND kind IN ('set_password', 'confirm_email') AND ended_at IS NULL;
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
    PERFORM record_removed_device(p_user, p_device, 'twenty failures', p_event) WHERE FOUND;
  END IF;
END $$;

-- Deletes a batch of mails: those with codes and links after 25 hours, when no budget counts them any more, notices after 7 days.
CREATE OR REPLACE FUNCTION purge_mails(p_batch integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  deleted integer;
  others integer;
BEGIN
  DELETE FROM mails WHERE id = ANY (ARRAY(
    SELECT id FROM mails WHERE kind IN ('code', 'link') AND created_at < t - interval '25 hours' ORDER BY created_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS deleted = ROW_COUNT;
  DELETE FROM mails WHERE id = ANY (ARRAY(
    SELECT id FROM mails WHERE kind = 'notice' AND created_at < t - interval '168 hours' ORDER BY created_at LIMIT p_batch - deleted FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS others = ROW_COUNT;
  RETURN deleted + others;
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

-- What has run out goes (ASVS 14.2.7): each call deletes one batch of one kind, skipping rows in use, and says how many.
-- p_days: how long events are kept. A batch is an array, and no subquery that is joined: a plan from when the table was empty would
-- go through all of it once for each row of the batch.
CREATE OR REPLACE FUNCTION purge(p_kind text, p_batch integer, p_days integer, p_notices boolean) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  deleted integer;
BEGIN
  CASE p_kind
    WHEN 'throttles' THEN
      -- No counter remembers more failures than are made in two days at one an hour.
      DELETE FROM login_throttles WHERE identifier = ANY (ARRAY(
        SELECT identifier FROM login_throttles WHERE counted_from < t - interval '48 hours' AND (locked_until IS NULL OR locked_until < t)
        ORDER BY counted_from LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'challenges' THEN
      RETURN purge_challenges(p_batch, p_notices, t);
    WHEN 'texts' THEN
      DELETE FROM sms_messages WHERE id = ANY (ARRAY(
        SELECT id FROM sms_messages WHERE reserved_at < t - interval '25 hours' ORDER BY reserved_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'sessions' THEN
      DELETE FROM sessions WHERE id = ANY (ARRAY(
        SELECT id FROM sessions WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'devices' THEN
      DELETE FROM devices WHERE id = ANY (ARRAY(
        SELECT id FROM devices WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'mails' THEN
      RETURN purge_mails(p_batch);
    WHEN 'deliveries' THEN
      RETURN purge_deliveries(p_batch);
    WHEN 'forgotten' THEN
      DELETE FROM forgotten_users WHERE event_id = ANY (ARRAY(
        SELECT event_id FROM forgotten_users WHERE at < t - interval '336 hours' ORDER BY at LIMIT p_batch));
    WHEN 'starts' THEN
      DELETE FROM used_starts WHERE id = ANY (ARRAY(
        SELECT id FROM used_starts WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'accounts' THEN
      RETURN erase_accounts(p_batch);
    WHEN 'links' THEN
      DELETE FROM mail_links WHERE id = ANY (ARRAY(
        SELECT id FROM mail_links WHERE expires_at < t - interval '1 hour' ORDER BY expires_at LIMIT p_batch FOR UPDATE SKIP LOCKED));
    WHEN 'changes' THEN
      -- A deletion can be taken back until it is done, everything else while there is a link that does: it may have been mailed late.
      DELETE FROM account_changes WHERE id = ANY (ARRAY(
        SELECT id FROM account_changes change WHERE at < t - interval '168 hours' AND kind <> 'deletion' AND NOT EXISTS (
          SELECT FROM mail_links l WHERE l.user_id = change.user_id AND l.kind = 'not_me' AND l.ended_at IS NULL AND l.expires_at > t
            AND (l.data->>'since')::numeric <= extract(epoch FROM change.at))
        ORDER BY at LIMIT p_batch FOR UPDATE SKIP LOCKED));
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
-- right and whose code nobody typed is recorded as it goes, and may be one too many (p_notices: its owner can be told). One
-- replica at a time: two that shared them out would each see too few of one owner's.
CREATE OR REPLACE FUNCTION purge_challenges(p_batch integer, p_notices boolean, p_now timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  deleted integer := 0;
  c challenges;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('purge of challenges', 0)) THEN
    RETURN 0;
  END IF;
  FOR c IN
    DELETE FROM challenges WHERE id = ANY (ARRAY(
      SELECT id FROM challenges
      WHERE ends_at < p_now - interval '1 hour' AND (purpose <> 'enrol' OR ends_at < p_now - interval '24 hours')
      ORDER BY ends_at LIMIT p_batch FOR UPDATE SKIP LOCKED))
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
  DELETE FROM audit_events WHERE id = ANY (ARRAY(
    SELECT id FROM (SELECT id, at FROM audit_events ORDER BY id LIMIT p_batch) oldest
    WHERE at < clock_timestamp() - greatest(p_days, 1) * interval '24 hours'));
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
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

-- The session that a challenge's client is; NULL where it is none.
CREATE OR REPLACE FUNCTION session_of(p_client text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(p_client, 'session:') THEN substr(p_client, 9)::uuid END
$$;

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
  d := use_device(p_user, p_known, p_device, p_event, t);
  s := insert_session(p_user, d.id, p_session, t);
  PERFORM record_event(p_event, p_user);
  PERFORM record_device(p_user, d, p_device, p_event);
  PERFORM tell_of_sign_in(p_user, d, p_device, p_policy, p_event, t);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'started', 'device', device_state(d, p_device, t));
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
  UPDATE sessions SET authenticated_at = t, last_used_at = t, acr = p_level->>'acr',
    amr = ARRAY(SELECT jsonb_array_elements_text(p_level->'amr'))
  WHERE id = s.id RETURNING * INTO s;
  PERFORM record_event(p_event, p_user);
  RETURN session_state(s, t) || jsonb_build_object('outcome', 'raised');
END $$;

-- Uses a refresh token of generation p_generation, at most once: one guarded update. The token before the newest is
-- answered with the same successor for p_grace seconds after the rotation (a second tab, a lost reply); any older one, and
-- that one later, is a copy in other hands: the session ends. That it came again from another address is recorded.
-- p_idle_ttl: seconds a remembered session may rest; p_event: of a copy.
-- rotated | within_grace (with the session, and whether it came from "elsewhere") | reused (with its user) | ended
CREATE OR REPLACE FUNCTION rotate_session(p_session uuid, p_generation integer, p_grace integer, p_idle_ttl integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  s sessions;
  is_elsewhere boolean;
BEGIN
  PERFORM require_read_committed();
  UPDATE sessions session SET generation = generation + 1, rotated_at = t, rotated_from = p_event->>'address', last_used_at = t,
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
    is_elsewhere := s.rotated_from IS DISTINCT FROM p_event->>'address';
    IF is_elsewhere THEN
      PERFORM record_event(p_event || '{"type": "refresh.repeated", "outcome": "from another address"}', s.user_id);
    END IF;
    RETURN session_state(s, t) || jsonb_build_object('outcome', 'within_grace', 'elsewhere', is_elsewhere);
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
  IF session_of(p_client) IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT 5 - count(f) FROM sessions s LEFT JOIN unnest(s.proofs_failed_at) f ON f > p_now - interval '24 hours'
    WHERE s.id = session_of(p_client));
END $$;

-- Ends what was begun by a batch of users, those after p_after (NULL: the first), by an operator: sessions, challenges and the trust in
-- devices. An event for each who had something of it; who had nothing is not locked. {users, sessions (how many lived), next (the last
-- user that was looked at, NULL at the end)}
CREATE OR REPLACE FUNCTION end_everything(p_after uuid, p_batch integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  page uuid[] := ARRAY(SELECT id FROM users WHERE id > coalesce(p_after, '00000000-0000-0000-0000-000000000000') ORDER BY id LIMIT p_batch);
  the_user uuid;
  t timestamptz := clock_timestamp();
  user_count integer := 0;
  session_count integer := 0;
BEGIN
  PERFORM require_read_committed();
  FOREACH the_user IN ARRAY page LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM sessions s WHERE s.user_id = the_user AND s.ended_at IS NULL AND s.expires_at > t AND s.idle_until > t)
      AND NOT EXISTS (SELECT FROM challenges c WHERE c.user_id = the_user AND c.superseded_at IS NULL AND c.consumed_at IS NULL AND c.ends_at > t)
      AND NOT EXISTS (SELECT FROM devices d WHERE d.user_id = the_user AND d.trusted_until > t);
    t := lock_account(the_user);
    session_count := session_count + jsonb_array_length(list_sessions(the_user));
    PERFORM end_begun(the_user, NULL, true, t);
    -- Of somebody who was forgotten a moment ago nothing is written.
    IF EXISTS (SELECT FROM users u WHERE u.id = the_user) THEN
      PERFORM record_event(p_event, the_user);
      user_count := user_count + 1;
    END IF;
  END LOOP;
  RETURN jsonb_build_object('outcome', 'ended', 'users', user_count, 'sessions', session_count,
    'next', CASE WHEN cardinality(page) = p_batch THEN page[p_batch] END);
END $$;

-- Keeps to this transaction all that a text is counted by, in the order of its keys. p_text: {phone, address}.
CREATE OR REPLACE FUNCTION lock_text(p_text jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT hashtextextended(name, 0) AS key
    FROM unnest(ARRAY['phone:' || (p_text->>'phone'), 'prefix:' || left(p_text->>'phone', -4), 'address:' || (p_text->>'address')]) AS name
    ORDER BY 1) AS keys;
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
  PERFORM lock_text(p_text);

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

-- An endpoint as its owners see it; never a secret.
CREATE OR REPLACE FUNCTION webhook_state(w webhooks) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('id', w.id, 'url', w.url, 'events', w.events, 'description', w.description, 'status', w.status,
    'disabled_reason', w.disabled_reason, 'created_at', extract(epoch FROM w.created_at),
    'failing_since', extract(epoch FROM w.failing_since), 'last_delivered_at', extract(epoch FROM w.last_delivered_at), 'last_error', w.last_error,
    'waiting', (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id LIMIT 10000) queued));
END $$;

-- All endpoints, the oldest first.
CREATE OR REPLACE FUNCTION list_webhooks(p_event jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF p_event IS NOT NULL THEN
    PERFORM record_event(p_event, NULL);
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(webhook_state(w) ORDER BY w.created_at, w.id), '[]') FROM webhooks w);
END $$;

-- Whether an endpoint was given up, and nobody has looked after it since.
CREATE OR REPLACE FUNCTION any_webhook_given_up() RETURNS boolean LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN EXISTS (SELECT FROM webhooks WHERE status = 'disabled' AND disabled_reason <> 'by_hand');
END $$;

-- A new endpoint, which hears of what happens from now on: created (webhook) | too_many. p_webhook: {id, url, events,
-- description, secret (sealed)}.
CREATE OR REPLACE FUNCTION create_webhook(p_webhook jsonb, p_most integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  w webhooks;
  now_readable bigint;
BEGIN
  PERFORM require_read_committed();
  -- One after the other, or two at once would each be the tenth.
  PERFORM pg_advisory_xact_lock(hashtextextended('webhooks', 0));
  IF (SELECT count(*) FROM webhooks) >= p_most THEN
    RETURN jsonb_build_object('outcome', 'too_many');
  END IF;
  now_readable := readable_events();
  INSERT INTO webhooks (id, url, events, description, secret, read_up_to)
  VALUES ((p_webhook->>'id')::uuid, p_webhook->>'url', ARRAY(SELECT jsonb_array_elements_text(p_webhook->'events')), p_webhook->>'description',
    p_webhook->>'secret', now_readable)
  RETURNING * INTO w;
  PERFORM record_event(p_event, NULL);
  RETURN jsonb_build_object('outcome', 'created', 'webhook', webhook_state(w));
END $$;

-- Changes an endpoint: what is absent stays. p_change: {url?, events?, description? (null: none), status?}. Enabled again it
-- hears of what happens from now on, and of what still waits for it. The endpoint, or NULL.
CREATE OR REPLACE FUNCTION change_webhook(p_webhook uuid, p_change jsonb, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  now_readable bigint;
  w webhooks;
BEGIN
  PERFORM require_read_committed();
  now_readable := readable_events();
  SELECT * INTO w FROM webhooks WHERE id = p_webhook FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF p_change->>'status' = 'active' AND w.status = 'disabled' THEN
    UPDATE webhooks SET status = 'active', disabled_reason = NULL, failing_since = NULL, held_until = NULL,
      read_up_to = greatest(read_up_to, now_readable) WHERE id = p_webhook;
    UPDATE webhook_deliveries SET tries = 0, next_try_at = clock_timestamp() WHERE webhook_id = p_webhook AND claimed_until IS NULL;
  ELSIF p_change->>'status' = 'disabled' AND w.status = 'active' THEN
    UPDATE webhooks SET status = 'disabled', disabled_reason = 'by_hand' WHERE id = p_webhook;
  END IF;
  UPDATE webhooks SET url = coalesce(p_change->>'url', url),
    failing_since = CASE WHEN p_change ? 'url' THEN NULL ELSE failing_since END, held_until = CASE WHEN p_change ? 'url' THEN NULL ELSE held_until END,
    events = CASE WHEN p_change ? 'events' THEN ARRAY(SELECT jsonb_array_elements_text(p_change->'events')) ELSE events END,
    description = CASE WHEN p_change ? 'description' THEN p_change->>'description' ELSE description END
  WHERE id = p_webhook RETURNING * INTO w;
  PERFORM record_event(p_event, NULL);
  RETURN webhook_state(w);
END $$;

-- Takes an endpoint away with all that waits for it: false if there is none.
CREATE OR REPLACE FUNCTION delete_webhook(p_webhook uuid, p_event jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
  DELETE FROM webhooks WHERE id = p_webhook;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM record_event(p_event, NULL);
  RETURN true;
END $$;

-- A new secret (sealed); those before it sign for 24 hours more, three of them at most: an answer that was lost on its way, and
-- asked for again, takes none away from a receiver. The endpoint, or NULL.
CREATE OR REPLACE FUNCTION rotate_webhook(p_webhook uuid, p_secret text, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  w webhooks;
BEGIN
  SELECT * INTO w FROM webhooks WHERE id = p_webhook FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE webhooks SET secret = p_secret, old_secrets = (
    SELECT jsonb_agg(kept) FROM (
      SELECT jsonb_build_object('secret', w.secret, 'until', extract(epoch FROM clock_timestamp() + interval '24 hours')) AS kept
      UNION ALL SELECT value FROM jsonb_array_elements(live_secrets(w))
      LIMIT 3) newest)
  WHERE id = p_webhook RETURNING * INTO w;
  PERFORM record_event(p_event, NULL);
  RETURN webhook_state(w);
END $$;

-- The former secrets that still sign, the newest first.
CREATE OR REPLACE FUNCTION live_secrets(w webhooks) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(value ORDER BY (value->>'until')::numeric DESC), '[]') FROM jsonb_array_elements(w.old_secrets)
    WHERE (value->>'until')::numeric > extract(epoch FROM clock_timestamp()));
END $$;

-- An endpoint is told once more of everything after an event, or after a moment (p_after: {id} | {at}, at most p_days ago):
-- queued (after: the event's name) | too_old | disabled | unknown
CREATE OR REPLACE FUNCTION redeliver_webhook(p_webhook uuid, p_after jsonb, p_days integer, p_event jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  w webhooks;
  oldest timestamptz := clock_timestamp() - p_days * interval '24 hours';
  from_number bigint := (p_after->>'id')::bigint;
  from_time timestamptz := to_timestamp((p_after->>'at')::double precision);
BEGIN
  SELECT * INTO w FROM webhooks WHERE id = p_webhook FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'unknown');
  ELSIF w.status <> 'active' THEN
    RETURN jsonb_build_object('outcome', 'disabled');
  END IF;
  IF from_time < oldest OR (SELECT at FROM audit_events WHERE id > from_number ORDER BY id LIMIT 1) < oldest THEN
    RETURN jsonb_build_object('outcome', 'too_old');
  END IF;
  -- Rather one more than one less, where times are a moment out of order.
  from_number := coalesce(from_number, last_event_before(from_time - interval '1 minute'));
  UPDATE webhooks SET read_up_to = least(read_up_to, from_number) WHERE id = p_webhook RETURNING * INTO w;
  PERFORM record_event(p_event, NULL);
  RETURN jsonb_build_object('outcome', 'queued', 'after', event_name(w.read_up_to));
END $$;

-- Makes the deliveries of a batch of events for each endpoint: what it wants of p_pushed, the types that are told at all.
-- {more (events are left), due (the endpoints with something to send)}. An endpoint that another replica has in hand is left
-- to it.
CREATE OR REPLACE FUNCTION make_deliveries(p_pushed text[], p_batch integer) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  readable bigint;
  w webhooks;
  upto bigint;
  more boolean := false;
BEGIN
  PERFORM require_read_committed();
  IF NOT EXISTS (SELECT FROM webhooks WHERE status = 'active') THEN
    RETURN '{"outcome": "made", "more": false, "due": []}';
  END IF;
  readable := readable_events();
  FOR w IN SELECT * FROM webhooks WHERE status = 'active' AND read_up_to < readable ORDER BY id FOR UPDATE SKIP LOCKED LOOP
    upto := least(readable, (SELECT id FROM audit_events WHERE id > w.read_up_to ORDER BY id OFFSET p_batch - 1 LIMIT 1));
    -- One that still waits begins anew: somebody has asked for it once more.
    INSERT INTO webhook_deliveries (webhook_id, event_id, created_at, next_try_at)
    SELECT w.id, e.id, t, t FROM audit_events e
    WHERE e.id > w.read_up_to AND e.id <= upto AND e.type = ANY (p_pushed) AND EXISTS (
      SELECT FROM unnest(w.events) wanted WHERE e.type = wanted OR wanted LIKE '%.*' AND starts_with(e.type, left(wanted, -1)))
    ON CONFLICT (webhook_id, event_id) DO UPDATE SET tries = 0, next_try_at = t, created_at = t
    WHERE coalesce(webhook_deliveries.claimed_until, t) <= t;
    UPDATE webhooks SET read_up_to = upto WHERE id = w.id;
    more := more OR upto < readable;
  END LOOP;
  RETURN jsonb_build_object('outcome', 'made', 'more', more, 'due', (
    SELECT coalesce(jsonb_agg(id), '[]') FROM webhooks due WHERE status = 'active' AND coalesce(held_until, t) <= t AND EXISTS (
      SELECT FROM webhook_deliveries d WHERE d.webhook_id = due.id AND d.next_try_at <= clock_timestamp() AND coalesce(d.claimed_until, t) <= t)));
END $$;

-- Takes up to p_limit deliveries of an endpoint for 30 seconds, those first that have waited longest, with all that it takes to
-- send them: nobody else does meanwhile, and whoever is slower than that has lost them. {webhook: {url, secrets}, deliveries}.
CREATE OR REPLACE FUNCTION claim_deliveries(p_webhook uuid, p_limit integer) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  w webhooks;
  taken bigint[];
  deliveries jsonb;
BEGIN
  PERFORM require_read_committed();
  SELECT * INTO w FROM webhooks WHERE id = p_webhook AND status = 'active' AND coalesce(held_until, t) <= t;
  IF NOT FOUND THEN
    RETURN '{"outcome": "claimed", "webhook": null, "deliveries": []}';
  END IF;
  taken := ARRAY(
    SELECT d.event_id FROM webhook_deliveries d JOIN audit_events e ON e.id = d.event_id
    WHERE d.webhook_id = w.id AND d.next_try_at <= t AND coalesce(d.claimed_until, t) <= t
    ORDER BY d.next_try_at, d.event_id LIMIT p_limit FOR UPDATE OF d SKIP LOCKED);
  WITH claimed AS (
    UPDATE webhook_deliveries SET tries = tries + 1, claimed_until = t + interval '30 seconds'
    WHERE webhook_id = w.id AND event_id = ANY (taken) RETURNING event_id, tries)
  SELECT jsonb_agg(event_state(e) || jsonb_build_object('tries', c.tries) ORDER BY c.event_id) INTO deliveries
  FROM claimed c JOIN audit_events e ON e.id = c.event_id;
  RETURN jsonb_build_object('outcome', 'claimed', 'deliveries', coalesce(deliveries, '[]'), 'webhook',
    jsonb_build_object('id', w.id, 'url', w.url, 'secrets', jsonb_build_array(w.secret) || (
      SELECT coalesce(jsonb_agg(value->'secret'), '[]') FROM jsonb_array_elements(live_secrets(w)))));
END $$;

-- What became of the p_try-th try: delivered | failed | gone (410) | interrupted (by a stop of ours: it counts for nothing).
-- "outcome": delivered | queued (it will be tried again) | gave_up | late (another has it by now); "disabled": why the endpoint is
-- from now on, or null. Tries follow after 5 s, 5 and 30 min, 2, 5, 10, 14, 20 and 24 h, a fifth more or less, so that many do not
-- come at one moment. p_retry_after: seconds that the endpoint wants to be left alone.
CREATE OR REPLACE FUNCTION record_delivery(p_webhook uuid, p_number bigint, p_try integer, p_result text, p_error text, p_retry_after integer, p_event jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  t timestamptz := clock_timestamp();
  pause interval := (ARRAY[5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400])[p_try] * (0.8 + 0.4 * random()) * interval '1 second';
  w webhooks;
  reason text;
BEGIN
  IF p_result = 'delivered' THEN
    -- Once a minute is enough to know that it works.
    UPDATE webhooks SET failing_since = NULL, last_error = NULL, last_delivered_at = t
    WHERE id = p_webhook AND (failing_since IS NOT NULL OR last_delivered_at IS NULL OR last_delivered_at < t - interval '1 minute');
    DELETE FROM webhook_deliveries WHERE webhook_id = p_webhook AND event_id = p_number;
    RETURN jsonb_build_object('outcome', 'delivered', 'disabled', NULL);
  END IF;
  SELECT * INTO w FROM webhooks WHERE id = p_webhook FOR UPDATE;
  UPDATE webhook_deliveries SET claimed_until = NULL, error = p_error,
    tries = CASE p_result WHEN 'interrupted' THEN tries - 1 ELSE tries END,
    next_try_at = CASE p_result WHEN 'interrupted' THEN t ELSE coalesce(t + pause, next_try_at) END
  WHERE webhook_id = p_webhook AND event_id = p_number AND tries = p_try AND claimed_until IS NOT NULL;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('outcome', 'late', 'disabled', NULL);
  ELSIF p_result = 'interrupted' THEN
    RETURN jsonb_build_object('outcome', 'queued', 'disabled', NULL);
  END IF;
  IF pause IS NULL THEN
    DELETE FROM webhook_deliveries WHERE webhook_id = p_webhook AND event_id = p_number;
  END IF;
  -- A day without events is no day without a success: the last of five days is one on which it was tried for half an hour.
  reason := CASE WHEN w.status <> 'active' THEN NULL WHEN p_result = 'gone' THEN 'gone'
    WHEN p_try >= 4 AND w.failing_since < t - interval '120 hours' THEN 'failing' END;
  UPDATE webhooks SET failing_since = coalesce(failing_since, t), last_error = p_error,
    held_until = CASE WHEN p_retry_after > 0 THEN t + least(p_retry_after, 86400) * interval '1 second' ELSE held_until END,
    status = CASE WHEN reason IS NULL THEN status ELSE 'disabled' END, disabled_reason = coalesce(reason, disabled_reason)
  WHERE id = p_webhook;
  IF reason IS NOT NULL THEN
    PERFORM record_event(p_event || jsonb_build_object('outcome', reason), NULL);
  END IF;
  RETURN jsonb_build_object('outcome', CASE WHEN pause IS NULL THEN 'gave_up' ELSE 'queued' END, 'disabled', reason);
END $$;

-- Deletes a batch of deliveries that are older than their tries and than redeliver reaches back: of endpoints that were disabled.
CREATE OR REPLACE FUNCTION purge_deliveries(p_batch integer) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
  deleted integer;
BEGIN
  DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
    SELECT webhook_id, event_id FROM webhook_deliveries WHERE created_at < clock_timestamp() - interval '336 hours'
    ORDER BY created_at LIMIT p_batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END $$;

-- The challenge of a pending token, if the token is still worth anything: of that purpose, not used up, not replaced, not at
-- its end, the account not disabled, and the session that it was begun in, if it was in one, not ended.
CREATE OR REPLACE FUNCTION pending_challenge(p_challenge uuid, p_user uuid, p_purpose text, p_now timestamptz) RETURNS SETOF challenges LANGUAGE sql STABLE AS $$
  SELECT challenge.* FROM challenges challenge JOIN users u ON u.id = challenge.user_id
  WHERE challenge.id = p_challenge AND challenge.user_id = p_user AND purpose = p_purpose AND consumed_at IS NULL AND superseded_at IS NULL
    AND ends_at > p_now AND u.disabled_at IS NULL
    AND (session_of(client) IS NULL OR EXISTS (SELECT FROM live_session(session_of(client), p_user, p_now)))
$$;
