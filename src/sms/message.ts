const segmentSeptets = 160
/** The longest a code lives (contract), so that a text that fits at start fits always. */
const longestLifeSeconds = 600
const graceSeconds = 5

// GSM 03.38 (3GPP TS 23.038, 6.2.1): one septet each, and those of the extension table, two each.
const gsmBasic =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿' +
  'abcdefghijklmnopqrstuvwxyzäöñüà'
const gsmExtension = '\f^{}\\[~]|€'

/** Septets that the text takes, or null when a character is outside GSM-7: one such makes a segment 70 characters. */
function countSeptets(text: string): number | null {
  let septets = 0
  for (const character of text) {
    if (gsmBasic.includes(character)) septets += 1
    else if (gsmExtension.includes(character)) septets += 2
    else return null
  }
  return septets
}

function lifeInWords(lifeSeconds: number): string {
  // Rounded down, so as not to promise too much; but 299 s, a moment after the start, still are 5 minutes.
  const inMinutes = lifeSeconds >= 60
  const count = inMinutes ? Math.floor((lifeSeconds + graceSeconds) / 60) : Math.max(1, Math.floor(lifeSeconds))
  return `${count} ${inMinutes ? 'minute' : 'second'}${count === 1 ? '' : 's'}`
}

/**
 * The text that carries a code (SEC-33). Its last line is the origin-bound form (WICG origin-bound one-time codes):
 * phones offer to fill in the code on that host only.
 * @param message.appName `SMS_APP_NAME`, as users know the service
 * @param message.origin `SMS_ORIGIN`, a host name from the settings, never from a request
 * @param message.lifeSeconds how long the code still lives
 */
export function composeText(message: { appName: string; origin: string; code: string; lifeSeconds: number }): string {
  const { appName, origin, code, lifeSeconds } = message
  return (
    `${code} is your ${appName} code. It works for ${lifeInWords(lifeSeconds)}; never share it with anyone.\n` +
    `@${origin} #${code}`
  )
}

/** The text that tells a number that it was replaced: no code, no link, nothing about whose account it is. */
export const composeChangeNotice = (appName: string): string =>
  `${appName}: codes for your account no longer come to this number. If you did not change it, sign in and check.`

/** Whether texts made with these settings are one GSM-7 segment, without a link and with exactly one last line. */
export function messageFits(settings: { appName: string; origin: string; codeLength: number }): boolean {
  const { appName, origin, codeLength } = settings
  const isPlainName = appName.trim() !== '' && !/[@\r\n\f]|:\/\/|www\./i.test(appName)
  const isHost = /^[^\s@#/]+$/.test(origin)
  const code = '0'.repeat(codeLength)
  const septets = countSeptets(composeText({ appName, origin, code, lifeSeconds: longestLifeSeconds }))
  return isPlainName && isHost && septets !== null && septets <= segmentSeptets
}
