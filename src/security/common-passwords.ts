let loading: Promise<ReadonlySet<string>> | undefined

/**
 * Some 49,000 common passwords from leaks, lower-cased, 18,000 of them long enough to be chosen here (SEC-06, ASVS
 * 6.2.4). Read at the first use: a service that sets no passwords never needs them.
 */
export function commonPasswords(): Promise<ReadonlySet<string>> {
  loading ??= load()
  return loading
}

async function load(): Promise<ReadonlySet<string>> {
  const { dictionary } = await import('@zxcvbn-ts/language-common')
  return new Set(dictionary['passwords-common'].map((password) => password.toLowerCase()))
}
