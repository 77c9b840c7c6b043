-- The outbox of mails, which is the ledger of mail codes too. A mail is written in the transaction that makes it due, and
-- sent after the commit by whichever replica claims it. A row is
--   open      it counts against the budget of mail codes
--   finished  a login was finished with it, or (failed) nobody took it: it counts no more; if it failed, for the cooldown only
--   queued    to be sent, or tried again from next_try_at on; sent, failed: the end
-- "data" is what a notice tells, and "unsure" of a mail that may have gone although a try did not end well.

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
  SELECT p_user, 'notice', p_topic, coalesce(p_data->>'mail_to', u.email), u.locale, false, p_data - 'mail_to', p_now, p_now FROM users u WHERE u.id = p_user
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
