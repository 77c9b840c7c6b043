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

const moment = (at: Date): string => momentOf(at, 'de-DE')

const undoes =
  'Er macht rückgängig, was von diesem Zeitpunkt an in Ihrem Konto geändert wurde, meldet alle Geräte ab und lässt Sie ein neues ' +
  'Passwort festlegen.'

const notMe = `Falls Sie das waren, ist nichts zu tun. Falls nicht, benutzen Sie den Link unten. ${undoes} Er gilt einmal, sieben Tage lang:`

const notAsked =
  'Falls Sie darum gebeten haben, ist sonst nichts zu tun. Falls nicht, hat vielleicht jemand in Ihrem Namen darum gebeten: Benutzen ' +
  'Sie den Link unten. Er meldet alle Geräte ab, macht rückgängig, was seither geändert wurde, aber nicht, was der Betreiber getan hat, ' +
  'und lässt Sie ein neues Passwort festlegen. Er gilt einmal, sieben Tage lang:'

const duration = (seconds: number): string => {
  const hours = Math.round(seconds / 3_600)
  if (hours >= 48) return `${Math.round(hours / 24)} Tagen`
  return hours === 1 ? 'einer Stunde' : `${hours} Stunden`
}

const anotherLink = 'Falls der Link abgelaufen ist, fordern Sie dort, wo Sie sich anmelden, einen neuen an.'

const units = { minute: ['Minute', 'Minuten'], second: ['Sekunde', 'Sekunden'] } as const

