import { createHmac, pbkdf2Sync } from 'node:crypto'
import argon2 from 'argon2'
import t from 'tap'
import { derivePbkdf2, deriveScrypt } from '../../src/security/foreign-hashes/derive.ts'
import { bytesOfBase64 } from '../../src/security/foreign-hashes/hash-kind.ts'
import { createForeignHashes } from '../../src/security/foreign-hashes/index.ts'
import { createPasswordHash } from '../../src/security/password-hash.ts'

// Users come with hashes of other systems. Whoever can put a line into that file, or into the export that it was made of,
// would choose how much work each login does: every number is bounded before any of it. What is accepted is judged here by
// vectors that others have published, or that other programs have made.

const plain = createForeignHashes(null)
/** The parameters that the repository of Firebase's scrypt publishes with its example. */
const project = {
  signerKey: Buffer.from(
    'jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==',
    'base64',
  ),
  saltSeparator: Buffer.from('Bw==', 'base64'),
}
const firebase = createForeignHashes(project)

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const phc = (bytes: Uint8Array): string => base64(bytes).replaceAll('=', '')
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

type Vector = { from: string; password: string; hash: string }

/** The layout of Identity's version 3, which its own hasher writes (KeyDerivationPrf, rounds, length of the salt). */
function identityV3(prf: number, rounds: number, salt: Uint8Array, key: Uint8Array): string {
  const head = Buffer.alloc(13)
  head.writeUInt8(1, 0)
  for (const [at, number] of [prf, rounds, salt.length].entries()) head.writeUInt32BE(number, 1 + 4 * at)
  return `$aspnet$${base64(Buffer.concat([head, salt, key]))}`
}
const derivedV3 = (prf: number, rounds: number, salt: Buffer, length: number, password: string): string =>
  identityV3(prf, rounds, salt, pbkdf2Sync(password, salt, rounds, length, ['sha1', 'sha256', 'sha512'][prf] ?? ''))
const derivedV2 = (salt: Buffer, password: string): string =>
  `$aspnet$${base64(Buffer.concat([Buffer.of(0), salt, pbkdf2Sync(password, salt, 1_000, 32, 'sha1')]))}`

/** RFC 6070: PBKDF2 with HMAC-SHA-1. Its short salts are beyond our bounds: the last vector but one has a long one. */
const rfc6070: Vector = {
  from: 'RFC 6070, vector 5',
  password: 'passwordPASSWORDpassword',
  hash: `$pbkdf2-sha1$i=4096$${phc(Buffer.from('saltSALTsaltSALTsaltSALTsaltSALTsalt'))}$${phc(
    hex('3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038'),
  )}`,
}

/** RFC 7914, section 12: the vectors whose salts are long enough; section 11: PBKDF2 with HMAC-SHA-256. */
const rfc7914: Vector[] = [
  {
    from: 'RFC 7914, N=16384',
    password: 'pleaseletmein',
    hash: `$scrypt$ln=14,r=8,p=1$${phc(Buffer.from('SodiumChloride'))}$${phc(
      hex(`70 23 bd cb 3a fd 73 48 46 1c 06 cd 81 fd 38 eb fd a8 fb ba 90 4f 8e 3e a9 b5 43 f6 54 5d a1 f2
           d5 43 29 55 61 3f 0f cf 62 d4 97 05 24 2a 9a f9 e6 1e 85 dc 0d 65 1e 40 df cf 01 7b 45 57 58 87`),
    )}`,
  },
]

/** Of crypt_blowfish, whose author made them to tell mistakes in bcrypt; then of libxcrypt. */
const bcrypts: Vector[] = [
  { from: 'crypt_blowfish', password: 'U*U', hash: '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW' },
  { from: 'crypt_blowfish', password: 'U*U*', hash: '$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK' },
  { from: 'crypt_blowfish', password: 'U*U*U', hash: '$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a' },
  {
    from: 'crypt_blowfish, 72 bytes and more',
    password: '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored',
    hash: '$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui',
  },
  {
    from: 'libxcrypt, $2b$',
    password: 'a'.repeat(80),
    hash: '$2b$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe',
  },
  {
    from: 'libxcrypt, $2y$',
    password: 'pässwörd',
    hash: '$2y$04$abcdefghijklmnopqrstuuyx2n0Zzopyr9QuYTMCfOJJOj526QVoC',
  },
  {
    from: 'libxcrypt, with spare bits set in the salt',
    password: 'pässwörd',
    hash: '$2y$04$abcdefghijklmnopqrstuvyx2n0Zzopyr9QuYTMCfOJJOj526QVoC',
  },
]

