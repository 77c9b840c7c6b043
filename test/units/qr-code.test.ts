import decodeQR from 'qr/decode.js'
import t from 'tap'
import { qrCode } from '../../src/security/qr-code.ts'
import { uri } from '../../src/security/totp.ts'

const svgOf = (address: string): string => {
  const [, image = ''] = /^data:image\/svg\+xml;base64,([A-Za-z0-9+/]+={0,2})$/.exec(address) ?? []
  return Buffer.from(image, 'base64').toString()
}

const form =
  /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 (\d+) \1" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h\1v\1H0z"\/><path stroke="#000" d="((?:M\d+ \d+\.5h\d+)+)"\/><\/svg>$/

/** Draws it as a browser does: a white square, and black lines as wide as a module, each module 4 pixels wide. */
function draw(svg: string): { width: number; height: number; data: Uint8Array } {
  const [, size = '', lines = ''] = form.exec(svg) ?? []
  const scale = 4
  const side = scale * Number(size)
  const data = new Uint8Array(side * side * 4).fill(255)
  for (const line of lines.matchAll(/M(\d+) (\d+)\.5h(\d+)/g)) {
    const [x = 0, y = 0, width = 0] = line.slice(1).map(Number)
    for (let row = y * scale; row < (y + 1) * scale; row++) {
      for (let at = x * scale; at < (x + width) * scale; at++)
        data.fill(0, (row * side + at) * 4, (row * side + at) * 4 + 3)
    }
  }
  return { width: side, height: side, data }
}

const links = [
  uri({ secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', issuer: 'Doorstep', account: 'ada@example.com' }),
  uri({ secret: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', issuer: 'Ünïversity of 日本', account: 'ädä@bücher.example' }),
  // The longest names that there can be.
  uri({
    secret: 'MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U',
    issuer: '𠀀'.repeat(40),
    account: `${'𠀀'.repeat(120)}@example.com`,
  }),
]

t.test('what is in the picture is the link', async (t) => {
  for (const link of links) {
    t.equal(decodeQR(draw(svgOf(qrCode(link))), { timeLimit: Number.POSITIVE_INFINITY }), link)
  }
})

t.test('a picture runs nothing, loads nothing and styles nothing, whatever is in it', async (t) => {
  const text = '"/><script>alert(1)</script><style>*{}</style><image href="https://attacker.example/x"/>'
  for (const address of [...links, text].map(qrCode)) t.match(svgOf(address), form)
})

t.test('a picture is small', async (t) => {
  const [usual = 0, , longest = 0] = links.map((link) => qrCode(link).length)
  t.ok(usual < 10_000, `${usual} characters`)
  t.ok(longest < 150_000, `${longest} characters with the longest names that there can be`)
})

t.test('it has its quiet zone of four modules', async (t) => {
  const { width, data } = draw(svgOf(qrCode('x')))
  const dark = Array.from({ length: width * width }, (_, at) => at).filter((at) => data[at * 4] === 0)
  const places = dark.flatMap((at) => [at % width, Math.floor(at / width)])
  t.same([Math.min(...places), Math.max(...places)], [16, width - 17])
})

t.test('what does not fit is an error', async (t) => {
  t.throws(() => qrCode('x'.repeat(2_400)))
})
