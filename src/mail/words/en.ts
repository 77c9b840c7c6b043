import type { Content } from '../message.ts'
import { type FactorName, lifeOf, momentOf, type NoticeFacts, type Words } from './facts.ts'

const factors: Record<FactorName, string> = {
  passkey: 'a passkey',
  totp: 'an authenticator app',
  sms: 'codes by text message',
  email: 'codes by e-mail',
  recovery_code: 'recovery codes',
  other: 'a second factor',
}

const factorOf = ({ factor, name }: NoticeFacts): string => factors[factor] + (name === null ? '' : ` (“${name}”)`)

const codes = (count: number): string => (count === 1 ? '1 recovery code is' : `${count} recovery codes are`)

const notYou =
  'If it was not you, somebody else can get at your account: sign in, remove every factor and device that is not yours, end ' +
  'all other sessions and change your password.'

const passwordKnown =
  'If it was not you, somebody else knows your password: change it. Never tell anybody a code, whoever asks for it.'

/** What happened, when and from where, and what to do about it. */
function notice(facts: NoticeFacts, subject: string, told: string, advice: string): Content {
  const { app, at, network, client } = facts
  const when = `When: ${momentOf(at, 'en-GB')}`
  const where = network === null ? '' : `\nFrom: ${network} (network address), ${client ?? 'unknown program'}`
  return {
    subject: `${subject} – ${app}`,
    paragraphs: [
      told,
      `${when}${where}`,
      advice,
      `${app} tells you this because it concerns the security of your account.`,
    ],
  }
}

export const en: Words = {
  code: ({ app, code, lifeSeconds }) => {
    const { count, unit } = lifeOf(lifeSeconds)
    return {
      subject: `Your ${app} code`,
      code,
      paragraphs: [
        `Your ${app} code is:`,
        `It works for ${count} ${unit}${count === 1 ? '' : 's'}. Never share it with anyone, whoever asks for it.`,
        'If you are not signing in at this moment, somebody else knows your password: change it.',
      ],
    }
  },
  notices: {
    'factor.added': (facts) =>
      notice(facts, 'New second factor', `Your account has a new second factor: ${factorOf(facts)}.`, notYou),
    'factor.replaced': (facts) =>
      notice(
        facts,
        'Second factor replaced',
        `A second factor of your account was replaced: ${factorOf(facts)}. The old one does not work any more.`,
        notYou,
      ),
    'factor.removed': (facts) =>
      notice(
        facts,
        'Second factor removed',
        `A second factor of your account was removed: ${factorOf(facts)}. It does not work any more.`,
        notYou,
      ),
    'factors.reset': (facts) =>
      notice(
        facts,
        'Second factors reset',
        'An operator has removed the second factors of your account. You are asked for a new one when you sign in next.',
        'If you have not asked for this, ask whoever runs the service why it was done, and sign in soon.',
      ),
    'recovery_codes.renewed': (facts) =>
      notice(
        facts,
        'New recovery codes',
        'Your account has new recovery codes. The old ones do not work any more.',
        notYou,
      ),
    'recovery_code.used': (facts) =>
      notice(
        facts,
        'Recovery code used',
        `Somebody has signed in to your account with a recovery code. ${codes(facts.remaining)} left; get new ones in time.`,
        notYou,
      ),
    'codes.locked': (facts) =>
      notice(
        facts,
        'Codes are locked',
        'Too many wrong codes were typed after your password. For a while no code is accepted from clients like that one.',
        passwordKnown,
      ),
    'codes.failed': (facts) =>
      notice(
        facts,
        'Sign-in without a right code',
        'Your password was typed rightly, but three codes after it within a day were wrong, or never typed.',
        passwordKnown,
      ),
    'passkey.counter_back': (facts) =>
      notice(
        facts,
        'A passkey may have been copied',
        `A passkey of your account${facts.name === null ? '' : ` (“${facts.name}”)`} counts its uses, and the count went back. It may exist twice.`,
        'If it is not a passkey that you keep in several places, remove it and enrol a new one.',
      ),
    'email_code.used': (facts) =>
      notice(
        facts,
        'Sign-in with a code by e-mail',
        'Somebody has signed in to your account with a code from your mailbox.',
        notYou,
      ),
    'device.new': (facts) =>
      notice(
        facts,
        'Sign-in from a new device',
        'Somebody has signed in to your account from a device not known before.',
        notYou,
      ),
    'account.disabled': (facts) =>
      notice(
        facts,
        'Your account is disabled',
        'An operator has disabled your account. Nobody can sign in to it, and everything that was signed in is signed out.',
        'If you do not know why, ask whoever runs the service.',
      ),
  },
}
