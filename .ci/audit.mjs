// Fails on a known vulnerability, high or critical, in what runs in production. Where no registry answers (no network,
// or a mirror without advisories) it says so and lets the rest of the checks go on.
import { spawnSync } from 'node:child_process'

const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
  encoding: 'utf8',
  shell: process.platform === 'win32',
  maxBuffer: 64 * 1024 * 1024,
})
const report = readReport(stdout)
if (report === null) {
  process.stderr.write('audit: the registry does not answer with advisories, so nothing was checked against them\n')
} else {
  const found = Object.values(report.vulnerabilities).filter(({ severity }) => /^(high|critical)$/.test(severity))
  for (const { name, severity, range } of found) process.stderr.write(`audit: ${severity}: ${name} ${range}\n`)
  process.exitCode = found.length > 0 ? 1 : 0
}

/** What npm found, or null when it could not ask. */
function readReport(text) {
  try {
    const answer = JSON.parse(text)
    return answer.vulnerabilities ? answer : null
  } catch {
    return null
  }
}