/** "my password" in the tests of ASP.NET Core Identity: what its own hasher made, and what it accepts. */
const identity: Vector[] = [
  ['version 2, as written', 'AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=='],
  ['version 2', 'ANXrDknc7fGPpigibZXXZFMX4aoqz44JveK6jQuwY3eH/UyPhvr5xTPeGYEckLxz9A=='],
  ['version 3, as written', 'AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw=='],
  ['version 3, SHA-1, 16 bytes', 'AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M'],
  ['version 3, SHA-512, 16 bytes', 'AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw'],
  [
    'version 3, SHA-256, 250,000 rounds',
    'AQAAAAEAA9CQAAAAIESkQuj2Du8Y+kbc5lcN/W/3NiAZFEm11P27nrSN5/tId+bR1SwV8CO1Jd72r4C08OLvplNlCDc3oQZ8efcW+jQ=',
  ],
  [
    'version 3, SHA-512, 64 bytes',
    'AQAAAAIAAAD6AAAAIJbVi5wbMR+htSfFp8fTw8N8GOS/Sje+S/4YZcgBfU7EQuqv4OkVYmc4VJl9AGZzmRTxSkP7LtVi9IWyUxX8IAAfZ8v+ZfhjCcudtC1YERSqE1OEdXLW9VukPuJWBBjLuw==',
  ],
].map(([from, blob]) => ({ from: `Identity, ${from}`, password: 'my password', hash: `$aspnet$${blob}` }))

/** The tests of the reference implementation of argon2. */
const argon2s: Vector[] = [
  {
    from: 'reference, argon2i',
    password: 'password',
    hash: '$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA',
  },
  {
    from: 'reference, argon2id',
    password: 'password',
    hash: '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
  },
]

const published = [rfc6070, ...rfc7914, ...argon2s, ...bcrypts, ...identity]

t.test('vectors of others: the right password, and no other', async (t) => {
  for (const { from, password, hash } of published) {
    const judge = plain.read(hash)
    t.ok(judge, `${from} is read`)
    t.equal(await judge?.(password), true, `${from}: right`)
    t.equal(await judge?.(`x${password.slice(1)}`), false, `${from}: wrong`)
    t.equal(await judge?.(''), false, `${from}: empty`)
  }
})

t.test('the functions underneath, by the vectors whose salts are too short for a password hash', async (t) => {
  const pbkdf2s = [
    ['password', 'salt', 1, 20, 'sha1', '0c60c80f961f0e71f3a9b524af6012062fe037a6'],
    ['password', 'salt', 2, 20, 'sha1', 'ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957'],
    ['password', 'salt', 4_096, 20, 'sha1', '4b007901b765489abead49d926f721d065a429c1'],
    [
      ...(['passwd', 'salt', 1, 64, 'sha256'] as const),
      `55 ac 04 6e 56 e3 08 9f ec 16 91 c2 25 44 b6 05 f9 41 85 21 6d de 04 65 e6 8b 9d 57 c2 0d ac bc
       49 ca 9c cc f1 79 b6 45 99 16 64 b3 9d 77 ef 31 7c 71 b8 45 b1 e3 0b d5 09 11 20 41 d3 a1 97 83`,
    ],
  ] as const
  for (const [password, salt, rounds, length, digest, expected] of pbkdf2s) {
    const derived = await derivePbkdf2(password, Buffer.from(salt), rounds, length, digest)
    t.equal(derived.toString('hex'), hex(expected).toString('hex'), `${digest}, ${rounds} rounds`)
  }
  const scrypts = [
    [
      ...(['', '', { n: 16, r: 1, p: 1 }] as const),
      `77 d6 57 62 38 65 7b 20 3b 19 ca 42 c1 8a 04 97 f1 6b 48 44 e3 07 4a e8 df df fa 3f ed e2 14 42
       fc d0 06 9d ed 09 48 f8 32 6a 75 3a 0f c8 1f 17 e8 d3 e0 fb 2e 0d 36 28 cf 35 e2 0c 38 d1 89 06`,
    ],
    [
      ...(['password', 'NaCl', { n: 1024, r: 8, p: 16 }] as const),
      `fd ba be 1c 9d 34 72 00 78 56 e7 19 0d 01 e9 fe 7c 6a d7 cb c8 23 78 30 e7 73 76 63 4b 37 31 62
       2e af 30 d9 2e 22 a3 88 6f f1 09 27 9d 98 30 da c7 27 af b9 4a 83 ee 6d 83 60 cb df a2 cc 06 40`,
    ],
  ] as const
  for (const [password, salt, cost, expected] of scrypts) {
    t.equal((await deriveScrypt(password, Buffer.from(salt), 64, cost)).toString('hex'), hex(expected).toString('hex'))
  }
  // RFC 9106, sections 5.2 and 5.3: with a secret and associated data, which no password hash has.
  const of = (byte: number, length: number) => Buffer.alloc(length, byte)
  for (const [type, tag] of [
    [argon2.argon2i, 'c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8'],
    [argon2.argon2id, '0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659'],
  ] as const) {
    const cost = { type, memoryCost: 32, timeCost: 3, parallelism: 4, hashLength: 32, raw: true as const }
    const made = await argon2.hash(of(1, 32), { ...cost, salt: of(2, 16), secret: of(3, 8), associatedData: of(4, 12) })
    t.equal(made.toString('hex'), tag)
  }
})

