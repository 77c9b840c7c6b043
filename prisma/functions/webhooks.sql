-- Webhooks: the endpoints of backends that hear of changes, and the queue of what is still to be told to each. Deliveries are
-- made from the log of events, up to where it can be read, by whichever replica comes first, and sent by whichever claims them;
-- a row is gone once its endpoint has it, or once nobody tries any more.

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
