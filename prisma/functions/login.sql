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
    PERFORM record_removed_device(p_user, p_device, 'twenty failures', p_event) WHERE FOUND;
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

