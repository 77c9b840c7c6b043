import t from 'tap'
import { de } from '../../src/client/page/words/de.ts'
import { en } from '../../src/client/page/words/en.ts'
import { problemCatalogue } from '../../src/errors.ts'
import { methodNames } from '../../src/methods.ts'

type Tree = { [name: string]: unknown }

/** Every text of a language by its path; what is filled in becomes 3, or a mark. */
function textsOf(words: unknown, path = ''): [string, string][] {
  if (typeof words === 'string') return [[path, words]]
  if (typeof words !== 'function') {
    return Object.entries(words as Tree).flatMap(([name, inside]) => textsOf(inside, `${path}/${name}`))
  }
  const counts = /seconds|left|length|again|in$|tries|worksfor|time|passwords/i.test(path)
  return [[path, words(counts ? 3 : '‹it›', 3)]]
}

t.test('every language says everything, each in its own words', async (t) => {
  const [english, german] = [new Map(textsOf(en)), new Map(textsOf(de))]
  t.strictSame([...german.keys()], [...english.keys()])
  for (const [path, text] of german) {
    t.match(text, /\S/, path)
    t.notMatch(text, /undefined|NaN|\[object/, path)
    const filled = /‹it›|3/
    t.equal(filled.test(text), filled.test(english.get(path) ?? ''), `${path}: fills in the same`)
  }
  // What is spelled alike in both.
  const alike = [...german].filter(([path, text]) => text === english.get(path)).map(([, text]) => text)
  t.strictSame([...new Set(alike)].sort(), ['Code', 'Passkey'])
})

t.test('no heading has a word that a narrow screen has to part where it should not', async (t) => {
  for (const words of [en, de]) {
    const headings = textsOf(words).filter(([path]) => /title|\/(add|sessions)$/i.test(path))
    t.ok(headings.length > 15)
    for (const [path, text] of headings) {
      const parts = text.split(/[\s\u00ad-]/)
      t.ok(Math.max(...parts.map(({ length }) => length)) <= 16, `${path}: ${text}`)
    }
  }
})

t.test('seconds become what people say', async (t) => {
  t.strictSame([1, 59, 300, 86_400].map(en.time), ['1 second', '59 seconds', '5 minutes', '24 hours'])
  t.strictSame([1, 59, 300, 86_400].map(de.time), ['1 Sekunde', '59 Sekunden', '5 Minuten', '24 Stunden'])
})

t.test('each method and each problem that a person can meet has words', async (t) => {
  t.strictSame(Object.keys(en.methods).sort(), [...methodNames].sort())
  // Of clients and of what a page sends by mistake: "something went wrong", with the id of the request.
  const others = ['insufficient_scope', 'invalid_signature', 'method_not_allowed', 'payload_too_large']
  const unsaid = [...others, 'unsupported_media_type', 'internal_error']
  const known = Object.keys(problemCatalogue).filter((code) => !unsaid.includes(code))
  t.strictSame(Object.keys(en.problems.byCode).sort(), known.sort())
})
