import t from 'tap'
import { startDoorstep } from '../helpers/doorstep.ts'
import { call, codeFor, createUser, finish, login, resend, signIn, textsTo, wrongCode } from '../helpers/story.ts'

t.test('a login, from the password to the access token', async (t) => {
  const doorstep = await startDoorstep(t)
  const ada = await createUser(doorstep)

  const first = await login(doorstep, ada, { body: { return_to: '/orders/7' } })
  t.equal(first.status, 200)
  t.match(first.body, {
    status: '2fa_required',
    pending_token: /^eyJ/,
    token_type: 'Bearer',
    expires_in: 600,
    challenge: {
      channel: 'sms',
      destination: `+1 •••••••• ${ada.phone.slice(-2)}`,
      code_length: 6,
      code_expires_in: 300,
      resend_after: 60,
      attempts_remaining: 5,
      delivery: 'sent',
    },
    methods: ['sms'],
  })
  t.equal(textsTo(doorstep, ada.phone).length, 1)

  const wrong = await finish(doorstep, first.body.pending_token, wrongCode(codeFor(doorstep, ada.phone)))
  t.equal(wrong.status, 422)
  t.match(wrong.body, { code: 'invalid_code', attempts_remaining: 4 })

  const second = await finish(doorstep, first.body.pending_token, codeFor(doorstep, ada.phone))
  t.equal(second.status, 200)
  t.match(second.body, { status: 'authenticated', token_type: 'Bearer', expires_in: 600, return_to: '/orders/7' })

  const me = await call(doorstep, '/me', { token: second.body.access_token })
  t.equal(me.status, 200)
  t.match(me.body, {
    id: ada.id,
    email: ada.email,
    two_factor: 'required',
    methods: ['sms'],
    amr: ['pwd', 'sms', 'mfa'],
    acr: 'aal2',
  })

  const again = await finish(doorstep, first.body.pending_token, codeFor(doorstep, ada.phone))
  t.match(again, { status: 401, body: { code: 'invalid_token' } })
  t.match(await resend(doorstep, first.body.pending_token), { status: 401, body: { code: 'invalid_token' } })

  t.equal((await signIn(doorstep, ada)).status, 200, 'signing in again at once sends another text')
  t.equal(textsTo(doorstep, ada.phone).length, 2)
})

t.test('an account without a second factor is signed in at once', async (t) => {
  const doorstep = await startDoorstep(t)
  const user = await createUser(doorstep, { twoFactor: 'off' })
  const answer = await login(doorstep, user)
  t.match(answer, { status: 200, body: { status: 'authenticated', access_token: /^eyJ/ } })
  const me = await call(doorstep, '/me', { token: answer.body.access_token })
  t.match(me.body, { two_factor: 'off', amr: ['pwd'], acr: 'aal1' })
})