export const de: Words = {
  code: ({ app, code, lifeSeconds }) => {
    const { count, unit } = lifeOf(lifeSeconds)
    return {
      subject: `Ihr Code für ${app}`,
      code,
      paragraphs: [
        `Ihr Code für ${app} lautet:`,
        `Er gilt ${count} ${units[unit][count === 1 ? 0 : 1]}. Geben Sie ihn an niemanden weiter, wer auch immer danach fragt.`,
        'Falls Sie sich gerade nicht anmelden, kennt jemand anderes Ihr Passwort: Ändern Sie es.',
      ],
    }
  },
  notice: {
    when: (at) => `Wann: ${moment(at)}`,
    where: (network, client) => `Netz: ${network}\nBrowser oder App: ${client ?? 'unbekannt'}`,
    notMe,
    unlinked: (app) => `Falls Sie nicht wissen, worum es geht, fragen Sie den Betreiber von ${app}.`,
  },
  notices: {
    'factor.added': (it) => [
      'Neuer zweiter Faktor',
      `Für Ihr Konto bei ${it.app} wurde ein zweiter Faktor eingerichtet: ${factorOf(it)}.`,
    ],
    'factor.replaced': (it) => [
      'Zweiter Faktor ersetzt',
      `Ein zweiter Faktor Ihres Kontos bei ${it.app} wurde durch einen neuen ersetzt: ${factorOf(it)}. Der alte gilt nicht mehr, und alle anderen Sitzungen sind beendet.`,
    ],
    'factor.removed': (it) => [
      'Zweiter Faktor entfernt',
      `Ein zweiter Faktor Ihres Kontos bei ${it.app} wurde entfernt: ${factorOf(it)}. Er gilt nicht mehr, und alle anderen Sitzungen sind beendet.`,
    ],
    'factors.reset': (it) => [
      'Zweite Faktoren vom Betreiber zurückgesetzt',
      `Der Betreiber von ${it.app} hat die zweiten Faktoren Ihres Kontos entfernt und alle Geräte abgemeldet. Richten Sie bei der nächsten Anmeldung neue ein.`,
      notAsked,
    ],
    'factor.reset': (it) => [
      'Zweiter Faktor vom Betreiber entfernt',
      `Der Betreiber von ${it.app} hat einen zweiten Faktor Ihres Kontos entfernt: ${factorOf(it)}. Er gilt nicht mehr, und alle Geräte sind abgemeldet.`,
      notAsked,
    ],
    'phone.set': (it) => [
      'Telefonnummer vom Betreiber geändert',
      `Der Betreiber von ${it.app} hat Ihrem Konto eine andere Telefonnummer für Codes per SMS gegeben und alle Geräte abgemeldet.`,
      notAsked,
    ],
    'recovery_codes.renewed': (it) => [
      'Neue Wiederherstellungscodes',
      `Ihr Konto bei ${it.app} hat ${it.remaining} neue Wiederherstellungscodes. Die alten gelten nicht mehr.`,
    ],
    'recovery_code.used': (it) => [
      'Wiederherstellungscode benutzt',
      `Ein Wiederherstellungscode Ihres Kontos bei ${it.app} wurde benutzt. Noch übrig: ${it.remaining}; holen Sie sich rechtzeitig neue.`,
    ],
    'codes.locked': (it) => [
      'Codes werden eine Zeit lang abgewiesen',
      `Für Ihr Konto bei ${it.app} wurden zu viele falsche Codes eingegeben. Von dort wird eine Zeit lang keiner mehr angenommen; Passkeys und Wiederherstellungscodes gelten weiterhin. Falls Sie das nicht waren, kennt jemand anderes Ihr Passwort.`,
    ],
    'codes.failed': (it) => [
      'Richtiges Passwort, falsche Codes',
      `Das Passwort Ihres Kontos bei ${it.app} wurde richtig eingegeben, aber binnen eines Tages waren drei Codes danach falsch oder blieben aus. Falls Sie das nicht waren, kennt jemand anderes Ihr Passwort.`,
    ],
    'passkey.counter_back': (it) => [
      'Ein Passkey wurde vielleicht kopiert',
      `Ein Passkey Ihres Kontos bei ${it.app} zählt, wie oft er benutzt wird, und der Zähler ist zurückgegangen: Vielleicht gibt es eine Kopie von ihm.`,
      `Falls Sie diesen Passkey an mehreren Orten aufbewahren, ist nichts zu tun. Falls nicht, benutzen Sie den Link unten. ${undoes} Entfernen Sie danach diesen Passkey. Der Link gilt einmal, sieben Tage lang:`,
    ],
    'email_code.used': (it) => [
      'Anmeldung mit einem Code per E-Mail',
      `Jemand hat sich mit einem Code aus diesem Postfach an Ihrem Konto bei ${it.app} angemeldet.`,
    ],
    'device.new': (it) => [
      'Anmeldung von einem neuen Gerät',
      `Jemand hat sich von einem bisher unbekannten Gerät an Ihrem Konto bei ${it.app} angemeldet.`,
    ],
    'account.disabled': (it) => [
      'Ihr Konto ist gesperrt',
      `Der Betreiber von ${it.app} hat Ihr Konto gesperrt: Niemand kann sich daran anmelden, und alle Geräte sind abgemeldet. Falls Sie den Grund nicht kennen, fragen Sie dort nach.`,
      'Falls Sie befürchten, dass jemand anderes an Ihrem Konto war, benutzen Sie den Link unten: Er macht das alte Passwort wertlos, sodass Sie erst ein neues festlegen, falls das Konto wieder freigegeben wird. Er gilt einmal, sieben Tage lang:',
    ],
    'password.set': (it) => [
      'Neues Passwort',
      `Das Passwort Ihres Kontos bei ${it.app} wurde über einen Link aus Ihrem Postfach festgelegt. Alle Geräte, die vorher angemeldet waren, sind abgemeldet.`,
    ],
    'password.changed': (it) => [
      'Passwort geändert',
      `Jemand, der angemeldet war, hat das Passwort Ihres Kontos bei ${it.app} geändert. Alle anderen Sitzungen sind beendet.`,
    ],
    'password.reset': (it) => [
      'Passwort vom Betreiber geändert',
      `Der Betreiber von ${it.app} hat Ihrem Konto ein anderes Passwort gegeben: Das alte gilt nicht mehr, und alle Geräte sind abgemeldet.`,
      notAsked,
    ],
    'email.change_asked': (it) => [
      'Änderung der E-Mail-Adresse angefordert',
      `Jemand, der an Ihrem Konto bei ${it.app} angemeldet ist, möchte ihm eine andere E-Mail-Adresse geben. Sie gilt, sobald das neue Postfach sie bestätigt.`,
    ],
    'email.changed': (it) => [
      'E-Mail-Adresse geändert',
      it.isNew
        ? `Das ist von jetzt an die E-Mail-Adresse Ihres Kontos bei ${it.app}: Melden Sie sich mit ihr an.`
        : `Ihr Konto bei ${it.app} hat jetzt eine andere E-Mail-Adresse, und mit dieser können Sie sich nicht mehr anmelden. Alle anderen Sitzungen sind beendet.`,
    ],
    'email.set': (it) => [
      'E-Mail-Adresse vom Betreiber geändert',
      `Der Betreiber von ${it.app} hat Ihrem Konto eine andere E-Mail-Adresse gegeben. Mit dieser können Sie sich nicht mehr anmelden, und alle Geräte sind abgemeldet.`,
      notAsked,
    ],
    'deletion.begun': (it) => [
      'Ihr Konto wird gelöscht',
      `Jemand, wahrscheinlich Sie, hat Ihr Konto bei ${it.app} geschlossen: Niemand kann sich mehr daran anmelden, und es wird am ${moment(it.erasesAt)} gelöscht.`,
      `Falls Sie das waren, ist nichts zu tun. Falls nicht, oder falls Sie es sich anders überlegt haben, benutzen Sie vorher den Link unten: Er öffnet das Konto wieder. ${undoes} Er gilt einmal:`,
    ],
  },
  lasts: (seconds) => `Er gilt einmal, innerhalb von ${duration(seconds)}:`,
  links: {
    register: (app) => [
      'Schließen Sie Ihre Registrierung ab',
      `Jemand, wahrscheinlich Sie, möchte mit dieser E-Mail-Adresse ein Konto bei ${app} eröffnen.`,
      'Falls Sie das nicht waren, tun Sie nichts: Dann entsteht kein Konto.',
      'Um es zu eröffnen, legen Sie mit dem Link unten ein Passwort fest.',
    ],
    have_account: (app) => [
      'Sie haben schon ein Konto',
      `Jemand, wahrscheinlich Sie, wollte sich bei ${app} registrieren, aber mit dieser E-Mail-Adresse gibt es schon ein Konto.`,
      'Falls Sie das waren, melden Sie sich an wie immer. Falls nicht, tun Sie nichts: Es ändert sich nichts.',
      'Falls Sie Ihr Passwort vergessen haben, legen Sie mit dem Link unten ein neues fest.',
    ],
    forgot: (app) => [
      'Legen Sie ein neues Passwort fest',
      `Jemand, wahrscheinlich Sie, möchte für Ihr Konto bei ${app} ein neues Passwort festlegen.`,
      'Falls Sie das nicht waren, tun Sie nichts: Ihr Passwort bleibt, wie es ist.',
      'Legen Sie es mit dem Link unten fest.',
    ],
    no_account: (app) => [
      'Es gibt kein Konto',
      `Jemand, vielleicht Sie, hat bei ${app} um ein neues Passwort gebeten, aber mit dieser E-Mail-Adresse gibt es kein Konto.`,
      'Falls Sie das waren, haben Sie sich vielleicht mit einer anderen Adresse registriert. Falls nicht, tun Sie nichts.',
    ],
    closed: (app) => [
      'Dieses Konto ist geschlossen',
      `Jemand, vielleicht Sie, hat um einen Link für das Konto mit dieser E-Mail-Adresse bei ${app} gebeten, aber das Konto ist geschlossen.`,
      `Falls Sie es selbst geschlossen haben und zurückhaben möchten, benutzen Sie den Link in der Mail, die Ihnen das mitgeteilt hat. Falls Sie nicht wissen, warum es geschlossen ist, fragen Sie den Betreiber von ${app}.`,
    ],
    invite: (app) => [
      'Ein Konto für Sie',
      `Der Betreiber von ${app} hat ein Konto für Sie angelegt.`,
      'Falls Sie es nicht möchten, tun Sie nichts: Niemand kann sich daran anmelden.',
      'Um es zu benutzen, legen Sie mit dem Link unten ein Passwort fest.',
    ],
    reset: (app) => [
      'Bitte legen Sie ein neues Passwort fest',
      `Der Betreiber von ${app} bittet Sie, für Ihr Konto ein neues Passwort festzulegen. Bis dahin gilt noch das alte.`,
      anotherLink,
      'Legen Sie es mit dem Link unten fest.',
    ],
    reset_forced: (app) => [
      'Ihr Passwort gilt nicht mehr',
      `Der Betreiber von ${app} hat das Passwort Ihres Kontos zurückgesetzt: Das alte gilt nicht mehr, und alle Geräte sind abgemeldet.`,
      anotherLink,
      'Legen Sie mit dem Link unten ein neues Passwort fest.',
    ],
    secured: (app) => [
      'Ihr Konto ist gesichert',
      `Sie haben Ihr Konto bei ${app} gesichert: Was jemand darin geändert hatte, ist rückgängig gemacht, alle Geräte sind abgemeldet, und das alte Passwort gilt nicht mehr.`,
      `${anotherLink} Sehen Sie Ihre zweiten Faktoren durch, sobald Sie wieder angemeldet sind.`,
      'Legen Sie mit dem Link unten ein neues Passwort fest.',
    ],
    confirm_email: (app) => [
      'Bestätigen Sie diese E-Mail-Adresse',
      `Jemand, wahrscheinlich Sie, möchte einem Konto bei ${app} diese E-Mail-Adresse geben.`,
      'Falls Sie das nicht waren, tun Sie nichts: Dann bekommt es sie nicht.',
      'Um sie zu bestätigen, öffnen Sie den Link unten dort, wo Sie angemeldet sind.',
    ],
    email_taken: (app) => [
      'Diese E-Mail-Adresse ist vergeben',
      `Jemand, vielleicht Sie, wollte einem Konto bei ${app} diese E-Mail-Adresse geben, aber ein anderes Konto hat sie schon.`,
      'Es ist nichts zu tun: Es hat sich nichts geändert.',
    ],
  },
}
