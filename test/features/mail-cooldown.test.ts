import t from 'tap'
import { age } from '../helpers/age.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser } from '../helpers/factors.ts'
import { startSmtpStub } from '../helpers/smtp-stub.ts'
import { createUser, login, resend } from '../helpers/story.ts'

t.setTimeout(300_000)

t.test('codes by mail have a cooldown of their own, and answers say how long it is', async (t) => {
  const doorstep = await startDoorstep(t, { env: { SMS_COOLDOWN: '60', MAIL_COOLDOWN: '200' } })
  const tooSoon = { status: 429, body: { code: 'resend_too_soon' } }

  const reader = await createBareUser(doorstep)
  const first = await login(doorstep, reader)
  t.match(first.body.challenge, { channel: 'email', resend_after: 200 })
  await age(doorstep, reader, 100)
  const early = await resend(doorstep, first.body.pending_token)
  t.match(early, tooSoon)
  t.ok(early.body.retry_after > 90 && early.body.retry_after <= 100, String(early.body.retry_after))
  await age(doorstep, reader, 101)
  t.match(await resend(doorstep, first.body.pending_token), { status: 200, body: { challenge: { resend_after: 200 } } })

  const texted = await createUser(doorstep)
  const other = await login(doorstep, texted)
  t.match(other.body.challenge, { channel: 'sms', resend_after: 60 })
  t.match(await resend(doorstep, other.body.pending_token), tooSoon)
  await age(doorstep, texted, 61)
  t.match(await resend(doorstep, other.body.pending_token), { status: 200, body: { challenge: { resend_after: 60 } } })
})

t.test('after a mail that was refused, the next one waits as long as the answer says', async (t) => {
  const stub = await startSmtpStub()
  t.teardown(() => stub.close())
  stub.setMode({ refuse: 550 })
  const env = { MAIL_PROVIDER: 'smtp', MAIL_FROM: 'doorstep@example.com', SMTP_URL: stub.url }
  const doorstep = await startDoorstep(t, { env })
  const reader = await createBareUser(doorstep)
  t.match(await login(doorstep, reader), { status: 503, body: { code: 'mail_unavailable' } })
  const { body } = await login(doorstep, reader)
  t.match(body.challenge, { channel: 'email', delivery: 'failed' })
  const { resend_after: wait } = body.challenge
  t.ok(wait > 50 && wait <= 60, String(wait))
  t.match(await resend(doorstep, body.pending_token), { status: 429, body: { code: 'resend_too_soon' } })
  await age(doorstep, reader, wait)
  stub.setMode('ok')
  t.equal((await resend(doorstep, body.pending_token)).status, 200)
})