t.test("Firebase's published example", async (t) => {
  const hash = `$firebase$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==`
  const judge = firebase.read(hash)
  t.equal(await judge?.('user1password'), true)
  t.equal(await judge?.('user2password'), false)
  t.ok(
    firebase.read(hash.replaceAll('=$', '$').replace(/=+$/, '').replaceAll('/', '_').replaceAll('+', '-')),
    'URL-safe',
  )

  const others = createForeignHashes({ ...project, signerKey: Buffer.alloc(64, 7) })
  t.equal(await others.read(hash)?.('user1password'), false, 'nobody tries passwords without the signer key')
  t.equal(plain.read(hash), null, 'without settings it is not accepted')
  t.match(plain.wanted(hash), /IMPORT_FIREBASE_SIGNER_KEY is not set/)
  t.equal(createForeignHashes({ ...project, signerKey: Buffer.alloc(32, 7) }).read(hash), null, 'as long as the key')
})

/** RFC 8018, section 5.2, by HMAC alone: one block. */
function oneBlock(digest: string, password: string, salt: Buffer, rounds: number): Buffer {
  let last = createHmac(digest, password)
    .update(salt)
    .update(Buffer.of(0, 0, 0, 1))
    .digest()
  const block = Buffer.from(last)
  for (let round = 1; round < rounds; round += 1) {
    last = createHmac(digest, password).update(last).digest()
    for (const [at, byte] of last.entries()) block[at] = (block[at] ?? 0) ^ byte
  }
  return block
}

t.test('every digest and both layouts, made here byte by byte', async (t) => {
  const salt = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
  const password = 'Pässwörd 🦉'
  const sizes = { sha1: 20, sha256: 32, sha512: 64 }
  for (const [prf, [digest, size]] of Object.entries(sizes).entries()) {
    const key = oneBlock(digest, password, salt, 321)
    t.equal(key.length, size)
    for (const hash of [
      `$pbkdf2-${digest}$i=321$${phc(salt)}$${phc(key)}`,
      `$pbkdf2-${digest}$i=321$${base64(salt)}$${base64(key)}`,
      `$pbkdf2-${digest}$i=321$${phc(salt).replaceAll('+', '.')}$${phc(key).replaceAll('+', '.')}`,
      identityV3(prf, 321, salt, key),
    ]) {
      t.equal(await plain.read(hash)?.(password), true, hash)
      t.equal(await plain.read(hash)?.('Password'), false, hash)
    }
  }
  const second = derivedV2(salt, password)
  t.equal(await plain.read(second)?.(password), true)
  t.equal(await plain.read(derivedV3(1, 10_000, salt, 32, password))?.(password), true)

  // Changed anywhere, it is another password's.
  const blob = Buffer.from(second.slice(8), 'base64')
  for (const at of [1, 16, 17, 36, 48]) {
    const changed = Buffer.from(blob)
    changed[at] = (changed[at] ?? 0) ^ 1
    t.equal(await plain.read(`$aspnet$${base64(changed)}`)?.(password), false, `byte ${at}`)
  }
})

t.test('bcrypt reads 72 bytes, as it did where the hash comes from, and never wraps round', async (t) => {
  const judge = plain.read('$2b$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe')
  t.equal(await judge?.('a'.repeat(72)), true, 'what is behind the 72nd does not count')
  t.equal(await judge?.('a'.repeat(71)), false)
  for (const start of ['$2a$', '$2b$', '$2y$']) {
    const long = plain.read(`${start}04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe`)
    t.equal(await long?.('a'.repeat(256)), true, 'in no spelling is a length counted in one byte')
    t.equal(await long?.('a'), false)
  }
})

