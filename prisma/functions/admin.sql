-- What backends see of users and do to them. Rules that operators share with them stand with the rest of what they are about.

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
