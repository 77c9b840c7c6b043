/**
 * What the page of the documents adds to swagger-ui, as a script of its own (the policy of the page allows no other): it
 * follows the colours of the system, and fills in the token that an answer hands out, so that a whole login can be
 * walked through with "Execute". Nothing is kept: a page that is loaded anew knows no token.
 */
export const docsScript = `'use strict'
window.doorstep = (() => {
  const dark = matchMedia('(prefers-color-scheme: dark)')
  const followColours = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
  followColours()
  dark.addEventListener('change', followColours)

  // The names are those of the document's security schemes.
  const fillIn = ({ authActions, specSelectors }, name, value) => {
    const schema = specSelectors.securityDefinitions().get(name)
    if (schema) authActions.authorize({ [name]: { name, schema, value } })
  }

  // Where a call takes either token, the one that was handed out last is sent: the other one is taken away.
  const takeTokens = (system, { status, pending_token, access_token }) => {
    const { authActions } = system
    if (typeof pending_token === 'string') {
      fillIn(system, 'pending', pending_token)
      if (status === '2fa_enrolment_required') authActions.logout(['access'])
    }
    if (typeof access_token === 'string') {
      fillIn(system, 'access', access_token)
      authActions.logout(['pending'])
    }
  }

  const setResponse = (original, system) => (path, method, answer) => {
    const told = original(path, method, answer)
    if (answer && answer.ok && answer.body && typeof answer.body === 'object') takeTokens(system, answer.body)
    return told
  }
  return { plugin: () => ({ statePlugins: { spec: { wrapActions: { setResponse } } } }) }
})()
`
