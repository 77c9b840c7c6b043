import type { AccountEdit } from '../features/accounts/change-account.ts'
import type { TwoFactor } from '../store/accounts.ts'
import { type Command, flag, type Given, type Place, required, serve, text } from './command.ts'
import { usageError } from './failures.ts'
import { askForPassword, readPassword } from './password.ts'

/** The commands about users: their words, what may follow them, and the use case behind them. */
export const userCommands: Record<string, Command> = {
  'user create': {
    usage: '--email E [--phone P] [--two-factor required|optional|off] [--password-stdin]',
    options: { email: text, phone: text, 'two-factor': text, 'password-stdin': flag },
    run: createUser,
  },
  'user unlock': {
    usage: '--email E [--all]',
    options: { email: text, all: flag },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { unlockAccount } = await import('../features/accounts/unlock-account.ts')
      return serve(place, (services) => unlockAccount(services, { email, all: given.all === true }))
    },
  },
  'user disable': changing('disabled', { disabled: true }),
  'user enable': changing('enabled', { disabled: false }),
  'user revoke': changing('revoked', {}),
  'user set-phone': {
    usage: '--email E --phone P',
    options: { email: text, phone: text },
    run: (given, place) => changeUser(given, place, 'phone changed', { phone: required(given, 'phone') }),
  },
  'user set-password': {
    usage: '--email E [--password-stdin]',
    options: { email: text, 'password-stdin': flag },
    run: async (given, place) => {
      required(given, 'email')
      return changeUser(given, place, 'password changed', { password: await givenPassword(given, place) })
    },
  },
  'user invite': {
    usage: '--email E [--two-factor required|optional|off]',
    options: { email: text, 'two-factor': text },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { 'two-factor': twoFactor } = given
      if (twoFactor !== undefined && !isTwoFactor(twoFactor)) {
        throw usageError('--two-factor must be required, optional or off.')
      }
      const { inviteUser } = await import('../features/accounts/invite-user.ts')
      return serve(place, (services) => inviteUser(services, { email, ...(twoFactor !== undefined && { twoFactor }) }))
    },
  },
  'user reset-password': {
    usage: '--email E [--force]',
    options: { email: text, force: flag },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { resetPassword } = await import('../features/accounts/invite-user.ts')
      return serve(place, (services) => resetPassword(services, { email, force: given.force === true }))
    },
  },
  'user forget': {
    usage: '--email E',
    options: { email: text },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { forgetAccount } = await import('../features/accounts/forget-account.ts')
      return serve(place, (services) => forgetAccount(services, { email }))
    },
  },
  'user reset-factors': {
    usage: '--email E',
    options: { email: text },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { resetFactors } = await import('../features/accounts/reset-factors.ts')
      return serve(place, (services) => resetFactors(services, email))
    },
  },
  'user sessions': {
    usage: '--email E',
    options: { email: text },
    run: async (given, place) => {
      const email = required(given, 'email')
      const { accountSessions } = await import('../features/accounts/account-sessions.ts')
      return serve(place, (services) => accountSessions(services, email))
    },
  },
  'users import': {
    usage: '--file F.ndjson [--dry-run] [--report R.ndjson]',
    options: { file: text, 'dry-run': flag, report: text },
    run: async (given, place) => {
      required(given, 'file')
      const { importFile } = await import('./import-users.ts')
      return importFile(given, place)
    },
  },
  'user list': {
    usage: '[--limit N]',
    options: { limit: text },
    run: async ({ limit = '100' }, place) => {
      if (!/^[1-9]\d{0,5}$/.test(String(limit))) throw usageError('--limit must be a whole number from 1 to 999999.')
      const { listAccounts } = await import('../features/accounts/list-accounts.ts')
      return serve(place, (services) => listAccounts(services, Number(limit)))
    },
  },
}

async function createUser(given: Given, place: Place): Promise<object> {
  const email = required(given, 'email')
  const { phone, 'two-factor': twoFactor } = given
  if (twoFactor !== undefined && !isTwoFactor(twoFactor)) {
    throw usageError('--two-factor must be required, optional or off.')
  }
  const password = await givenPassword(given, place)
  const { createAccount } = await import('../features/accounts/create-account.ts')
  const user = {
    email,
    ...(phone !== undefined && { phone: String(phone) }),
    ...(twoFactor !== undefined && { twoFactor }),
  }
  return serve(place, (services) => createAccount(services, { ...user, password }))
}

const isTwoFactor = (word: unknown): word is TwoFactor => ['required', 'optional', 'off'].includes(String(word))

function givenPassword(given: Given, { stdin, stderr }: Place): Promise<string> {
  return given['password-stdin'] === true ? readPassword(stdin) : askForPassword({ input: stdin, output: stderr })
}

function changing(outcome: string, edit: AccountEdit): Command {
  return {
    usage: '--email E',
    options: { email: text },
    run: (given, place) => changeUser(given, place, outcome, edit),
  }
}

async function changeUser(given: Given, place: Place, outcome: string, edit: AccountEdit): Promise<object> {
  const email = required(given, 'email')
  const { changeAccount } = await import('../features/accounts/change-account.ts')
  return serve(place, (services) => changeAccount(services, { email, edit, outcome }))
}
