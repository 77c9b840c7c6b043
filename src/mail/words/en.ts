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

const moment = (at: Date): string => momentOf(at, 'en-GB')

const undoes =
  'It undoes whatever has been changed in your account from that moment on, signs out every device and lets you set a new password.'

const notMe = `If this was you, there is nothing to do. If it was not, use the link below. ${undoes} It works once, within seven days:`

const notAsked =
  'If you asked for this, there is nothing else to do. If you did not, somebody may have asked in your name: use the link below. It ' +
  'signs out every device, undoes whatever has been changed since, but not what the operator did, and lets you set a new password. It ' +
  'works once, within seven days:'

const duration = (seconds: number): string => {
  const hours = Math.round(seconds / 3_600)
  if (hours >= 48) return `${Math.round(hours / 24)} days`
  return hours === 1 ? '1 hour' : `${hours} hours`
}

const anotherLink = 'If the link has run out, ask for another one where you sign in.'

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
  notice: {
    when: (at) => `When: ${moment(at)}`,
    where: (network, client) => `Network: ${network}\nBrowser or app: ${client ?? 'unknown'}`,
    notMe,
    unlinked: (app) => `If you do not know what this is about, ask whoever runs ${app}.`,
  },
  notices: {
    'factor.added': (it) => [
      'New second factor',
      `A second factor was added to your ${it.app} account: ${factorOf(it)}.`,
    ],
    'factor.replaced': (it) => [
      'Second factor replaced',
      `A second factor of your ${it.app} account was replaced by a new one: ${factorOf(it)}. The old one no longer works, and all other sessions have ended.`,
    ],
    'factor.removed': (it) => [
      'Second factor removed',
      `A second factor of your ${it.app} account was removed: ${factorOf(it)}. It no longer works, and all other sessions have ended.`,
    ],
    'factors.reset': (it) => [
      'Second factors reset by the operator',
      `Whoever runs ${it.app} has removed the second factors of your account and signed out every device. Set up new ones when you next sign in.`,
      notAsked,
    ],
    'factor.reset': (it) => [
      'Second factor removed by the operator',
      `Whoever runs ${it.app} has removed a second factor of your account: ${factorOf(it)}. It no longer works, and every device is signed out.`,
      notAsked,
    ],
    'phone.set': (it) => [
      'Phone number set by the operator',
      `Whoever runs ${it.app} has given your account another phone number for codes by text message, and signed out every device.`,
      notAsked,
    ],
    'recovery_codes.renewed': (it) => [
      'New recovery codes',
      `Your ${it.app} account has ${it.remaining} new recovery codes. The old ones no longer work.`,
    ],
    'recovery_code.used': (it) => [
      'Recovery code used',
      `A recovery code of your ${it.app} account was used. Codes left: ${it.remaining}; get new ones in good time.`,
    ],
    'codes.locked': (it) => [
      'Codes are refused for a while',
      `Too many wrong codes were entered for your ${it.app} account. For a while no more are accepted from there; passkeys and recovery codes still work. If it was not you, somebody else knows your password.`,
    ],
    'codes.failed': (it) => [
      'Right password, wrong codes',
      `The password of your ${it.app} account was entered correctly, but within a day three codes after it were wrong or never entered. If it was not you, somebody else knows your password.`,
    ],
    'passkey.counter_back': (it) => [
      'A passkey may have been copied',
      `A passkey of your ${it.app} account counts how often it is used, and the count has gone back: there may be a copy of it.`,
      `If you keep this passkey in several places, there is nothing to do. If not, use the link below. ${undoes} Then remove this passkey. The link works once, within seven days:`,
    ],
    'email_code.used': (it) => [
      'Sign-in with a code by e-mail',
      `Somebody has signed in to your ${it.app} account with a code from this mailbox.`,
    ],
    'device.new': (it) => [
      'Sign-in from a new device',
      `Somebody has signed in to your ${it.app} account from a device that was not known before.`,
    ],
    'account.disabled': (it) => [
      'Your account is disabled',
      `Whoever runs ${it.app} has disabled your account: nobody can sign in to it, and every device is signed out. If you do not know why, ask them.`,
      'If you fear that somebody else got into your account, use the link below: it makes the old password worthless, so that you set a new one first should the account be enabled again. It works once, within seven days:',
    ],
    'password.set': (it) => [
      'New password',
      `The password of your ${it.app} account was set by a link from your mailbox. Every device that was signed in before is signed out.`,
    ],
    'password.changed': (it) => [
      'Password changed',
      `Somebody who was signed in has changed the password of your ${it.app} account. All other sessions have ended.`,
    ],
    'password.reset': (it) => [
      'Password set by the operator',
      `Whoever runs ${it.app} has set another password for your account: the old one no longer works, and every device is signed out.`,
      notAsked,
    ],
    'email.change_asked': (it) => [
      'Change of e-mail address requested',
      `Somebody who is signed in to your ${it.app} account wants to give it another e-mail address. It changes as soon as the new mailbox confirms it.`,
    ],
    'email.changed': (it) => [
      'E-mail address changed',
      it.isNew
        ? `This is the e-mail address of your ${it.app} account from now on: sign in with it.`
        : `Your ${it.app} account has another e-mail address now, and you can no longer sign in with this one. All other sessions have ended.`,
    ],
    'email.set': (it) => [
      'E-mail address changed by the operator',
      `Whoever runs ${it.app} has given your account another e-mail address. You can no longer sign in with this one, and every device is signed out.`,
      notAsked,
    ],
    'deletion.begun': (it) => [
      'Your account will be erased',
      `Somebody, probably you, has closed your ${it.app} account: nobody can sign in to it any more, and it will be erased on ${moment(it.erasesAt)}.`,
      `If it was you, there is nothing to do. If it was not, or if you have changed your mind, use the link below before then: it opens the account again. ${undoes} It works once:`,
    ],
  },
  lasts: (seconds) => `It works once, within ${duration(seconds)}:`,
  links: {
    register: (app) => [
      'Finish your registration',
      `Somebody, probably you, wants to open an account at ${app} with this e-mail address.`,
      'If it was not you, do nothing: then there will be no account.',
      'To open it, set a password with the link below.',
    ],
    have_account: (app) => [
      'You already have an account',
      `Somebody, probably you, wanted to register at ${app}, but there is an account with this e-mail address already.`,
      'If it was you, sign in as usual. If it was not, do nothing: nothing changes.',
      'If you have forgotten your password, set a new one with the link below.',
    ],
    forgot: (app) => [
      'Set a new password',
      `Somebody, probably you, wants to set a new password for your ${app} account.`,
      'If it was not you, do nothing: your password stays as it is.',
      'Set it with the link below.',
    ],
    no_account: (app) => [
      'There is no account',
      `Somebody, perhaps you, asked for a new password at ${app}, but there is no account with this e-mail address.`,
      'If it was you, you may have registered with another address. If it was not, do nothing.',
    ],
    closed: (app) => [
      'This account is closed',
      `Somebody, perhaps you, asked for a link to the ${app} account with this e-mail address, but the account is closed.`,
      `If you closed it yourself and want it back, use the link in the mail that told you so. If you do not know why it is closed, ask whoever runs ${app}.`,
    ],
    invite: (app) => [
      'An account for you',
      `Whoever runs ${app} has made an account for you.`,
      'If you do not want it, do nothing: nobody can sign in to it.',
      'To use it, set a password with the link below.',
    ],
    reset: (app) => [
      'Please set a new password',
      `Whoever runs ${app} asks you to set a new password for your account. Until you do, the old one still works.`,
      anotherLink,
      'Set it with the link below.',
    ],
    reset_forced: (app) => [
      'Your password no longer works',
      `Whoever runs ${app} has reset the password of your account: the old one no longer works, and every device is signed out.`,
      anotherLink,
      'Set a new password with the link below.',
    ],
    secured: (app) => [
      'Your account is secured',
      `You have secured your ${app} account: what somebody had changed in it is undone, every device is signed out, and the old password no longer works.`,
      `${anotherLink} Once you are signed in again, look through your second factors.`,
      'Set a new password with the link below.',
    ],
    confirm_email: (app) => [
      'Confirm this e-mail address',
      `Somebody, probably you, wants to give a ${app} account this e-mail address.`,
      'If it was not you, do nothing: then it will not have it.',
      'To confirm it, open the link below where you are signed in.',
    ],
    email_taken: (app) => [
      'This e-mail address is taken',
      `Somebody, perhaps you, wanted to give a ${app} account this e-mail address, but another account has it already.`,
      'There is nothing to do: nothing has changed.',
    ],
  },
}