t.test('a bomb, or what is cut short or too long, is refused before any work', async (t) => {
  const salt = phc(Buffer.alloc(16, 1))
  const key = phc(Buffer.alloc(32, 2))
  const bytes = (count: number) => phc(Buffer.alloc(count, 3))
  const v3 = (prf: number, rounds: number, saltLength: number, keyLength: number) =>
    identityV3(prf, rounds, Buffer.alloc(saltLength, 1), Buffer.alloc(keyLength, 2))
  const withSaltLength = (length: number): string => {
    const blob = Buffer.from(v3(1, 1_000, 16, 32).slice(8), 'base64')
    blob.writeUInt32BE(length, 9)
    return `$aspnet$${base64(blob)}`
  }
  const second = Buffer.from(derivedV2(Buffer.alloc(16, 1), 'x').slice(8), 'base64')
  const argon2Of = (cost: string, its = [salt, key]): string => `$argon2id$v=19$${cost}$${its.join('$')}`
  const ok = [
    argon2Of('m=262144,t=10,p=16'),
    argon2Of('m=8,t=1,p=1', [bytes(8), bytes(16)]),
    argon2Of('m=8,t=1,p=1', [bytes(64), bytes(64)]),
    `$scrypt$ln=17,r=8,p=10$${salt}$${key}`,
    `$scrypt$ln=1,r=1,p=1$${salt}$${key}`,
    `$pbkdf2-sha512$i=2000000$${salt}$${key}`,
    `$2b$14$${'a'.repeat(21)}u${'a'.repeat(30)}e`,
    v3(2, 1_000_000, 64, 64),
    v3(0, 1, 8, 16),
  ]
  for (const hash of ok) t.ok(plain.read(hash), hash)

  const refused = [
    ...['', '$', '$2b$', '$argon2id$', '$aspnet$', 'md5', `$5$rounds=5000$${salt}$${key}`, `{SSHA}${key}`],
    // argon2
    ...['m=262145,t=2,p=1', 'm=4294967296,t=2,p=1', 'm=19456,t=11,p=1', 'm=19456,t=2,p=17', 'm=15,t=1,p=2'].map((it) =>
      argon2Of(it),
    ),
    ...['m=0,t=1,p=1', 'm=019,t=1,p=1', 'm=1e5,t=1,p=1', 'm=-8,t=1,p=1', 't=2,m=19456,p=1', 'm=19456,t=2'].map((it) =>
      argon2Of(it),
    ),
    argon2Of('m=19456,t=2,p=1,data=AAAA'),
    argon2Of('m=19456,t=2,p=1').replace('v=19', 'v=16'),
    argon2Of('m=19456,t=2,p=1').replace('$v=19', ''),
    argon2Of('m=19456,t=2,p=1').replace('argon2id', 'argon2d'),
    ...[
      [bytes(7), key],
      [bytes(65), key],
      [salt, bytes(15)],
      [salt, bytes(65)],
      [salt],
      [salt, key, key],
      [salt, ''],
      [`${salt} `, key],
      [`${salt.slice(0, -1)}B`, key],
    ].map((its) => argon2Of('m=19456,t=2,p=1', its)),
    // bcrypt
    ...['03', '15', '31', '4', '99', '00'].map((cost) => `$2b$${cost}$${'a'.repeat(53)}`),
    ...['$2$', '$2x$', '$2c$'].map((start) => `${start}10$${'a'.repeat(53)}`),
    ...[52, 54].map((length) => `$2b$10$${'a'.repeat(length)}`),
    `$2b$10$${'a'.repeat(52)}=`,
    `$2b$10$${'a'.repeat(53)}\n`,
    // scrypt, Firebase
    ...[
      'ln=18,r=8,p=1',
      'ln=63,r=8,p=1',
      'ln=17,r=9,p=1',
      'ln=17,r=8,p=11',
      'ln=0,r=8,p=1',
      'ln=14,r=0,p=1',
      'n=4,r=8,p=1',
    ].flatMap((cost) => [`$scrypt$${cost}$${salt}$${key}`, `$firebase$${cost}$${salt}$${bytes(64)}`]),
    `$scrypt$ln=14,r=8,p=1$${bytes(7)}$${key}`,
    `$scrypt$ln=14,r=8,p=1$${salt}$${bytes(65)}`,
    // PBKDF2
    ...['i=2000001', 'i=99999999', 'i=0', 'i=-1', 'i=1.5', '1000'].map(
      (cost) => `$pbkdf2-sha256$${cost}$${salt}$${key}`,
    ),
    ...['md5', 'sha384', 'SHA256', 'sha3-256'].map((digest) => `$pbkdf2-${digest}$i=1000$${salt}$${key}`),
    `$pbkdf2$i=1000$${salt}$${key}`,
    // Identity
    v3(1, 1_000_001, 16, 32),
    v3(1, 4_294_967_295, 16, 32),
    v3(1, 0, 16, 32),
    ...[3, 4, 4_294_967_295].map((prf) => v3(prf, 1_000, 16, 32)),
    v3(1, 1_000, 7, 32),
    v3(1, 1_000, 65, 32),
    v3(1, 1_000, 16, 15),
    v3(1, 1_000, 16, 65),
    ...[0, 7, 48, 64, 65, 4_294_967_295].map(withSaltLength),
    ...[0, 1, 12, 13].map((length) => `$aspnet$${base64(Buffer.alloc(length, 1))}`),
    ...[second.subarray(0, 48), Buffer.concat([second, Buffer.of(0)])].map((it) => `$aspnet$${base64(it)}`),
    `$aspnet$${base64(Buffer.concat([Buffer.of(2), second.subarray(1)]))}`,
    ...['!', ' ', '\n', '%3D'].map((more) => `${derivedV2(Buffer.alloc(16, 1), 'x')}${more}`),
  ]
  for (const hash of refused) {
    t.equal(plain.read(hash), null, hash)
    t.equal(firebase.read(hash), null, hash)
  }
  for (const start of [
    '$2b$10$',
    '$argon2id$v=19$m=8,t=1,p=1$',
    '$aspnet$',
    '$pbkdf2-sha1$i=1$',
    '$scrypt$ln=1,r=1,p=1$',
  ]) {
    t.equal(plain.read(`${start}${'A'.repeat(50_000_000)}`), null, `${start} and fifty million letters`)
    t.equal(plain.read(`${start}${'$'.repeat(290)}`), null)
  }
  t.match(plain.wanted('nonsense'), /^one of \$argon2id\$ \$argon2i\$ \$2a\$ .*\$aspnet\$$/)
  t.match(plain.wanted('$2b$15$'), /bcrypt of cost 4 to 14/)
})

