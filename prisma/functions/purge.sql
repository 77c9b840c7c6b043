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
