import { createPasskeys } from '../../src/security/passkey.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { type Algorithm, coseAlgorithms } from '../helpers/passkey-keys.ts'

const origin = 'https://app.example.com'
const userHandle = Buffer.alloc(32, 3).toString('base64url')
/** Before any is measured: by then the library is loaded and V8 has compiled it. */
const warmUp = 300

/** CPU of this process in milliseconds that judging a proof takes, by algorithm: in each round the mean of `proofs` of them. */
export async function timePasskeys(rounds: number, proofs: number): Promise<Map<Algorithm, number[]>> {
  const config = { rpId: 'app.example.com', rpName: 'Example', origins: [origin] }
  const passkeys = createPasskeys({ config, secrets: createSecrets([{ id: 'k1', key: Buffer.alloc(32, 1) }]) })
  const user = { handle: userHandle, name: 'ada@example.com', displayName: 'ada@example.com' }
  const asked = { challenge: passkeys.challengeOf('login'), allow: [], userVerification: 'required' as const }
  const algorithms = Object.keys(coseAlgorithms) as Algorithm[]
  const judges = await Promise.all(
    algorithms.map(async (algorithm) => {
      const authenticator = createAuthenticator({ origin, algorithm })
      const response = authenticator.register(passkeys.creationOptions({ cid: 'enrol', user, exclude: [] }))
      const made = await passkeys.verifyRegistration({ cid: 'enrol', response })
      if (made === null) throw new Error(`a passkey of ${algorithm} is not accepted`)
      const credential = { ...made, credential_id: made.credential_id.toString('base64url') }
      const question = { challenges: passkeys.challengesOf('login'), credential, userHandle, requireVerification: true }
      const answers = Array.from({ length: proofs + warmUp }, () =>
        authenticator.assert(passkeys.requestOptions(asked)),
      )
      return { algorithm, judge: (n: number) => passkeys.verifyAssertion({ ...question, response: answers[n] }) }
    }),
  )
  const times = new Map(algorithms.map((algorithm): [Algorithm, number[]] => [algorithm, []]))
  for (const { judge } of judges) for (let n = proofs; n < proofs + warmUp; n += 1) await judge(n)
  for (let round = 0; round < rounds; round += 1) {
    for (const { algorithm, judge } of judges) {
      const before = process.cpuUsage()
      for (let n = 0; n < proofs; n += 1) if ((await judge(n)) === null) throw new Error('a right proof is refused')
      const { user, system } = process.cpuUsage(before)
      times.get(algorithm)?.push((user + system) / 1_000 / proofs)
    }
  }
  return times
}