/** Bytes whose base64 has both letters that are spelled in several ways, and padding. */
const awkward = (length: number): Buffer => Buffer.alloc(length, Buffer.from('fbff', 'hex'))
const spellings = (bytes: Buffer): string[] => [
  ...[phc(bytes), base64(bytes), phc(bytes).replaceAll('+', '.')],
  ...[phc(bytes), base64(bytes)].map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
]
const password = 'Pässwörd 🦉'

/** Of each kind: hashes that `password` made, with the least numbers and sizes, in every order and spelling. */
async function leastHashes(): Promise<string[]> {
  const bySize = [
    [8, 16],
    [64, 64],
  ].map(async ([saltLength = 0, hashLength = 0]) => {
    const salt = awkward(saltLength)
    const ofArgon2 = async (name: 'argon2i' | 'argon2id', m: number, p: number): Promise<string[]> => {
      const cost = { type: argon2[name], memoryCost: m, timeCost: 1, parallelism: p, hashLength }
      const made = await argon2.hash(password, { ...cost, salt })
      return [made, made.replace(`t=1,p=${p}`, `p=${p},t=1`)]
    }
    const scrypt = await deriveScrypt(password, salt, hashLength, { n: 2, r: 1, p: 1 })
    const inSpellings = (head: string, key: Buffer): string[] =>
      spellings(salt).map((text, at) => `${head}$${text}$${spellings(key)[at]}`)
    const identityBlob = derivedV3(0, 1, salt, hashLength, password).slice('$aspnet$'.length)
    return [
      ...(await ofArgon2('argon2i', 8, 1)),
      ...(await ofArgon2('argon2id', 8, 1)),
      ...(await ofArgon2('argon2id', 8 * 16, 16)),
      ...inSpellings('$scrypt$ln=1,r=1,p=1', scrypt),
      ...['sha1', 'sha256', 'sha512'].flatMap((digest) =>
        inSpellings(`$pbkdf2-${digest}$i=1`, pbkdf2Sync(password, salt, 1, hashLength, digest)),
      ),
      ...spellings(Buffer.from(identityBlob, 'base64')).map((blob) => `$aspnet$${blob}`),
    ]
  })
  const second = Buffer.from(derivedV2(awkward(16), password).slice('$aspnet$'.length), 'base64')
  return [...(await Promise.all(bySize)).flat(), ...spellings(second).map((blob) => `$aspnet$${blob}`)]
}

