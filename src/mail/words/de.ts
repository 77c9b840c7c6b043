import type { Content } from '../message.ts'
import { type FactorName, lifeOf, momentOf, type NoticeFacts, type Words } from './facts.ts'

const factors: Record<FactorName, string> = {
  passkey: 'ein Passkey',
  totp: 'eine Authenticator-App',
  sms: 'Codes per SMS',
  email: 'Codes per E-Mail',
  recovery_code: 'Wiederherstellungscodes',
  other: 'ein zweiter Faktor',
}

const factorOf = ({ factor, name }: NoticeFacts): string => factors[factor] + (name === null ? '' : ` („${name}“)`)

const codes = (count: number): string =>
  count === 1 ? 'Es ist noch 1 Wiederherstellungscode übrig' : `Es sind noch ${count} Wiederherstellungscodes übrig`

const notYou =
  'Falls Sie das nicht waren, kommt jemand anderes an Ihr Konto: Melden Sie sich an, entfernen Sie jeden Faktor und jedes Gerät, ' +
  'die nicht Ihnen gehören, beenden Sie alle anderen Sitzungen und ändern Sie Ihr Passwort.'

const passwordKnown =
  'Falls Sie das nicht waren, kennt jemand anderes Ihr Passwort: Ändern Sie es. Nennen Sie niemandem einen Code, wer auch immer danach fragt.'

/** What happened, when and from where, and what to do about it. */
function notice(facts: NoticeFacts, subject: string, told: string, advice: string): Content {
  const { app, at, network, client } = facts
  const when = `Wann: ${momentOf(at, 'de-DE')}`
  const where = network === null ? '' : `\nVon wo: ${network} (Netzadresse), ${client ?? 'unbekanntes Programm'}`
  return {
    subject: `${subject} – ${app}`,
    paragraphs: [
      told,
      `${when}${where}`,
      advice,
      `${app} teilt Ihnen das mit, weil es die Sicherheit Ihres Kontos betrifft.`,
    ],
  }
}

const units = { minute: ['Minute', 'Minuten'], second: ['Sekunde', 'Sekunden'] } as const

export const de: Words = {
  code: ({ app, code, lifeSeconds }) => {
    const { count, unit } = lifeOf(lifeSeconds)
    return {
      subject: `Ihr Code für ${app}`,
      code,
      paragraphs: [
        `Ihr Code für ${app} lautet:`,
        `Er gilt ${count} ${units[unit][count === 1 ? 0 : 1]}. Geben Sie ihn niemandem, wer auch immer danach fragt.`,
        'Falls Sie sich gerade nicht anmelden, kennt jemand anderes Ihr Passwort: Ändern Sie es.',
      ],
    }
  },
  notices: {
    'factor.added': (facts) =>
      notice(facts, 'Neuer zweiter Faktor', `Ihr Konto hat einen neuen zweiten Faktor: ${factorOf(facts)}.`, notYou),
    'factor.replaced': (facts) =>
      notice(
        facts,
        'Zweiter Faktor ersetzt',
        `Ein zweiter Faktor Ihres Kontos wurde ersetzt: ${factorOf(facts)}. Der alte gilt nicht mehr.`,
        notYou,
      ),
    'factor.removed': (facts) =>
      notice(
        facts,
        'Zweiter Faktor entfernt',
        `Ein zweiter Faktor Ihres Kontos wurde entfernt: ${factorOf(facts)}. Er gilt nicht mehr.`,
        notYou,
      ),
    'factors.reset': (facts) =>
      notice(
        facts,
        'Zweite Faktoren zurückgesetzt',
        'Ein Betreiber hat die zweiten Faktoren Ihres Kontos entfernt. Bei der nächsten Anmeldung werden Sie nach einem neuen gefragt.',
        'Falls Sie nicht darum gebeten haben, fragen Sie den Betreiber nach dem Grund, und melden Sie sich bald an.',
      ),
    'recovery_codes.renewed': (facts) =>
      notice(
        facts,
        'Neue Wiederherstellungscodes',
        'Ihr Konto hat neue Wiederherstellungscodes. Die alten gelten nicht mehr.',
        notYou,
      ),
    'recovery_code.used': (facts) =>
      notice(
        facts,
        'Wiederherstellungscode benutzt',
        `Jemand hat sich mit einem Wiederherstellungscode an Ihrem Konto angemeldet. ${codes(facts.remaining)}; holen Sie sich rechtzeitig neue.`,
        notYou,
      ),
    'codes.locked': (facts) =>
      notice(
        facts,
        'Codes sind gesperrt',
        'Nach Ihrem Passwort wurden zu viele falsche Codes eingegeben. Von Geräten wie diesem wird eine Zeit lang kein Code angenommen.',
        passwordKnown,
      ),
    'codes.failed': (facts) =>
      notice(
        facts,
        'Anmeldung ohne richtigen Code',
        'Ihr Passwort wurde richtig eingegeben, aber drei Codes danach waren binnen eines Tages falsch oder blieben aus.',
        passwordKnown,
      ),
    'passkey.counter_back': (facts) =>
      notice(
        facts,
        'Ein Passkey wurde vielleicht kopiert',
        `Ein Passkey Ihres Kontos${facts.name === null ? '' : ` („${facts.name}“)`} zählt, wie oft er benutzt wird, und der Zähler ging zurück. Vielleicht gibt es ihn zweimal.`,
        'Falls Sie diesen Passkey nicht an mehreren Orten aufbewahren, entfernen Sie ihn und richten Sie einen neuen ein.',
      ),
    'email_code.used': (facts) =>
      notice(
        facts,
        'Anmeldung mit einem Code per E-Mail',
        'Jemand hat sich mit einem Code aus Ihrem Postfach an Ihrem Konto angemeldet.',
        notYou,
      ),
    'device.new': (facts) =>
      notice(
        facts,
        'Anmeldung von einem neuen Gerät',
        'Jemand hat sich von einem Gerät, das bisher nicht bekannt war, an Ihrem Konto angemeldet.',
        notYou,
      ),
    'account.disabled': (facts) =>
      notice(
        facts,
        'Ihr Konto ist gesperrt',
        'Ein Betreiber hat Ihr Konto gesperrt. Niemand kann sich daran anmelden, und alle Sitzungen sind beendet.',
        'Falls Sie den Grund nicht kennen, fragen Sie den Betreiber.',
      ),
  },
}
