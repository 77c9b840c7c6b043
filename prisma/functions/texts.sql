-- The ledger of texts is the budget: one row for each text with everything that it is counted by. A row is
--   open      nobody has signed in with it yet: it counts everywhere
--   finished  a login was finished with it: it counts against what a phone gets in a day, and as spent
--   unsure    the provider failed, and may have sent it all the same: it counts as spent, in what a phone gets in a day, and
--             for the cooldown
--   refused   certainly not sent: it counts for the cooldown only
-- "known" texts (asked for by a device of the account) and those of strangers are counted apart.

-- Until when a budget is spent of which these are the texts, newest first; NULL if it never was.
CREATE OR REPLACE FUNCTION budget_free_at(p_texts timestamptz[], p_hour integer, p_day integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(p_texts[p_hour] + interval '1 hour', p_texts[p_day] + interval '24 hours')
$$;

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

-- How far from a limit a recent count tells enough: a hundred texts and a tenth, which is more than are sent in the time
-- that it is old.
CREATE OR REPLACE FUNCTION far_from(p_limit integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(100, p_limit / 10)
$$;

-- Whether the service is so far below its limits that nobody has to wait for the texts of others.
CREATE OR REPLACE FUNCTION has_texts_to_spare(p_totals text_totals, p_hour integer, p_day integer, p_spend integer, p_now timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN p_totals.counted_at > p_now - interval '3 seconds' AND p_totals.hour < p_hour - far_from(p_hour)
    AND p_totals.day < p_day - far_from(p_day) AND p_totals.spent < p_spend - far_from(p_spend);
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

-- Whether the next text to the same user or phone has to wait for the cooldown of this one.
CREATE OR REPLACE FUNCTION is_cooling(m sms_messages) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT m.state IN ('refused', 'unsure') OR (m.state = 'open' AND m.delivery <> 'failed')
$$;

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
