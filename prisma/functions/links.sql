-- Links in mails: asked for by anybody, for any address; the request writes one row of the outbox, the same for every
-- address, and only whoever sends looks the account up. Who holds a link has read the mailbox, and nothing more.

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
    VALUES (p_hash, a->>'link', m.address, the_user, jsonb_build_object('locale', coalesce(nullif(m.locale, ''), 'en'), 'mail', m.id), t,
      t + seconds(a->>'expires_in'));
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

-- The links that set a password or confirm an address end: those of a user, those to the user's address (whoever they were made
-- for: an account may have come into being since), and those to another one.
CREATE OR REPLACE FUNCTION end_links(p_user uuid, p_email text, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE mail_links SET ended_at = p_now
  WHERE (user_id = p_user OR email IN (p_email, (SELECT email FROM users WHERE id = p_user))) AND kind IN ('set_password', 'confirm_email') AND ended_at IS NULL;
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
