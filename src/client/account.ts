import type { Flow } from './flow.ts'
import { ask } from './requests.ts'
import type * as Api from './types.ts'

/** What a signed-in person does. What is marked *fresh* wants a step-up when the last proof is older than ten minutes. */
export function createAccount({ signed, renew, current, forget }: Flow) {
  return {
    me: (): Promise<Api.Me> => signed(ask('get', '/me')),

    setLocale: (locale: Api.LocaleChange['locale']): Promise<Api.Me> => signed(ask('patch', '/me', { locale })),

    /** *Fresh*. All other sessions are over; this client goes on with a new one. */
    changePassword: (change: Api.PasswordChange): Promise<Api.Authenticated> =>
      renew(ask('put', '/me/password', change)),

    /** *Fresh*. Mails a link to the new address, whose token `confirmEmail` takes. */
    changeEmail: (email: string): Promise<Api.EmailChange> => signed(ask('put', '/me/email', { email })),

    confirmEmail: (token: string): Promise<Api.Me> => signed(ask('post', '/me/email/confirm', { token })),

    /** *Fresh*. Everything that the service knows of this account. */
    exportAccount: (): Promise<Api.AccountExport> => signed(ask('get', '/me/export')),

    /** *Fresh*. Signs out; the account is erased at `erases_at`. */
    deleteAccount: async (): Promise<Api.Deletion> => {
      const mine = await current()
      const answer = await signed(ask('delete', '/me'))
      await forget(mine)
      return answer
    },

    devices: {
      list: async (): Promise<Api.Device[]> => (await signed(ask('get', '/devices'))).devices,
      /** A new `name`, or trusted no more. */
      change: (id: string, change: Api.DeviceChange): Promise<Api.Device> =>
        signed(ask('patch', '/devices/{id}', change, id)),
      /** *Fresh*, unless it is this one. Its sessions end. */
      forget: (id: string): Promise<void> => signed(ask('delete', '/devices/{id}', undefined, id)),
    },

    sessions: {
      list: async (): Promise<Api.Session[]> => (await signed(ask('get', '/sessions'))).sessions,
      /** *Fresh*, unless it is this one. */
      end: (id: string): Promise<void> => signed(ask('delete', '/sessions/{id}', undefined, id)),
    },
  }
}