t.test('whoever has a hash that was accepted signs in: in every order and spelling it is judged', async (t) => {
  const line = await createPasswordHash({ memoryKib: 64, time: 1, concurrency: 1, queue: 1 }, firebase)
  for (const hash of await leastHashes()) {
    t.equal(line.refusalOf(hash), null, hash)
    t.equal(await line.verify(hash, password), true, `right: ${hash}`)
    t.equal(await line.verify(hash, 'another'), false, `wrong: ${hash}`)
    t.equal(line.isOutdated(hash), true)
  }
  const own = await line.hash(password)
  t.equal(line.isOutdated(own), false)
  t.equal(line.isOutdated(own.replace('t=1,p=1', 'p=1,t=1')), false, 'nor in another order')
})

t.test('the most of each number is judged, and what no function computes is refused', async (t) => {
  const line = await createPasswordHash({ memoryKib: 64, time: 1, concurrency: 1, queue: 1 }, firebase)
  const [salt, key] = [phc(awkward(16)), phc(awkward(32))]
  const scrypts = [
    // A block of this size has room for no more than 2^15 (RFC 7914, section 2).
    ...Array.from({ length: 15 }, (_, at) => `ln=${at + 1},r=1,p=1`),
    ...['ln=17,r=2,p=1', 'ln=17,r=8,p=1', 'ln=1,r=8,p=10', 'ln=1,r=1,p=10'],
  ]
  const most = [
    `$argon2id$v=19$m=262144,t=1,p=16$${salt}$${key}`,
    `$argon2id$v=19$m=128,p=16,t=10$${salt}$${key}`,
    `$argon2i$v=19$m=128,t=10,p=16$${salt}$${key}`,
    ...scrypts.map((cost) => `$scrypt$${cost}$${salt}$${key}`),
    ...spellings(awkward(64)).map((text) => `$firebase$ln=15,r=1,p=1$${salt}$${text}`),
    `$pbkdf2-sha512$i=2000000$${salt}$${key}`,
    identityV3(2, 1_000_000, awkward(64), awkward(64)),
    `$2b$14$${'a'.repeat(21)}u${'a'.repeat(30)}e`,
  ]
  for (const hash of most) {
    t.equal(line.refusalOf(hash), null, hash)
    t.equal(await line.verify(hash, 'wrong'), false, hash)
    t.equal(line.isOutdated(hash), true)
  }
  const others = spellings(awkward(16)).slice(1)
  t.match(others.join(' '), /=.*\..*-.*_/s)
  for (const hash of [
    ...['ln=16,r=1,p=1', 'ln=17,r=1,p=1'].flatMap((cost) => [
      `$scrypt$${cost}$${salt}$${key}`,
      `$firebase$${cost}$${salt}$${phc(awkward(64))}`,
    ]),
    ...others.flatMap((text) => [
      `$argon2id$v=19$m=64,t=1,p=1$${text}$${key}`,
      `$argon2i$v=19$m=64,t=1,p=1$${salt}$${text}`,
    ]),
    ...['m=64,t=1,t=1', 'm=64,p=1,p=1', 't=1,p=1,m=64', 'm=64,p=1,t=1,p=1'].map(
      (cost) => `$argon2id$v=19$${cost}$${salt}$${key}`,
    ),
  ]) {
    t.equal(firebase.read(hash), null, hash)
  }
})

t.test('base64 in every spelling that hashes use, and in one spelling each', async (t) => {
  for (const text of ['++++//+/AA==', '++++//+/AA', '----__-_AA', '....//./AA']) {
    t.same(bytesOfBase64(text)?.toString('hex'), Buffer.from('++++//+/AA', 'base64').toString('hex'), text)
  }
  for (const text of ['', '=', '==', 'A', 'AB', 'AAA===', 'AA=A', 'AA A', 'é', 'A'.repeat(201)]) {
    t.equal(bytesOfBase64(text), null, text.slice(0, 20))
  }
})
