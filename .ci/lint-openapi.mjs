// What `redocly lint` does not see of openapi.yaml: Spectral's rules, and the schema that the OpenAPI Initiative publishes
// for such documents, by another reader of YAML and JSON Schema. Every warning counts as an error.
import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import core from '@stoplight/spectral-core'
import parsers from '@stoplight/spectral-parsers'
import rulesets from '@stoplight/spectral-rulesets'

const file = process.argv[2] ?? 'openapi.yaml'
const text = readFileSync(file, 'utf8')
const found = [...(await spectral(text)), ...(await publishedSchema(text))]
for (const line of found) process.stderr.write(`${file}: ${line}\n`)
process.exitCode = found.length > 0 ? 1 : 0

async function spectral(text) {
  const linter = new core.Spectral()
  linter.setRuleset({
    extends: [[rulesets.oas, 'all']],
    rules: {
      // Whom to ask is said by whoever runs the service; the project has no address of its own.
      'info-contact': 'off',
      // OpenAPI 3.1 takes one of `url` and `identifier`, and the second says it in the words of SPDX.
      'license-url': 'off',
      // OpenAPI 3.1 lets every scheme name what is required of the caller; the rule knows OAuth 2 only.
      'oas3-operation-security-defined': 'off',
      // In the order in which a reader needs them.
      'openapi-tags-alphabetical': 'off',
    },
  })
  const results = await linter.run(new core.Document(text, parsers.Yaml, file))
  return results.map(({ code, message, path, range }) => {
    return `${range.start.line + 1}: ${code}: ${message} (${path.join(' › ')})`
  })
}

async function publishedSchema(text) {
  const { valid, errors } = await new Validator().validate(text)
  return valid ? [] : [errors].flat().map((it) => (typeof it === 'string' ? it : `${it.instancePath}: ${it.message}`))
}
